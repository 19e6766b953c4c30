"""Retries of a replay's contacts, by the command line and by DAG runs: what may be selected, and what is selected."""

from __future__ import annotations

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.retry import RetryResult, RetrySelection, find_unknown_responses
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.commands import replay_command
from airflow_whatsapp_flows.replay.status import get_replay

RETRIABLE = tuple(state.value for state in ContactState if state not in (ContactState.PENDING, ContactState.REJECTED))
"""States that a retry can select."""


def get_retriable_replay(ledger: Ledger, replay_id: str) -> Replay:
    """Return the replay with a name, whose contacts can be retried.

    Raises:
        ReplayError: it does not exist, or has not read all of its source.
    """
    replay = get_replay(ledger, replay_id)
    if not replay.sealed:
        raise ReplayError(
            f"the replay {replay.id!r} has not read all of its source: run `replay run` again, or clear "
            "`plan` of its DAG run"
        )
    return replay


def check_flow(replay: Replay, flow: Flow, name: str) -> None:
    """Check that a flow is a version of a replay's flow.

    Args:
        replay: the replay to retry.
        flow: the flow to retry it with.
        name: where the flow comes from, for the message.

    Raises:
        ReplayError: it is another flow.
    """
    if flow.id != replay.flow_id:
        raise ReplayError(
            f"{name} is the flow {flow.id!r}, but the replay {replay.id!r} is of {replay.flow_id!r}: a fixed flow must "
            "keep its id, because every key depends on it"
        )


def check_selection(ledger: Ledger, replay: Replay, flow: Flow, choice: RetrySelection) -> None:
    """Check that the steps and responses that a retry names exist.

    Raises:
        ReplayError: one does not.
    """
    for step in choice.steps:
        if not isinstance(flow.steps.get(step), Action):
            actions = [name for name, one in flow.steps.items() if isinstance(one, Action)]
            raise ReplayError(f"there is no action step named {step!r}{did_you_mean(step, actions)}")
    unknown = find_unknown_responses(ledger, replay, list(choice.responses)) if choice.responses else []
    if unknown:
        raise ReplayError(f"there is no response {unknown[0]!r} in the replay {replay.id!r}")


def selection_text(choice: RetrySelection) -> str:
    """Describe the conditions of a retry, such as ``failed, in_doubt; step Create; fingerprint 1f4c``."""
    states = ", ".join(ContactState(state).value for state in choice.states)
    if not states:
        states = "any state" if choice.steps or choice.handled_errors else ContactState.FAILED.value
    parts = [states]
    parts += ["handled errors"] if choice.handled_errors else []
    parts += [f"step {' or '.join(choice.steps)}"] if choice.steps else []
    parts += [f"fingerprint {choice.fingerprint}"] if choice.fingerprint is not None else []
    if choice.responses:
        shown = [_short(one) for one in list(choice.responses)[:_SHOWN]]
        more = len(choice.responses) - len(shown)
        parts.append(f"response {' or '.join(shown)}{f' or {more:,} others' if more else ''}")
    return "; ".join(parts)


_SHOWN = 5
_LONGEST = 100  # characters of an id


def _short(name: str) -> str:
    text = escape_unprintable(name[:_LONGEST])
    return text if len(name) <= _LONGEST else f"{text}…"


def others_text(chosen: RetryResult, option: str) -> str:
    """Return which contacts match except for their state, and how to select them; empty if there are none.

    Args:
        chosen: what is selected.
        option: where states are given, such as ``--state``.
    """
    others = {state: count for state, count in chosen.others.items() if state is not ContactState.REJECTED}
    if not others:
        return ""
    counted = ", ".join(f"{count:,} {state.value}" for state, count in others.items())
    return f"the same conditions match {counted}: select them with {option}"


def left_out_text(chosen: RetryResult) -> str:
    """Return which requests of the contacts that are left out may have been applied."""
    requests = ", ".join(f"{step}: {came} ({count:,})" for (step, came), count in sorted(chosen.unconfirmed.items()))
    many = "contact" if chosen.left_out == 1 else "contacts"
    return f"{chosen.left_out:,} {many} left out: the request may have been applied, and is not sent again ({requests})"


def purged_text(chosen: RetryResult) -> str:
    """Return how many contacts match, but cannot be walked again."""
    return f"the response of {plural(chosen.purged, 'contact')} has been purged"


def how_to_include(replay: Replay) -> str:
    """Return what to do about contacts that are left out."""
    again = replay_command("retry", replay.id, options="--accept-duplicates")
    return (
        "check at the server whether it arrived, and record what you find with `whatsapp-flows replay resolve` (with "
        f"--handled for an error that an error exit handled). `whatsapp-flows {again}` "
        "sends it again, and it may be applied twice"
    )

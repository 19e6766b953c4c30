"""What a run of ``<id>__replay`` does if it retries contacts of an earlier replay.

A process that only parses DAG files doesn't import this.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

import msgspec
from airflow.sdk import Context

from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX
from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.claims import exclusive
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, change_flow, find_replay, tally
from airflow_whatsapp_flows.ledger.retry import (
    RetryResult,
    RetrySelection,
    SelectedContacts,
    find_selected,
    walk_again,
    walk_failed_again,
)
from airflow_whatsapp_flows.ledger.retry_runs import PlannedRetry, count_unsent, planned_retry, store_planned_retry
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators.run_input import run_id_of
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.renames import load_step_identities
from airflow_whatsapp_flows.replay.retry import (
    RETRIABLE,
    check_selection,
    get_retriable_replay,
    how_to_include,
    left_out_text,
    others_text,
    purged_text,
    selection_text,
)
from airflow_whatsapp_flows.replay.status import get_replay


class RetryParams(msgspec.Struct, frozen=True):
    """The fields of a run's form that say what it retries.

    Attributes:
        retry_of: id of the replay; empty if the run is a replay of its own.
        states: states of the contacts.
        steps: names of actions whose last attempt was an error.
        fingerprint: of their error.
        responses: ids of their responses.
        handled: whether to retry those with an error that an error exit handled, in any ended state.
    """

    retry_of: str | None = None
    states: list[str] | None = None
    steps: list[str] | None = None
    fingerprint: str | None = None
    responses: list[str] | None = None
    handled: bool | None = None

    @property
    def selection(self) -> RetrySelection:
        """The contacts to retry.

        Raises:
            ReplayError: there is no such state.
        """
        for state in self.states or ():
            if state not in (*RETRIABLE, ContactState.PENDING.value):
                raise ReplayError(f"states: a retry can't select {state!r}{did_you_mean(state, RETRIABLE)}")
        return RetrySelection(
            states=[ContactState(state) for state in self.states or ()],
            steps=self.steps or (),
            fingerprint=self.fingerprint or None,
            responses=self.responses or (),
            handled_errors=bool(self.handled),
        )


def read_retry(text: str | None) -> RetryParams | None:
    """Read what a run retries; ``None`` if it is a replay of its own.

    Args:
        text: JSON object with the fields of :class:`RetryParams`.

    Raises:
        ReplayError: a value has the wrong type, or contacts are selected without a replay.
    """
    if not text:
        return None
    try:
        params = msgspec.json.decode(text, type=RetryParams)
    except msgspec.ValidationError as error:
        raise ReplayError(f"the params of a retry are invalid: {error}") from None
    if params.retry_of:
        return params
    given = [name for name in ("states", "steps", "fingerprint", "responses", "handled") if getattr(params, name)]
    if given:
        raise ReplayError(
            f"{', '.join(given)}: set the id of the replay in retry_of too; without it, a run replays its source"
        )
    return None


@dataclass(frozen=True, slots=True)
class PlannedSelection:
    """What a run is to retry.

    Attributes:
        replay: the replay to retry.
        found: the contacts to retry.
        text: the conditions, and what they leave out.
    """

    replay: Replay
    found: SelectedContacts
    text: str


def plan_retry(
    ledger: Ledger, flow: Flow, params: RetryParams, context: Context, *, dry: bool = False
) -> PlannedSelection:
    """Find the contacts that a run retries, and store that it does; the contacts stay as they are.

    Args:
        params: with the id of a replay.
        dry: whether to store nothing.

    Raises:
        ReplayError: there is no such replay, it is of another flow, or nothing can be retried.
    """
    replay = get_retriable_replay(ledger, params.retry_of or "")
    if replay.flow_id != flow.id:
        raise ReplayError(
            f"the replay {replay.id!r} is of the flow {replay.flow_id!r}, and this DAG's flow is {flow.id!r}: "
            f"trigger `{replay.flow_id}{REPLAY_SUFFIX}`; if that is an earlier version of this flow: a fixed flow "
            "must keep its id"
        )
    choice = params.selection
    check_selection(ledger, replay, flow, choice)
    run = _name_of(context)
    earlier = planned_retry(replay, run)
    if earlier is not None:  # of a cleared run: what it has sent may have failed again, in another way
        choice = replaced(choice, or_failed_in=earlier.number)
    changed = _changed_flow(replay, flow)
    found = find_selected(ledger, replay, choice, changed)
    pending = tally(ledger, replay.no).states[ContactState.PENDING]
    resumes = _is_resume(choice) and pending > 0
    if not found.result.contacts and earlier is None and not resumes:
        raise ReplayError(_why_nothing(replay, found.result, choice))
    if not dry:
        selection = {name: value for name, value in msgspec.structs.asdict(params).items() if value}
        planned = PlannedRetry(
            planned_at=earlier.planned_at if earlier else time.time(),
            flow=_digest(flow),
            selection=selection,
            number=earlier.number if earlier else 0,
            is_flow_changed=changed is not None,
            is_known_selected=bool(found.known),
        )
        store_planned_retry(ledger, replay.no, run, planned, found)
    parts = [f"of {replay.id}: {selection_text(choice)}"]
    parts += [f"and {plural(pending, 'contact')} that {'is' if pending == 1 else 'are'} pending"] if pending else []
    parts += [left_out_text(found.result)] if found.left_out else []
    parts += [purged_text(found.result)] if found.result.purged else []
    return PlannedSelection(replay, found, "; ".join(parts))


def find_retry(ledger: Ledger, replay_id: str | None, context: Mapping[str, Any]) -> PlannedRetry | None:
    """Return the retry that a run makes, if it makes one.

    Args:
        replay_id: name of the replay that the run sends.
    """
    replay = find_replay(ledger, replay_id) if replay_id else None
    return None if replay is None else retry_of_run(replay, context)


def retry_of_run(replay: Replay, context: Mapping[str, Any]) -> PlannedRetry | None:
    """Return the retry of a replay that a run makes, if it makes one."""
    return planned_retry(replay, _name_of(context))


def resume_retry(
    ledger: Ledger, flow: Flow, replay_id: str, retry: PlannedRetry, chunks: Sequence[int] | None
) -> tuple[Replay, RetryResult | None]:
    """Make the planned contacts of a task pending, once per plan; nobody else, even if others match by now.

    Args:
        replay_id: name of the retried replay.
        retry: the retry that the run makes.
        chunks: the task's chunks; ``None`` for all.

    Returns:
        The replay, and what became pending; ``None`` if nothing was left to do.

    Raises:
        ReplayError: the flow has changed since the retry was planned.
        LedgerError: the ledger cannot be written.
    """
    if retry.flow != _digest(flow):
        raise ReplayError(
            "the flow has changed since this retry was planned: clear the task `plan` with its downstream tasks, to "
            "plan it with the changed flow"
        )
    with exclusive(ledger, "retry", replay_id, str(retry.number)):
        replay, chosen = get_replay(ledger, replay_id), None
        # Contacts with content elsewhere may move to any chunk, so the first task makes all of them pending.
        of_chunks = None if retry.is_known_selected else chunks
        if count_unsent(ledger, replay.no, retry.number, of_chunks):
            changed = flow if retry.is_flow_changed else _changed_flow(replay, flow)
            if changed is not None:
                load_step_identities(ledger, replay, changed, states=())  # refuses an unconfirmed rename
            choice = replaced(_choice_of(retry, -retry.number), chunks=of_chunks)
            chosen = walk_again(ledger, replay, choice, changed)
        elif (changed := _changed_flow(replay, flow)) is not None:  # only pending contacts are walked
            load_step_identities(ledger, replay, changed, states=())
            change_flow(ledger, replay.no, changed.source_for_storage)
    return get_replay(ledger, replay_id), chosen


def retry_cleared(
    ledger: Ledger, replay: Replay, chunks: Any, clear: str, retry: PlannedRetry | None, last: int | None = None
) -> RetryResult | None:
    """Make contacts of a cleared task pending again, once per clear: those that failed.

    Args:
        replay: replay of the contacts.
        chunks: the task's chunks; ``None`` for all.
        clear: identifies the task and the number of its clear.
        retry: the retry that the run makes. Then only contacts that this run has sent.
        last: row of the last contact that the task sends; ``None`` if there is no such limit.
    """
    choice = RetrySelection() if retry is None else _choice_of(retry, retry.number)
    return walk_failed_again(ledger, replay, chunks, clear, replaced(choice, last=last))


def _choice_of(retry: PlannedRetry, number: int) -> RetrySelection:
    """Return the contacts with a number that still are as the retry selects them, or have failed."""
    params = msgspec.convert(retry.selection, RetryParams)
    return replaced(params.selection, retry_no=number, or_failed_in=number)


def _why_nothing(replay: Replay, result: RetryResult, choice: RetrySelection) -> str:
    if result.left_out:
        return f"nothing can be sent again: {left_out_text(result)}; {how_to_include(replay)}"
    if _is_resume(choice):
        return f"nothing to resume: no contact of the replay {replay.id!r} is pending"
    others = others_text(result, "states")
    reasons = [f"no contact of the replay {replay.id!r} matches {selection_text(choice)!r}"]
    reasons += [purged_text(result)] if result.purged else []
    return "; ".join([*reasons, *([others] if others and not result.purged else [])])


def _is_resume(choice: RetrySelection) -> bool:
    """Whether a retry selects no ended contact: it sends what is pending."""
    return set(choice.states) == {ContactState.PENDING}


def _changed_flow(replay: Replay, flow: Flow) -> Flow | None:
    return None if replay.flow == flow.source_for_storage else flow


def _digest(flow: Flow) -> str:
    return hashlib.sha256(flow.source_for_storage.encode()).hexdigest()


def _name_of(context: Mapping[str, Any]) -> str:
    return f"{getattr(context.get('ti'), 'dag_id', '')}/{run_id_of(context)}"

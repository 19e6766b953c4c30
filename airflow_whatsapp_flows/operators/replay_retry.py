"""What a run of ``<id>__replay`` does if it retries contacts of an earlier replay.

A process that only parses DAG files doesn't import this.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

import msgspec
from airflow.sdk import Context

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.claims import exclusive
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.ledger.retry import (
    RetryResult,
    RetrySelection,
    SelectedContacts,
    find_selected,
    walk_again,
    walk_failed_again,
)
from airflow_whatsapp_flows.ledger.retry_runs import PlannedRetry, planned_retry, store_planned_retry
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators.run_input import run_id_of
from airflow_whatsapp_flows.replay.renames import load_step_identities
from airflow_whatsapp_flows.replay.retry import (
    RETRIABLE,
    check_flow,
    check_selection,
    get_retriable_replay,
    how_to_include,
    left_out_text,
    others_text,
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
    """

    retry_of: str | None = None
    states: list[str] | None = None
    steps: list[str] | None = None
    fingerprint: str | None = None
    responses: list[str] | None = None

    @property
    def selection(self) -> RetrySelection:
        """The contacts to retry.

        Raises:
            ReplayError: there is no such state.
        """
        for state in self.states or ():
            if state not in RETRIABLE:
                raise ReplayError(f"states: a retry can't select {state!r}{did_you_mean(state, RETRIABLE)}")
        return RetrySelection(
            states=[ContactState(state) for state in self.states or ()],
            steps=self.steps or (),
            fingerprint=self.fingerprint or None,
            responses=self.responses or (),
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
    given = [name for name in ("states", "steps", "fingerprint", "responses") if getattr(params, name)]
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
    check_flow(replay, flow, "this DAG's flow")
    choice = params.selection
    check_selection(ledger, replay, flow, choice)
    run = _name_of(context)
    earlier = planned_retry(replay, run)
    if earlier is not None:  # of a cleared run: what it has sent may have failed again, in another way
        choice = replaced(choice, or_failed_since=earlier.planned_at)
    found = find_selected(ledger, replay, choice, _changed_flow(replay, flow))
    if not found.result.contacts and earlier is None:
        raise ReplayError(_why_nothing(replay, found.result, choice))
    if not dry:
        selection = {name: value for name, value in msgspec.structs.asdict(params).items() if value}
        planned_at = earlier.planned_at if earlier else time.time()
        store_planned_retry(ledger, replay.no, run, PlannedRetry(planned_at, _digest(flow), selection))
    parts = [f"of {replay.id}: {selection_text(choice)}", *([left_out_text(found.result)] if found.left_out else ())]
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
    ledger: Ledger, flow: Flow, replay_id: str, retry: PlannedRetry, context: Context
) -> tuple[Replay, RetryResult | None]:
    """Make the selected contacts pending, once per run.

    Args:
        replay_id: name of the retried replay.
        retry: the retry that the run makes.

    Returns:
        The replay, and what was selected if this call did it.

    Raises:
        ReplayError: the flow has changed since the retry was planned.
        LedgerError: the ledger cannot be written.
    """
    if retry.flow != _digest(flow):
        raise ReplayError(
            "the flow has changed since this retry was planned: clear the task `plan` with its downstream tasks, to "
            "plan it with the changed flow"
        )
    run, chosen = _name_of(context), None
    with exclusive(ledger, "retry", replay_id, run):  # the first of the run's tasks selects for all
        replay = get_replay(ledger, replay_id)
        retry = planned_retry(replay, run) or retry
        if not retry.selected:
            changed = _changed_flow(replay, flow)
            if changed is not None:
                load_step_identities(ledger, replay, changed, states=())  # refuses an unconfirmed rename
            chosen = walk_again(ledger, replay, choice_of(retry), changed)
            # A worker that dies before this has sent nothing yet, and neither have the other tasks.
            store_planned_retry(ledger, replay.no, run, replaced(retry, selected=True))
    return get_replay(ledger, replay_id), chosen


def retry_cleared(
    ledger: Ledger, replay: Replay, chunks: Any, clear: str, retry: PlannedRetry | None
) -> RetryResult | None:
    """Make contacts of a cleared task pending again, once per clear: those that failed.

    Args:
        replay: replay of the contacts.
        chunks: the task's chunks; ``None`` for all.
        clear: identifies the task and the number of its clear.
        retry: the retry that the run makes. Then only contacts that it selects, or that failed in it.
    """
    return walk_failed_again(ledger, replay, chunks, clear, choice_of(retry) if retry else RetrySelection())


def choice_of(retry: PlannedRetry) -> RetrySelection:
    """Return the contacts that a run retries: those it was asked for, and those that have failed since."""
    params = msgspec.convert(retry.selection, RetryParams)
    return replaced(params.selection, or_failed_since=retry.planned_at)


def _why_nothing(replay: Replay, result: RetryResult, choice: RetrySelection) -> str:
    if result.left_out:
        return f"nothing can be sent again: {left_out_text(result)}; {how_to_include(replay)}"
    others = others_text(result, "states")
    reasons = [f"no contact of the replay {replay.id!r} matches {selection_text(choice)!r}"]
    reasons += [f"the responses of {result.purged:,} have been purged"] if result.purged else []
    return "; ".join([*reasons, *([others] if others else [])])


def _changed_flow(replay: Replay, flow: Flow) -> Flow | None:
    return None if replay.flow == flow.source_for_storage else flow


def _digest(flow: Flow) -> str:
    return hashlib.sha256(flow.source_for_storage.encode()).hexdigest()


def _name_of(context: Mapping[str, Any]) -> str:
    return f"{getattr(context.get('ti'), 'dag_id', '')}/{run_id_of(context)}"

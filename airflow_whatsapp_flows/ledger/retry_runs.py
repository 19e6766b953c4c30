"""Retries that runs of a replay's DAG make, stored with the retried replay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import case, func, or_, select, update

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, Tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import contacts, replays

_RETRIES = "retries"  # key of the options


@dataclass(frozen=True, slots=True)
class PlannedRetry:
    """A retry that a DAG run makes.

    Attributes:
        planned_at: epoch seconds; when the run was planned for the first time.
        flow: digest of the flow that the retry was planned with.
        selection: the conditions for contacts, as plain data.
        selected: whether the selected contacts have become pending.
    """

    planned_at: float
    flow: str
    selection: Mapping[str, Any]
    selected: bool = False


def planned_retry(replay: Replay, run: str) -> PlannedRetry | None:
    """Return the retry of a replay that a run makes, if it makes one.

    Args:
        run: names the run, and its DAG.
    """
    value = (replay.options.get(_RETRIES) or {}).get(run)
    return None if value is None else PlannedRetry(**value)


def retrying_runs(replay: Replay) -> list[str]:
    """Return the names of the runs that retry contacts of a replay, newest first; see :func:`planned_retry`."""
    retries = replay.options.get(_RETRIES) or {}
    return sorted(retries, key=lambda run: retries[run]["planned_at"], reverse=True)


def store_planned_retry(ledger: Ledger, replay_no: int, run: str, retry: PlannedRetry) -> None:
    """Store the retry that a run makes.

    Args:
        run: names the run, and its DAG.

    Raises:
        LedgerError: the ledger cannot be written.
    """
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        options = json.loads(connection.execute(select(replays.c.options).where(own).with_for_update()).scalar_one())
        kept = {**options, _RETRIES: {**(options.get(_RETRIES) or {}), run: asdict(retry)}}
        connection.execute(update(replays).where(own).values(options=json.dumps(kept)))


def tally_since(ledger: Ledger, replay_no: int, since: float, only: Sequence[int] | None = None) -> Tally:
    """Count the contacts of a replay that ended at or after a time, and the pending ones; requests are not counted.

    Args:
        replay_no: number of the replay.
        since: epoch seconds.
        only: chunks to count; by default all.
    """
    is_pending = contacts.c.state == ContactState.PENDING.value
    own = [contacts.c.replay_no == replay_no, or_(is_pending, contacts.c.ended_at >= since)]
    if only is not None:
        own.append(contacts.c.chunk.in_(list(only)))
    handled = func.sum(case((contacts.c.handled_errors > 0, 1), else_=0))
    unanswered = func.sum(case((contacts.c.unanswered, 1), else_=0))
    columns = (func.count(), func.sum(contacts.c.handled_errors), handled, unanswered)
    query = select(contacts.c.state, *columns).where(*own).group_by(contacts.c.state)
    with ledger.read() as connection:
        found = {ContactState(state): counts for state, *counts in connection.execute(query)}
    return Tally(
        total=sum(counts[0] for counts in found.values()),
        states={state: found[state][0] if state in found else 0 for state in ContactState},
        handled_errors=sum(counts[1] for counts in found.values()),
        handled=found[ContactState.COMPLETED][2] if ContactState.COMPLETED in found else 0,
        unanswered=sum(counts[3] for counts in found.values()),
        requests=0,
    )

"""Retries that runs of a replay's DAG make, stored with the retried replay, and the contacts that they selected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, case, func, null, select, update

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, Tally
from airflow_whatsapp_flows.ledger.retry import SelectedContacts
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
        number: of the retry, in its replay; the selected contacts have it. 0: of an earlier version of the ledger,
            where no contact has it.
        is_flow_changed: whether the replay had another flow when the retry was planned.
        is_known_selected: whether contacts were selected whose content is in another replay: they may move to any
            chunk.
    """

    planned_at: float
    flow: str
    selection: Mapping[str, Any]
    number: int = 0
    is_flow_changed: bool = False
    is_known_selected: bool = False


_FIELDS = frozenset(field.name for field in fields(PlannedRetry))


def planned_retry(replay: Replay, run: str) -> PlannedRetry | None:
    """Return the retry of a replay that a run makes, if it makes one.

    Args:
        run: names the run, and its DAG.
    """
    value = (replay.options.get(_RETRIES) or {}).get(run)
    return None if value is None else PlannedRetry(**{name: one for name, one in value.items() if name in _FIELDS})


def retrying_runs(replay: Replay) -> list[str]:
    """Return the names of the runs that retry contacts of a replay, newest first; see :func:`planned_retry`."""
    retries = replay.options.get(_RETRIES) or {}
    return sorted(retries, key=lambda run: retries[run]["planned_at"], reverse=True)


def store_planned_retry(
    ledger: Ledger, replay_no: int, run: str, retry: PlannedRetry, found: SelectedContacts
) -> PlannedRetry:
    """Store the retry that a run makes, and its number with the contacts that it selects.

    Pending contacts are walked with them, so they get its number too. A contact belongs to the retry that was planned
    last.

    Args:
        run: names the run, and its DAG.
        retry: without a number if the run was not planned before.
        found: the contacts.

    Returns:
        The retry, with its number.

    Raises:
        LedgerError: the ledger cannot be written, or other contacts match by now; nothing was stored.
    """
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        options = json.loads(connection.execute(select(replays.c.options).where(own).with_for_update()).scalar_one())
        retries = options.get(_RETRIES) or {}
        number = retry.number or max((other.get("number", 0) for other in retries.values()), default=0) + 1
        numbered = replace(retry, number=number)
        kept = {**options, _RETRIES: {**retries, run: asdict(numbered)}}
        connection.execute(update(replays).where(own).values(options=json.dumps(kept)))
        mark = update(contacts).where(contacts.c.replay_no == replay_no)
        connection.execute(mark.where(contacts.c.retry_no == -number).values(retry_no=null()))
        marked = connection.execute(mark.where(found.or_known).values(retry_no=-number)).rowcount
        if marked != found.result.contacts + found.result.left_out:
            raise LedgerError("contacts have ended since they were selected: the plan would be wrong")
        pending = contacts.c.state == ContactState.PENDING.value
        connection.execute(mark.where(pending).values(retry_no=number))
    return numbered


def count_unsent(ledger: Ledger, replay_no: int, number: int, only: Sequence[int] | None = None) -> int:
    """Count the contacts that a retry has selected, but no task of its run has made pending yet.

    Args:
        replay_no: number of the replay.
        number: of the retry.
        only: chunks to count; by default all.
    """
    with ledger.read() as connection:
        own = _of_retry(replay_no, -number, only)
        return connection.execute(select(func.count()).select_from(contacts).where(*own)).scalar_one()


def _of_retry(replay_no: int, number: int, only: Sequence[int] | None) -> list[ColumnElement[bool]]:
    own = [contacts.c.replay_no == replay_no, contacts.c.retry_no == number]
    return own if only is None else [*own, contacts.c.chunk.in_(list(only))]


def tally_retry(ledger: Ledger, replay_no: int, number: int, only: Sequence[int] | None = None) -> Tally:
    """Count the contacts that a retry walks, or has left out; requests are not counted.

    Args:
        replay_no: number of the replay.
        number: of the retry.
        only: chunks to count; by default all.
    """
    handled = func.sum(case((contacts.c.handled_errors > 0, 1), else_=0))
    unanswered = func.sum(case((contacts.c.unanswered, 1), else_=0))
    columns = (func.count(), func.sum(contacts.c.handled_errors), handled, unanswered)
    query = select(contacts.c.state, *columns).where(*_of_retry(replay_no, number, only)).group_by(contacts.c.state)
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

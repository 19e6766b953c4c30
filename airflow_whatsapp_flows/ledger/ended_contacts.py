"""When the contacts of a replay ended: for pictures whose cost does not grow with the contacts.

What the counts of chunks know, without reading contacts: how many of a chunk ended between which times. Of a small
replay, which may be a single chunk, the contacts themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import func, or_, select

from airflow_whatsapp_flows.ledger.counts import count_requests, select_counts, total
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Tally, tally_of
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import contacts, replays

SMALL = 5000
"""Contacts of a replay whose contacts are read one by one."""
WITHOUT_ERROR = (ContactState.COMPLETED, ContactState.SKIPPED)
"""States of contacts that ended without an error."""
_REPLAYS = 500


class EndedContacts(NamedTuple):
    """Contacts in one state that ended between two times.

    Attributes:
        state: their state.
        number: how many.
        first: epoch seconds; when the first of them ended.
        last: the same of the last one.
    """

    state: ContactState
    number: int
    first: float
    last: float


def tally_over_time(ledger: Ledger, replay_no: int) -> tuple[Tally, list[EndedContacts]]:
    """Count the contacts of a replay as :func:`~airflow_whatsapp_flows.ledger.replays.tally`, and when they ended.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        rows = select_counts(connection, replay_no).c
        columns = (total(rows.contacts), total(rows.handled_errors), total(rows.handled), total(rows.unanswered))
        times = (func.min(rows.first_ended_at), func.max(rows.last_ended_at))
        query = select(rows.state, *columns, *times).group_by(rows.chunk, rows.state)
        found = connection.execute(query).all()
        requests = connection.execute(count_requests(replay_no, None)).scalar_one()
        counted = tally_of([row[:5] for row in found], requests)
        if counted.total > SMALL:
            return counted, [_build(row[0], row[1], row[5], row[6]) for row in found if row[5] is not None]
        own = (contacts.c.replay_no == replay_no, contacts.c.ended_at.is_not(None))
        each = connection.execute(select(contacts.c.state, contacts.c.ended_at).where(*own).limit(SMALL)).all()
    return counted, [_build(state, 1, at, at) for state, at in each]


def count_ended_of_flows(
    ledger: Ledger, flow_ids: Collection[str], times: Sequence[float]
) -> dict[str, list[tuple[int, int]]]:
    """Count the contacts of some flows that ended between given times, in replays.

    A chunk's contacts with one outcome count when the last of them ended. Of the replays, the last 500 are read.

    Args:
        ledger: the ledger.
        flow_ids: the flows.
        times: epoch seconds, in order.

    Returns:
        By flow, and between each two times: how many completed or were skipped, and how many did not.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    recent = (
        select(replays.c.no, replays.c.flow_id)
        .where(replays.c.flow_id.in_(list(flow_ids)), replays.c.started_at.is_not(None))
        .where(or_(replays.c.ended_at.is_(None), replays.c.ended_at >= times[0]))
        .order_by(replays.c.no.desc())
        .limit(_REPLAYS)
    )
    with ledger.read() as connection:
        flow_of = {no: flow_id for no, flow_id in connection.execute(recent)}  # noqa: C416
        if not flow_of:
            return {}
        rows = select_counts(connection, list(flow_of)).c
        is_good = rows.state.in_([state.value for state in WITHOUT_ERROR])
        # Few rows, however many errors a chunk has; a sum for each time would take longer.
        of_chunk = select(rows.replay_no, is_good, total(rows.contacts), func.max(rows.last_ended_at))
        of_chunk = of_chunk.where(rows.last_ended_at >= times[0]).group_by(rows.replay_no, rows.chunk, is_good)
        counted = connection.execute(of_chunk).all()
    found: dict[str, list[tuple[int, int]]] = {}
    for no, has_no_error, number, ended_at in counted:
        at = bisect_right(times, ended_at) - 1
        if at < len(times) - 1:
            known = found.setdefault(flow_of[no], [(0, 0)] * (len(times) - 1))
            good, bad = known[at]
            known[at] = (good + number, bad) if has_no_error else (good, bad + number)
    return found


def _build(state: str, number: int, first: float, last: float) -> EndedContacts:
    return EndedContacts(ContactState(state), number, first, last)

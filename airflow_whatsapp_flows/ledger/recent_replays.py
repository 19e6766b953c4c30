"""Replays for lists: newest first, in pages, with the counts of their contacts and without their flows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from airflow_whatsapp_flows.ledger.counts import select_counts, total
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import run_seconds
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import replays

_COLUMNS = (
    replays.c.no, replays.c.id, replays.c.flow_id, replays.c.source, replays.c.note, replays.c.created_at,
    replays.c.started_at, replays.c.ended_at, replays.c.sealed,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecentReplay:
    """A replay in a list.

    Attributes:
        no: number in the ledger.
        id: name of the replay.
        flow_id: id of the flow.
        source: where the responses came from.
        note: the user's note.
        created_at: epoch seconds.
        started_at: see :class:`~airflow_whatsapp_flows.ledger.replays.Replay`.
        ended_at: the same.
        sealed: the same.
        states: number of contacts in each state, including empty ones.
    """

    no: int
    id: str
    flow_id: str
    source: str
    note: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    sealed: bool
    states: Mapping[ContactState, int]

    @property
    def total(self) -> int:
        """Number of contacts."""
        return sum(self.states.values())

    def run_seconds(self, now: float) -> float:
        """Return the seconds it has run, without the time between runs."""
        return run_seconds(self.started_at, self.ended_at, now)


def recent_replays(
    ledger: Ledger, limit: int, before: int | None = None, *, text: str = "", flow_ids: Collection[str] | None = None
) -> list[RecentReplay]:
    """Find replays, newest first.

    Args:
        limit: maximum number of replays.
        before: number of a replay: only older ones are returned.
        text: part of the name, flow id, or note.
        flow_ids: flows whose replays to include; by default all.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    query = select(*_COLUMNS).order_by(replays.c.no.desc()).limit(limit)
    if before is not None:
        query = query.where(replays.c.no < before)
    if text:
        columns = (replays.c.id, replays.c.flow_id, func.coalesce(replays.c.note, ""))
        is_wanted = columns[0].icontains(text, autoescape=True)
        for column in columns[1:]:
            is_wanted = is_wanted | column.icontains(text, autoescape=True)
        query = query.where(is_wanted)
    if flow_ids is not None:
        query = query.where(replays.c.flow_id.in_(list(flow_ids)))
    with ledger.read() as connection:
        return _read(connection, query)


def replayed_flows(ledger: Ledger) -> list[str]:
    """Find the ids of the flows that have replays.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        return list(connection.scalars(select(replays.c.flow_id).distinct()))


def latest_of_flows(ledger: Ledger, flow_ids: Collection[str]) -> dict[str, RecentReplay]:
    """Find the last replay of each of some flows, by flow id.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    newest = select(func.max(replays.c.no)).where(replays.c.flow_id.in_(list(flow_ids))).group_by(replays.c.flow_id)
    with ledger.read() as connection:
        return {row.flow_id: row for row in _read(connection, select(*_COLUMNS).where(replays.c.no.in_(newest)))}


def _read(connection: Connection, query: Select[Any]) -> list[RecentReplay]:
    rows = connection.execute(query).all()
    counted = select_counts(connection, [row.no for row in rows]).c
    by_state = select(counted.replay_no, counted.state, total(counted.contacts))
    by_state = by_state.group_by(counted.replay_no, counted.state)
    found = connection.execute(by_state).all() if rows else []
    states = {(no, ContactState(state)): count for no, state, count in found}
    return [_recent(row, states) for row in rows]


def _recent(row: Row[Any], states: Mapping[tuple[int, ContactState], int]) -> RecentReplay:
    return RecentReplay(
        no=row.no,
        id=row.id,
        flow_id=row.flow_id,
        source=row.source,
        note=row.note,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        sealed=bool(row.sealed),
        states={state: states.get((row.no, state), 0) for state in ContactState},
    )

"""Pages of a replay's contacts: filtered, and found by an identifier.

Each page reads a limited number of rows, however many contacts there are. Counts of chunks say where contacts in a
state or with an error are, so chunks without any are not read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, or_, select

from airflow_whatsapp_flows.flow.identity import EMAIL, PHONE
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.known_rows import full_reason, names_of_replays
from airflow_whatsapp_flows.ledger.person_history import find_person
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import chunks, contacts, counts, has_replay, identifiers

MOST_READ = 20_000
"""Contacts that are read for one page."""
_MOST_CHUNKS = 200
_MOST_FOUND = 50  # by an identifier
_MOST_REASON = 1000  # characters
_KINDS = (EMAIL, PHONE, "user_id", "id")
_COLUMNS = (
    contacts.c.id, contacts.c.chunk, contacts.c.response_id, contacts.c.phone, contacts.c.place, contacts.c.state,
    func.substr(contacts.c.reason, 1, _MOST_REASON).label("reason"), contacts.c.handled_errors, contacts.c.ended_at,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContactFilter:
    """Which contacts to show.

    Attributes:
        state: their state; ``None`` for any.
        fingerprint: their error; empty for any.
        handled: only those that took an error exit.
        step: only those whose walk visited this step; empty for any.
        text: part of their response id, place, reason, or error.
    """

    state: ContactState | None = None
    fingerprint: str = ""
    handled: bool = False
    step: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class ContactLine:
    """A contact in a list.

    Attributes:
        id: number of its row.
        chunk: number of its chunk.
        response_id: id of its response; ``None`` for a row without one.
        phone: its phone number, if any.
        place: location of its row in the source.
        state: its state.
        reason: why it is in that state, shortened.
        handled_errors: number of errors handled by error exits.
        ended_at: epoch seconds.
    """

    id: int
    chunk: int
    response_id: str | None
    phone: str | None
    place: str
    state: ContactState
    reason: str
    handled_errors: int
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class ContactPage:
    """A page of contacts.

    Attributes:
        contacts: in the order of chunks and of the source.
        next: chunk and row number after which the next page starts; ``None`` at the end.
    """

    contacts: Sequence[ContactLine]
    next: tuple[int, int] | None


def find_contacts(
    ledger: Ledger, replay_no: int, chosen: ContactFilter, after: tuple[int, int] = (-1, 0), limit: int = 50
) -> ContactPage:
    """Find contacts of a replay. A page may have fewer than ``limit``, even none, and still a next one.

    Args:
        replay_no: number of the replay.
        chosen: which contacts.
        after: ``next`` of the page before.
        limit: maximum number of contacts.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    found: list[Row[Any]] = []
    to_read = MOST_READ
    with ledger.read() as connection:
        names = names_of_replays(connection)
        candidates = _chunks_with(connection, replay_no, chosen, after[0])
        for chunk, size in candidates:
            if to_read <= 0:
                return _page(found, names, (chunk, 0))
            start = after[1] if chunk == after[0] else 0
            last = _last_of(connection, (replay_no, chunk, start), to_read) if size > to_read else None
            query = _select(replay_no, chunk, start, chosen)
            if last is not None:
                query = query.where(contacts.c.id <= last)
            found += connection.execute(query.limit(limit + 1 - len(found))).all()
            if len(found) > limit:
                return _page(found[:limit], names, (found[limit - 1].chunk, found[limit - 1].id))
            if last is not None:
                return _page(found, names, (chunk, last))
            to_read -= size
    is_end = len(candidates) < _MOST_CHUNKS
    return _page(found, names, None if is_end else (candidates[-1][0] + 1, 0))


def find_by_identifier(ledger: Ledger, replay_no: int, flow_id: str, text: str) -> list[ContactLine]:
    """Find contacts of a replay by response id, or by any identifier of a person, such as phone number and e-mail.

    Args:
        replay_no: number of the replay.
        flow_id: its flow.
        text: as entered by a person.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        by_id = [contacts.c.response_id == text, contacts.c.digest.is_not(None)]
        wanted: list[list[ColumnElement[bool]]] = [by_id]
        people = [find_person(connection, kind, text) for kind in _KINDS]
        if phones := [phone for person in people for phone in person.phones]:
            wanted.append([contacts.c.phone.in_(phones), contacts.c.phone.is_not(None)])
        if known := {value for person in people for _, value, flow in person.identifiers if flow == flow_id}:
            ids = select(identifiers.c.response_id).where(
                identifiers.c.value.in_(known), identifiers.c.flow_id == flow_id
            )
            wanted.append([contacts.c.response_id.in_(ids.limit(_MOST_FOUND)), contacts.c.digest.is_not(None)])
        names = names_of_replays(connection)
        found: dict[int, Row[Any]] = {}
        for conditions in wanted:
            query = select(*_COLUMNS).where(*conditions, has_replay(replay_no)).limit(_MOST_FOUND)
            found.update({row.id: row for row in connection.execute(query)})
    return [_line(found[number], names) for number in sorted(found)][:_MOST_FOUND]


def _chunks_with(
    connection: Connection, replay_no: int, chosen: ContactFilter, start: int
) -> Sequence[tuple[int, int]]:
    """Return the number and size of chunks that may have such contacts, from one on, in order."""
    query = select(chunks.c.chunk, chunks.c.size).where(chunks.c.replay_no == replay_no, chunks.c.chunk >= start)
    in_counts = _counted_conditions(counts, chosen)
    if in_counts:
        own = and_(counts.c.replay_no == chunks.c.replay_no, counts.c.chunk == chunks.c.chunk)
        has_some = select(counts.c.id).where(own, *in_counts).correlate(chunks).exists()
        query = query.where(or_(chunks.c.requests.is_(None), has_some))  # counts of a chunk in use are not stored
    rows = connection.execute(query.order_by(chunks.c.chunk).limit(_MOST_CHUNKS)).all()
    return [(row.chunk, row.size) for row in rows]


def _counted_conditions(table: Table, chosen: ContactFilter) -> list[ColumnElement[bool]]:
    """Return the conditions on what contacts have, and what chunks are counted by."""
    found: list[ColumnElement[bool]] = []
    if chosen.state is not None:
        found.append(table.c.state == chosen.state.value)
    if chosen.fingerprint:
        found.append(table.c.fingerprint == chosen.fingerprint)
    if chosen.handled:
        found.append(table.c.handled_errors > 0)
    return found


def _last_of(connection: Connection, after: tuple[int, int, int], rows: int) -> int | None:
    """Return the last of so many contacts of a chunk; ``None`` if there are fewer."""
    replay_no, chunk, start = after
    query = select(contacts.c.id).where(
        contacts.c.replay_no == replay_no, contacts.c.chunk == chunk, contacts.c.id > start
    )
    return connection.execute(query.order_by(contacts.c.id).offset(rows - 1).limit(1)).scalar_one_or_none()


def _select(replay_no: int, chunk: int, start: int, chosen: ContactFilter) -> Select[Any]:
    own = [contacts.c.replay_no == replay_no, contacts.c.chunk == chunk, contacts.c.id > start]
    own += _counted_conditions(contacts, chosen)
    if chosen.step:
        names = {msgspec.json.encode(chosen.step).decode(), json.dumps(chosen.step)}
        own.append(or_(*(contacts.c.path.contains(name, autoescape=True) for name in names)))
    if chosen.text:
        columns = (contacts.c.response_id, contacts.c.place, contacts.c.reason, contacts.c.error)
        own.append(or_(*(column.icontains(chosen.text, autoescape=True) for column in columns)))
    return select(*_COLUMNS).where(*own).order_by(contacts.c.id)


def _page(found: Sequence[Row[Any]], names: dict[int, str], after: tuple[int, int] | None) -> ContactPage:
    return ContactPage([_line(row, names) for row in found], after)


def _line(row: Row[Any], names: dict[int, str]) -> ContactLine:
    return ContactLine(
        id=row.id,
        chunk=row.chunk,
        response_id=row.response_id,
        phone=row.phone,
        place=row.place,
        state=ContactState(row.state),
        reason=full_reason(row.reason, names) or "",
        handled_errors=row.handled_errors,
        ended_at=row.ended_at,
    )

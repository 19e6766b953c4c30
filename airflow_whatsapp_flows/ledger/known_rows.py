"""Rows that the ledger already contains: rerunning a batch stores a few bytes for each, not its content again.

Such a row is ``skipped`` from the start. It keeps its place, its id and a short reason. Response, phone and digest are
looked up in the newest earlier row with the same response id and content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, func, select, update

from airflow_whatsapp_flows.flow.identity import PHONE
from airflow_whatsapp_flows.ledger.epochs import KnownResponse
from airflow_whatsapp_flows.ledger.persons import Persons, SourceRow
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import contacts, identifiers, replays
from airflow_whatsapp_flows.ledger.snapshots import chunks_of_phones, move_contacts

DUPLICATE = "duplicate: an earlier row of this source is the same response"
_DONE = "done:"
_PAGE = 500


def completion_reason(replay_id: str) -> str:
    """Return the reason for skipping a response that another replay completed."""
    return f"done: the replay {replay_id} completed it"


def state_elsewhere(known: KnownResponse) -> tuple[ContactState, str] | None:
    """Return the state and reason of a contact whose same content another replay has completed, or has in doubt."""
    if known.state is ContactState.COMPLETED:
        return ContactState.SKIPPED, completion_reason(known.replay_id)
    if known.state is ContactState.IN_DOUBT and known.walked:
        return ContactState.IN_DOUBT, f"in doubt in {known.where}; resolve it there, with `replay resolve`"
    return None


def short_reason(reason: str | None, replays_of_response: Iterable[tuple[int, str]]) -> str | None:
    """Shorten the reason of a known row for storage; :func:`full_reason` is the inverse.

    Args:
        reason: as shown to people.
        replays_of_response: numbers and names of the replays that contain the response.
    """
    if reason == DUPLICATE:
        return DUPLICATE.partition(":")[0]
    for number, replay_id in replays_of_response:
        if reason == completion_reason(replay_id):
            return f"{_DONE}{number}"
    return reason


def full_reason(reason: str | None, names: Mapping[int, str]) -> str | None:
    """Return the reason of a contact as shown to people.

    Args:
        reason: as stored in the ledger.
        names: names of replays by number.
    """
    if reason == DUPLICATE.partition(":")[0]:
        return DUPLICATE
    number = (reason or "").removeprefix(_DONE)
    if reason != number and number.isdecimal() and int(number) in names:
        return completion_reason(names[int(number)])
    return reason


def names_of_replays(connection: Connection) -> dict[int, str]:
    """Return the names of all replays by number."""
    return {no: id_ for no, id_ in connection.execute(select(replays.c.no, replays.c.id))}  # noqa: C416


def response_of() -> ColumnElement[str]:
    """Return the expression for a contact's response, including one stored in an earlier row."""
    return func.coalesce(contacts.c.response, _holder_column("response"))


def is_known() -> ColumnElement[bool]:
    """Return the condition that a contact is a known row, without content of its own."""
    return and_(
        contacts.c.state == ContactState.SKIPPED.value,
        contacts.c.digest.is_(None),
        contacts.c.response_id.is_not(None),
    )


def restore_content(connection: Connection, chosen: ColumnElement[bool]) -> bool:
    """Copy the content of earlier rows into known rows that will be walked.

    All responses of one person are walked in one chunk, so a row moves to the chunk of its person.

    Args:
        connection: in a transaction.
        chosen: contacts of one replay; only known rows among them are changed.

    Returns:
        Whether there were any. Then other rows of the same people may have moved too.
    """
    known = and_(chosen, is_known())
    numbers = connection.execute(select(contacts.c.id).where(known).order_by(contacts.c.id)).scalars().all()
    with closing(Persons()) as persons:
        for start in range(0, len(numbers), _PAGE):
            _restore(connection, persons, numbers[start : start + _PAGE])
    return bool(numbers)


def _restore(connection: Connection, persons: Persons, numbers: Sequence[int]) -> None:
    own = contacts.c.id.in_(numbers)
    query = (
        select(
            contacts.c.id, contacts.c.replay_no, contacts.c.response_id, contacts.c.chunk, replays.c.flow_id,
            _holder_column("phone").label("phone"),
        )
        .join(replays, replays.c.no == contacts.c.replay_no)
        .where(own)
        .order_by(contacts.c.id)
    )  # fmt: skip
    rows = connection.execute(query).all()
    replay_no, flow_id = rows[0].replay_no, rows[0].flow_id
    others = _others(connection, flow_id, identifiers.c.response_id.in_([row.response_id for row in rows]))
    peers = _peers(connection, replay_no, flow_id, {value for marks in others.values() for _, value in marks})
    placed = [SourceRow(_marks(row.phone, others[row.response_id]), row.response_id, row.chunk) for row in rows]
    phones = chunks_of_phones(connection, replay_no, [row.phone for row in rows if row.phone is not None])
    shared, moves = persons.place([row for row in (*peers, *placed) if row.marks], phones)
    chunks = {f"{PHONE}:{phone}": chunk for phone, (chunk, _) in phones.items()} | shared
    held = {name: _holder_column(name) for name in ("response", "phone", "digest")}
    connection.execute(update(contacts).where(own).values(**held))
    for row, one in zip(rows, placed, strict=True):
        chunk = chunks.setdefault(one.marks[0], row.chunk) if one.marks else row.chunk
        if chunk != row.chunk:
            connection.execute(update(contacts).where(contacts.c.id == row.id).values(chunk=chunk))
    move_contacts(connection, replay_no, moves)


def _peers(connection: Connection, replay_no: int, flow_id: str, values: Collection[str]) -> list[SourceRow]:
    """Find the contacts of a replay that have one of these identifiers, other than a phone number."""
    if not values:
        return []
    with_value = select(identifiers.c.response_id).where(
        identifiers.c.value.in_(values), identifiers.c.flow_id == flow_id
    )
    query = select(contacts.c.response_id, contacts.c.phone, contacts.c.chunk).where(
        contacts.c.response_id.in_(with_value),
        contacts.c.replay_no == replay_no,
        contacts.c.digest.is_not(None),
        contacts.c.state != ContactState.REJECTED.value,
    )
    found = connection.execute(query.order_by(contacts.c.id)).all()
    others = _others(connection, flow_id, identifiers.c.response_id.in_([row.response_id for row in found]))
    return [SourceRow(_marks(row.phone, others[row.response_id]), row.response_id, row.chunk) for row in found]


def _others(connection: Connection, flow_id: str, chosen: ColumnElement[bool]) -> dict[str, list[tuple[str, str]]]:
    """Map responses to the kind and value of their identifiers."""
    query = select(identifiers.c.response_id, identifiers.c.kind, identifiers.c.value)
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for response_id, kind, value in connection.execute(query.where(chosen, identifiers.c.flow_id == flow_id)):
        found[response_id].append((kind, value))
    return found


def _marks(phone: str | None, others: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    first = () if phone is None else (f"{PHONE}:{phone}",)
    return (*first, *(f"{kind}:{value}" for kind, value in others))


def _holder_column(column: str) -> ScalarSelect[Any]:
    holder, its, own = contacts.alias("holder"), replays.alias("its"), replays.alias("own")
    return (
        select(holder.c[column])
        .join(its, its.c.no == holder.c.replay_no)
        .join(own, own.c.flow_id == its.c.flow_id)
        .where(own.c.no == contacts.c.replay_no, holder.c.response_id == contacts.c.response_id, is_known())
        .where(holder.c.digest.is_not(None), holder.c.id < contacts.c.id, holder.c.epoch == contacts.c.epoch)
        .where(holder.c.state != ContactState.REJECTED.value)
        .order_by(holder.c.id.desc())
        .limit(1)
        .correlate(contacts)
        .scalar_subquery()
    )

"""Rows that the ledger already holds: a rerun of a batch adds some bytes for each of them, not its content again.

Such a row is ``skipped`` from the start. It keeps its place, its id and a short reason. Its response, phone and digest
are those of the newest earlier row with the same response id and content, and are looked up there when they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, func, select, update

from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import contacts, replays

DUPLICATE = "duplicate: an earlier row of this source is the same response"
_DONE = "done:"
_PAGE = 500


def done_by(replay_id: str) -> str:
    """Why a response is not sent that another replay completed."""
    return f"done: the replay {replay_id} completed it"


def short_reason(reason: str | None, replays_of_response: Iterable[tuple[int, str]]) -> str | None:
    """The reason of a known row as the ledger stores it; :func:`full_reason` is the way back.

    Args:
        reason: as people read it.
        replays_of_response: numbers and names of the replays that hold the response.
    """
    if reason == DUPLICATE:
        return DUPLICATE.partition(":")[0]
    for number, replay_id in replays_of_response:
        if reason == done_by(replay_id):
            return f"{_DONE}{number}"
    return reason


def full_reason(reason: str | None, names: Mapping[int, str]) -> str | None:
    """The reason of a contact as people read it.

    Args:
        reason: as the ledger stores it.
        names: of replays, by number.
    """
    if reason == DUPLICATE.partition(":")[0]:
        return DUPLICATE
    number = (reason or "").removeprefix(_DONE)
    if reason != number and number.isdecimal() and int(number) in names:
        return done_by(names[int(number)])
    return reason


def names_of_replays(connection: Connection) -> dict[int, str]:
    """Names of all replays, by number."""
    return {no: id_ for no, id_ in connection.execute(select(replays.c.no, replays.c.id))}  # noqa: C416


def response_of() -> ColumnElement[str]:
    """The response of a contact, also where an earlier row holds it; an expression over ``contacts``."""
    return func.coalesce(contacts.c.response, _held("response"))


def is_known() -> ColumnElement[bool]:
    """Whether a contact is a row that the ledger already held, and so has no content of its own."""
    return and_(
        contacts.c.state == ContactState.SKIPPED.value,
        contacts.c.digest.is_(None),
        contacts.c.response_id.is_not(None),
    )


def restore_content(connection: Connection, chosen: ColumnElement[bool]) -> None:
    """Give known rows the content that an earlier row holds, for they are to be walked.

    All responses of one phone number are walked in one chunk; so a row moves to the chunk where its contact is.

    Args:
        connection: in a transaction.
        chosen: which contacts; others than known rows stay as they are.
    """
    known = and_(chosen, is_known())
    numbers = connection.execute(select(contacts.c.id).where(known)).scalars().all()
    pages = [contacts.c.id.in_(numbers[start : start + _PAGE]) for start in range(0, len(numbers), _PAGE)]
    for own in pages:
        held = {name: _held(name) for name in ("response", "phone", "digest")}
        chunk = func.coalesce(_chunk_of(_held("phone")), contacts.c.chunk)
        connection.execute(update(contacts).where(own).values(chunk=chunk, **held))
    for own in pages:
        connection.execute(
            update(contacts).where(own, contacts.c.phone.is_not(None)).values(chunk=_chunk_of(contacts.c.phone))
        )


def _held(column: str) -> ScalarSelect[Any]:
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


def _chunk_of(phone: Any) -> ScalarSelect[Any]:
    other = contacts.alias("other")
    query = select(func.min(other.c.chunk)).where(other.c.replay_no == contacts.c.replay_no, other.c.phone == phone)
    return query.correlate(contacts).scalar_subquery()

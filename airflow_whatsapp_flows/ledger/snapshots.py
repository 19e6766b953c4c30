"""The snapshot of a replay's responses: taken once, so that a resume means the same contacts in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, insert, literal, select, update

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.persons import Move
from airflow_whatsapp_flows.ledger.schema import chunks, contacts, replays
from airflow_whatsapp_flows.ledger.statements import insert_statement

_PAGE = 500


class NewContact(NamedTuple):
    """One row of a source.

    Attributes:
        chunk: number of the chunk that it belongs to.
        place: where the row stands in the source.
        response_id: identity of the response, if the row has one.
        phone: of the contact, if it has one.
        digest: of the response's content.
        response: JSON; ``None`` for a rejected row.
        state: ``pending``, or already ``rejected`` or ``skipped``.
        reason: why it is not pending.
        epoch: of its content, see :mod:`~airflow_whatsapp_flows.ledger.epochs`.
    """

    chunk: int
    place: str
    response_id: str | None
    phone: str | None
    digest: str | None
    response: str | None
    state: str
    reason: str | None
    epoch: int = 1


def chunks_of_phones(connection: Connection, replay_no: int, phones: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The chunk that each phone number of a replay has been put in, and the number of its rows."""
    query = (
        select(contacts.c.phone, func.min(contacts.c.chunk), func.count())
        .where(contacts.c.phone.in_(phones), _is_of(replay_no))
        .group_by(contacts.c.phone)
    )
    return {phone: (chunk, count) for phone, chunk, count in connection.execute(query)}


def move_contacts(connection: Connection, replay_no: int, moves: Iterable[Move]) -> None:
    """Move rows of a snapshot that is not sealed into other chunks; nothing of it was sent."""
    for move in moves:
        for column, values in ((contacts.c.response_id, move.response_ids), (contacts.c.phone, move.phones)):
            for start in range(0, len(values), _PAGE):
                chosen = (column.in_(values[start : start + _PAGE]), _is_of(replay_no))
                moved = update(contacts).where(*chosen, contacts.c.digest.is_not(None))
                connection.execute(moved.values(chunk=move.chunk))


def _is_of(replay_no: int) -> ColumnElement[bool]:
    # The sum keeps the databases from the index of chunks, where every batch would be a search of all rows so far.
    return (contacts.c.replay_no + 0) == replay_no


def add_contacts(connection: Connection, replay_no: int, rows: Sequence[NewContact]) -> None:
    """Add rows of the source, in its order."""
    _ADD.run(connection, [(*row, replay_no, 1, 0, False) for row in rows])


_ADD = insert_statement(contacts, (*NewContact._fields, "replay_no", "round", "handled_errors", "unanswered"))


def refresh_statistics(ledger: Ledger) -> None:
    """Let the database look at the rows so far, in a transaction of its own, so that nobody waits for it."""
    if ledger.dialect.needs_statistics:
        with ledger.write() as connection:
            ledger.dialect.refresh_statistics(connection, contacts)


def clear_snapshot(ledger: Ledger, replay_no: int) -> None:
    """Remove the rows of a snapshot that was not finished; nothing of it was sent."""
    with ledger.write() as connection:
        connection.execute(delete(contacts).where(contacts.c.replay_no == replay_no))


def seal(ledger: Ledger, replay_no: int) -> None:
    """Note that every row of the source is in the ledger; from now on contacts may be sent."""
    sizes = (
        select(contacts.c.replay_no, contacts.c.chunk, func.count(), literal(0))
        .where(contacts.c.replay_no == replay_no)
        .group_by(contacts.c.replay_no, contacts.c.chunk)
    )
    with ledger.write() as connection:
        connection.execute(delete(chunks).where(chunks.c.replay_no == replay_no))
        connection.execute(insert(chunks).from_select(["replay_no", "chunk", "size", "fence"], sizes))
        connection.execute(update(replays).where(replays.c.no == replay_no).values(sealed=True))

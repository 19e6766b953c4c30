"""The snapshot of a replay's responses: taken once, so that resuming uses the same contacts in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import astuple
from sqlalchemy import Connection, delete, func, insert, literal, select, update

from airflow_whatsapp_flows.ledger.counts import store_first_counts
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.persons import Move
from airflow_whatsapp_flows.ledger.schema import chunks, contacts, has_replay, replays
from airflow_whatsapp_flows.ledger.statements import insert_statement
from airflow_whatsapp_flows.ledger.watermarks import WatermarkMove, move_watermark

_PAGE = 500


class NewContact(Struct, frozen=True):
    """One row of a source.

    Attributes:
        chunk: number of its chunk.
        place: location of the row in the source.
        response_id: id of the response, if the row has one.
        phone: the contact's phone, if any.
        digest: digest of the response's content.
        response: JSON; ``None`` for a rejected row.
        state: ``pending``, or already ``rejected`` or ``skipped``.
        reason: why it is not pending.
        epoch: epoch of its content, see :mod:`~airflow_whatsapp_flows.ledger.epochs`.
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
    """Return the chunk of each phone number in a replay, and its number of rows."""
    query = (
        select(contacts.c.phone, func.min(contacts.c.chunk), func.count())
        .where(dialect_of(connection).is_one_of(contacts.c.phone, phones), has_replay(replay_no))
        .group_by(contacts.c.phone)
    )
    return {phone: (chunk, count) for phone, chunk, count in connection.execute(query)}


def move_contacts(connection: Connection, replay_no: int, moves: Iterable[Move]) -> None:
    """Move rows of an unsealed snapshot to other chunks; nothing of it was sent."""
    for move in moves:
        for column, values in ((contacts.c.response_id, move.response_ids), (contacts.c.phone, move.phones)):
            for start in range(0, len(values), _PAGE):
                chosen = (column.in_(values[start : start + _PAGE]), has_replay(replay_no))
                moved = update(contacts).where(*chosen, contacts.c.digest.is_not(None))
                connection.execute(moved.values(chunk=move.chunk))


def add_contacts(connection: Connection, replay_no: int, rows: Sequence[NewContact]) -> None:
    """Add rows in the order of the source."""
    _ADD.run(connection, [(*astuple(row), replay_no, 1, 0, False) for row in rows])


_ADD = insert_statement(contacts, (*NewContact.__struct_fields__, "replay_no", "round", "handled_errors", "unanswered"))


def refresh_statistics(ledger: Ledger) -> None:
    """Update the database's statistics, in a separate transaction so that nothing waits for it."""
    if ledger.dialect.needs_statistics:
        with ledger.write() as connection:
            ledger.dialect.refresh_statistics(connection, contacts)


def clear_snapshot(ledger: Ledger, replay_no: int) -> None:
    """Delete the rows of an unfinished snapshot; nothing of it was sent."""
    with ledger.write() as connection:
        connection.execute(delete(contacts).where(contacts.c.replay_no == replay_no))


def seal(ledger: Ledger, replay_no: int, move: WatermarkMove | None = None) -> None:
    """Record that every row of the source is in the ledger; from now on requests may be sent.

    Args:
        ledger: the ledger.
        replay_no: number of the replay.
        move: how far its source was read, if with a cursor: the watermark moves in the same transaction.
    """
    sizes = (
        select(contacts.c.replay_no, contacts.c.chunk, func.count(), literal(0), literal(0))
        .where(contacts.c.replay_no == replay_no)
        .group_by(contacts.c.replay_no, contacts.c.chunk)
    )
    with ledger.write() as connection:
        connection.execute(delete(chunks).where(chunks.c.replay_no == replay_no))
        connection.execute(insert(chunks).from_select(["replay_no", "chunk", "size", "fence", "requests"], sizes))
        connection.execute(update(replays).where(replays.c.no == replay_no).values(sealed=True))
        store_first_counts(connection, replay_no)
        if move is not None:
            move_watermark(connection, replay_no, move)

"""Counts of a replay's contacts by chunk, so that looking at a million contacts does not read them.

A chunk's counts are stored when its owner releases it, and when the replay is sealed. A claim deletes them: while a
chunk is owned, or after its owner was killed, its contacts are counted where they are. Everything else that changes
contacts, even those that a run puts back at its end, counts their chunks again in its own transaction. So a stored
count never differs from the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.pages import slices
from airflow_whatsapp_flows.ledger.resolutions import RESOLVED
from airflow_whatsapp_flows.ledger.rows import NOTHING_SENT, ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts, counts, replays

_COLUMNS = tuple(column for column in counts.c if column.name != "id")
_PAGE = 500
_IS_STORED = chunks.c.requests.is_not(None)


def select_counts(
    connection: Connection,
    replay_no: int | Collection[int] | None = None,
    of_chunks: Collection[int] | None = None,
) -> Subquery:
    """Return contacts counted by chunk, state, fingerprint, and kind of reason: rows as those of the table of counts.

    Args:
        connection: the connection that will read it.
        replay_no: number of the replay, or numbers of replays; by default all replays.
        of_chunks: numbers of its chunks; by default all of them.
    """
    own = _own(chunks.c, replay_no, of_chunks)
    live = _count(connection)
    unsealed = select(replays.c.no).where(~replays.c.sealed, _is_of(replays.c.no, replay_no))
    is_unsealed: ColumnElement[bool] = contacts.c.replay_no.in_(unsealed)
    if of_chunks is not None:
        is_unsealed &= contacts.c.chunk.in_(list(of_chunks))
    return union_all(
        select(*_COLUMNS).where(_own(counts.c, replay_no, of_chunks)),
        live.where(_is_live(own)),
        live.where(is_unsealed),
    ).subquery()


def total(column: ColumnElement[Any], chosen: ColumnElement[bool] | None = None) -> ColumnElement[int]:
    """Return the sum of a column of :func:`select_counts`, or of the chosen rows; 0 if there are none."""
    return func.coalesce(func.sum(column if chosen is None else case((chosen, column), else_=0)), 0)


def count_requests(replay_no: int, of_chunks: Collection[int] | None) -> Select[Any]:
    """Count the attempts of a replay that may have reached a server; the counts of all chunks add up to the total.

    An attempt that a person resolved as ``not_sent`` counts: from this side, it was sent.
    """
    own = _own(chunks.c, replay_no, of_chunks)
    stored = select(total(chunks.c.requests)).where(own)
    live = _requests().where(_is_live(own))
    return select(stored.scalar_subquery() + live.scalar_subquery())


def pending_chunks(replay_no: int | ColumnElement[int]) -> Select[Any]:
    """Select the numbers of the chunks that have pending contacts."""
    in_counts = select(counts.c.id).where(
        counts.c.replay_no == chunks.c.replay_no, counts.c.chunk == chunks.c.chunk,
        counts.c.state == ContactState.PENDING.value,
    )  # fmt: skip
    in_contacts = select(contacts.c.id).where(
        contacts.c.replay_no == chunks.c.replay_no, contacts.c.chunk == chunks.c.chunk,
        contacts.c.state == ContactState.PENDING.value,
    )  # fmt: skip
    is_pending = case((_IS_STORED, in_counts.correlate(chunks).exists()), else_=in_contacts.correlate(chunks).exists())
    return select(chunks.c.chunk).where(chunks.c.replay_no == replay_no, is_pending)


def store_first_counts(connection: Connection, replay_no: int) -> None:
    """Store the counts of a snapshot, of which nothing was sent; its chunks are stored with 0 requests."""
    _store_contacts(connection, replay_no, None)


def delete_counts(connection: Connection, replay_no: int, chunk: int) -> None:
    """Delete the counts of a chunk whose contacts will change; the transaction has set its requests to null."""
    connection.execute(delete(counts).where(_own(counts.c, replay_no, [chunk])))


def store_counts_of_owner(connection: Connection, replay_no: int, chunk: int, fence: int) -> None:
    """Store the counts of a chunk at the end of its owner's work, within a transaction; not if another took over."""
    query = select(chunks.c.fence).where(_own(chunks.c, replay_no, [chunk])).with_for_update()
    if connection.execute(query).scalar_one_or_none() == fence:
        _store(connection, replay_no, [chunk])


def refresh_counts(connection: Connection, replay_no: int, of_chunks: Collection[int] | None = None) -> None:
    """Store the counts of chunks again after the transaction has changed their contacts.

    Counts of chunks that are owned stay deleted.
    """
    for some in [None] if of_chunks is None else slices(sorted(of_chunks), _PAGE):
        # An owner that releases its chunk meanwhile waits here, and then counts what this transaction has changed.
        query = select(chunks.c.chunk, _IS_STORED).where(_own(chunks.c, replay_no, some))
        rows = connection.execute(query.order_by(chunks.c.chunk).with_for_update()).all()
        _store(connection, replay_no, [chunk for chunk, is_stored in rows if is_stored])


def refresh_counts_of(connection: Connection, places: Iterable[tuple[int, int]]) -> None:
    """Do the same for chunks of any replays, given as numbers of replay and chunk."""
    of_replays: dict[int, set[int]] = {}
    for replay_no, chunk in places:
        of_replays.setdefault(replay_no, set()).add(chunk)
    for replay_no in sorted(of_replays):
        refresh_counts(connection, replay_no, of_replays[replay_no])


def _store(connection: Connection, replay_no: int, of_chunks: Collection[int]) -> None:
    """Store the counts of chunks, which the transaction has locked."""
    for some in slices(sorted(of_chunks), _PAGE):
        _store_contacts(connection, replay_no, some)
        of_chunk = and_(contacts.c.replay_no == chunks.c.replay_no, contacts.c.chunk == chunks.c.chunk)
        requests = _requests().where(of_chunk).correlate(chunks).scalar_subquery()
        connection.execute(update(chunks).where(_own(chunks.c, replay_no, some)).values(requests=requests))


def _store_contacts(connection: Connection, replay_no: int, of_chunks: Collection[int] | None) -> None:
    connection.execute(delete(counts).where(_own(counts.c, replay_no, of_chunks)))
    rows = _count(connection).where(_own(contacts.c, replay_no, of_chunks))
    connection.execute(insert(counts).from_select([column.name for column in _COLUMNS], rows))


def _own(
    columns: Any, replay_no: int | Collection[int] | None, of_chunks: Collection[int] | None
) -> ColumnElement[bool]:
    chosen = _is_of(columns.replay_no, replay_no)
    return chosen if of_chunks is None else and_(chosen, columns.chunk.in_(list(of_chunks)))


def _is_of(column: Any, replay_no: int | Collection[int] | None) -> ColumnElement[bool]:
    if replay_no is None:
        return true()
    is_of: ColumnElement[bool] = column == replay_no if isinstance(replay_no, int) else column.in_(list(replay_no))
    return is_of


def _is_live(own: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a contact is in one of the chosen chunks, and its chunk's counts are not stored."""
    # A list, because SQLite would read all contacts of the replay for a join.
    return tuple_(contacts.c.replay_no, contacts.c.chunk).in_(
        select(chunks.c.replay_no, chunks.c.chunk).where(own, ~_IS_STORED)
    )


def _count(connection: Connection) -> Select[Any]:
    """Count contacts; columns as in the table of counts."""
    prefix = dialect_of(connection).text_before(contacts.c.reason, ":")
    code = case((contacts.c.state.in_(NOTHING_SENT), prefix), else_=null())
    group = (contacts.c.replay_no, contacts.c.chunk, contacts.c.state, contacts.c.fingerprint, code)
    return select(
        *group,
        cast(func.count(), Integer),
        cast(func.sum(contacts.c.handled_errors), Integer),
        cast(func.sum(case((contacts.c.handled_errors > 0, 1), else_=0)), Integer),
        cast(func.sum(cast(contacts.c.unanswered, Integer)), Integer),
        func.min(contacts.c.ended_at),
        func.max(contacts.c.ended_at),
        func.min(contacts.c.id),
    ).group_by(*group)


def _may_be_sent(columns: Any) -> ColumnElement[bool]:
    """Return the condition that a row was not rejected when its source was read; a walk may reject it later."""
    return or_(columns.state != ContactState.REJECTED.value, columns.ended_at.is_not(None))


def _requests() -> Select[Any]:
    reached = or_(
        func.coalesce(attempts.c.fate, "") != Fate.NOT_SENT.value,
        func.coalesce(attempts.c.origin, "").contains(RESOLVED),
    )
    earlier = contacts.alias("earlier")
    same_response = (
        select(literal(1))
        .where(earlier.c.response_id == contacts.c.response_id, earlier.c.digest.is_not(None))
        .where(earlier.c.replay_no == contacts.c.replay_no, earlier.c.id < contacts.c.id)
        .where(_may_be_sent(earlier.c))
        .correlate(contacts)
        .exists()
    )
    # Another row of the source may have the id of one that was sent: a rejected row, or a duplicate, which has no
    # digest before it is retried.
    return (
        select(func.count(attempts.c.id))
        .select_from(
            contacts.join(
                attempts,
                and_(attempts.c.response_id == contacts.c.response_id, attempts.c.replay_no == contacts.c.replay_no),
            )
        )
        .where(
            reached,
            contacts.c.digest.is_not(None),
            _may_be_sent(contacts.c),
            or_(and_(contacts.c.round == 1, contacts.c.state != ContactState.SKIPPED.value), ~same_response),
        )
    )

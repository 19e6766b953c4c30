"""Holds: only the first contacts of a replay are sent, and the others are held, until somebody releases them.

A hold is a row number, stored with its replay: the contacts behind it are held, whoever runs the replay. Rows have the
order of the source, so the responses of one person stay in order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, func, select, update

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, find_pending_chunks
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import contacts, has_replay, replays

_HOLDS = "holds"  # key of the options
Kind = Literal["canary", "limit"]
KINDS: tuple[Kind, ...] = ("canary", "limit")


@dataclass(frozen=True, slots=True)
class Hold:
    """The contacts that are sent first.

    Attributes:
        size: their number.
        first: first row of the replay.
        last: row of the last of them.
        at: when they were chosen, epoch seconds.
        key: of the request that chose them; another one chooses others.
        is_released: whether the other contacts are sent too.
    """

    size: int
    first: int
    last: int
    at: float
    key: str = ""
    is_released: bool = False


def hold_of(replay: Replay, kind: Kind) -> Hold | None:
    """Return the hold of a replay, released or not."""
    return _read(replay.options).get(kind)


def last_sendable(replay: Replay) -> int | None:
    """Return the row number behind which contacts are held; ``None`` if none are."""
    return min((hold.last for hold in _read(replay.options).values() if not hold.is_released), default=None)


def hold_after(ledger: Ledger, replay_no: int, kind: Kind, size: int, key: str = "") -> Hold | None:
    """Hold all contacts but the first that are pending.

    The first call with a key chooses the contacts. Another one with a larger size adds contacts to them.

    Args:
        replay_no: number of a sealed replay.
        kind: of the hold; each kind is released separately.
        size: number of contacts that are not held.
        key: of the request.

    Returns:
        The hold; ``None`` if there are no other pending contacts, so none is held.

    Raises:
        LedgerError: the ledger cannot be written, or more contacts have been chosen under this key.
    """
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        options = json.loads(connection.execute(select(replays.c.options).where(own).with_for_update()).scalar_one())
        holds = _read(options)
        found = holds.get(kind)
        if found is not None and found.key != key:
            found = None
        if found is not None and size < found.size:
            raise LedgerError(
                f"the {kind} of this replay already has {found.size:,} contacts: it can be continued with that number, "
                "or a higher one"
            )
        chosen = _extend(connection, replay_no, size, key, found)
        kept = {name: hold for name, hold in holds.items() if name != kind}
        _store(connection, replay_no, options, kept if chosen is None else {**kept, kind: chosen})
    return chosen


def release_held(ledger: Ledger, replay_no: int, kind: Kind) -> bool:
    """Release the contacts that are held; return whether any were."""
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        options = json.loads(connection.execute(select(replays.c.options).where(own).with_for_update()).scalar_one())
        holds = _read(options)
        found = holds.get(kind)
        if found is None or found.is_released:
            return False
        _store(connection, replay_no, options, {**holds, kind: replace(found, is_released=True)})
    return True


def count_sendable(ledger: Ledger, replay: Replay, pending: int, only: Sequence[int] | None = None) -> int:
    """Count the pending contacts of a replay that are not held.

    Args:
        replay: as it is in the ledger now.
        pending: number of all of its pending contacts, or of those in some chunks.
        only: numbers of these chunks.
    """
    last = last_sendable(replay)
    if last is None:
        return pending
    with ledger.read() as connection:
        first = min(hold.first for hold in _read(replay.options).values())
        query = select(func.count()).where(*is_sendable(replay.no, first, last))
        if only is not None:
            query = query.where(contacts.c.chunk.in_(list(only)))
        return connection.execute(query).scalar_one()


def without_hold(replay: Replay, kind: Kind) -> Replay:
    """Return a replay as if it had no hold of a kind; the ledger stays as it is."""
    holds = {name: value for name, value in (replay.options.get(_HOLDS) or {}).items() if name != kind}
    return replace(replay, options={**replay.options, _HOLDS: holds})


def find_sendable_chunks(ledger: Ledger, replay: Replay) -> list[int]:
    """Return the numbers of the chunks that have pending contacts that are not held."""
    last = last_sendable(replay)
    if last is None:
        return find_pending_chunks(ledger, replay.no)
    first = min(hold.first for hold in _read(replay.options).values())
    query = select(contacts.c.chunk).distinct().where(*is_sendable(replay.no, first, last))
    with ledger.read() as connection:
        return list(connection.execute(query.order_by(contacts.c.chunk)).scalars())


def is_sendable(replay_no: int, first: int, last: int) -> list[ColumnElement[bool]]:
    """Return the conditions that a contact of a replay is pending, and within a range of rows."""
    return [
        has_replay(replay_no), contacts.c.id >= first, contacts.c.id <= last,
        contacts.c.state == ContactState.PENDING.value,
    ]  # fmt: skip


def _extend(connection: Connection, replay_no: int, size: int, key: str, found: Hold | None) -> Hold | None:
    if found is not None and size == found.size:
        return replace(found, is_released=False)
    if found is None:
        first = connection.execute(select(func.min(contacts.c.id)).where(contacts.c.replay_no == replay_no)).scalar()
        start, missing = first or 0, size
    else:
        first, start, missing = found.first, found.last + 1, size - found.size
    query = (
        select(contacts.c.id)
        .where(has_replay(replay_no), contacts.c.id >= start, contacts.c.state == ContactState.PENDING.value)
        .order_by(contacts.c.id)
        .offset(missing - 1)
        .limit(2)
    )
    rows = connection.execute(query).scalars().all()
    if len(rows) < 2:  # nothing is left behind the last one
        return None
    return Hold(size, first or 0, rows[0], time.time() if found is None else found.at, key)


def _store(connection: Connection, replay_no: int, options: Mapping[str, Any], holds: Mapping[str, Hold]) -> None:
    kept = {**options, _HOLDS: {kind: asdict(hold) for kind, hold in holds.items()}}
    connection.execute(update(replays).where(replays.c.no == replay_no).values(options=json.dumps(kept)))


def _read(options: Mapping[str, Any]) -> dict[str, Hold]:
    return {kind: Hold(**value) for kind, value in (options.get(_HOLDS) or {}).items()}

"""Where the replays of a flow stopped reading a source: the watermark of each source and cursor column.

A watermark moves in the transaction that seals a snapshot, and only forward. A person may set it to anything; a replay
that started before then leaves it alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from airflow_whatsapp_flows.flow.watermark import Watermark
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.locks import lock_number
from airflow_whatsapp_flows.ledger.schema import cursors, replays

CURSOR = "cursor"
"""Key of a replay's options: the cursor that it read its source with."""


@dataclass(frozen=True, slots=True)
class CursorKey:
    """What a watermark belongs to.

    Attributes:
        flow_id: id of the flow.
        source: the source as the flow names it, without passwords.
        column: the cursor column, or ``file_modified``.
    """

    flow_id: str
    source: str
    column: str

    @property
    def digest(self) -> str:
        """Key in the ledger."""
        return hashlib.sha256(json.dumps([self.source, self.column]).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class StoredWatermark:
    """A watermark in the ledger.

    Attributes:
        key: what it belongs to.
        watermark: ``None`` if the next replay reads everything.
        query: of the last replay that moved it; ``None`` if a person has set or cleared it since.
        edition: number of times that a person set or cleared it.
        replay_id: the replay that moved it; ``None`` if a person did.
        moved_at: epoch seconds.
        moved_by: the last person who set or cleared it.
    """

    key: CursorKey
    watermark: Watermark | None
    query: str | None
    edition: int
    replay_id: str | None
    moved_at: float
    moved_by: str | None

    @property
    def is_given(self) -> bool:
        """Whether a person set it, so that its kind may differ from that of the column."""
        return self.replay_id is None


@dataclass(frozen=True, slots=True)
class WatermarkMove:
    """How far a replay has read.

    Attributes:
        key: what the watermark belongs to.
        edition: of the watermark that the replay started from; 0 if there was none.
        query: of the replay.
        watermark: highest value that it read; ``None`` to leave the watermark where it is.
        columns: of the query.
    """

    key: CursorKey
    edition: int
    query: str | None
    watermark: Watermark | None
    columns: tuple[str, ...] = ()


def find_watermark(connection: Connection, key: CursorKey) -> StoredWatermark | None:
    """Return a watermark; ``None`` if no replay has read the source with this cursor."""
    query = select(cursors).where(cursors.c.flow_id == key.flow_id, cursors.c.key == key.digest)
    row = connection.execute(query).one_or_none()
    return None if row is None else _read_row(row)


def list_watermarks(ledger: Ledger, flow_id: str) -> list[StoredWatermark]:
    """Return the watermarks of a flow, the last moved first."""
    query = select(cursors).where(cursors.c.flow_id == flow_id).order_by(cursors.c.moved_at.desc(), cursors.c.key)
    with ledger.read() as connection:
        return [_read_row(row) for row in connection.execute(query)]


def move_watermark(connection: Connection, replay_no: int, move: WatermarkMove) -> None:
    """Move a watermark forward to where a replay has read, and note that with the replay.

    It stays if it is already there or further, or if a person has set or cleared it since the replay started.

    Args:
        connection: in the transaction that seals the replay.
        replay_no: number of the replay.
        move: how far it has read.
    """
    _lock(connection, move.key)
    found = find_watermark(connection, move.key)
    edition = 0 if found is None else found.edition
    options, replay_id = connection.execute(
        select(replays.c.options, replays.c.id).where(replays.c.no == replay_no)
    ).one()
    if move.watermark is not None and edition == move.edition:
        before = None if found is None else found.watermark
        if before is None or move.watermark.is_after(before):
            _store(connection, move.key, move.watermark, edition=edition, query=move.query, replay_id=replay_id)
        elif found is not None and found.query != move.query:
            own = (cursors.c.flow_id == move.key.flow_id, cursors.c.key == move.key.digest)
            connection.execute(update(cursors).where(*own).values(query=move.query))
    after = find_watermark(connection, move.key)
    kept = json.loads(options)
    end = as_json(None if after is None else after.watermark)
    columns = {"columns": move.columns} if move.columns else {}
    kept[CURSOR] = {**kept.get(CURSOR, {}), "watermark": end, **columns}
    connection.execute(update(replays).where(replays.c.no == replay_no).values(options=json.dumps(kept)))


def set_watermark(ledger: Ledger, key: CursorKey, watermark: Watermark | None, by: str) -> None:
    """Set a watermark, or clear it.

    Args:
        ledger: the ledger.
        key: what it belongs to.
        watermark: ``None`` to have the next replay read everything.
        by: who does it.
    """
    with ledger.write() as connection:
        _lock(connection, key)
        found = find_watermark(connection, key)
        edition = 1 if found is None else found.edition + 1
        _store(connection, key, watermark, edition=edition, query=None, replay_id=None, moved_by=by)


def as_json(watermark: Watermark | None) -> list[str] | None:
    """Return a watermark as plain data."""
    return None if watermark is None else [watermark.kind, watermark.text]


def from_json(value: object) -> Watermark | None:
    """Return the watermark of plain data."""
    return Watermark(*map(str, value)) if isinstance(value, list) else None


def _lock(connection: Connection, key: CursorKey) -> None:
    dialect_of(connection).lock_until_commit(connection, lock_number("cursor", key.flow_id))


def _store(connection: Connection, key: CursorKey, watermark: Watermark | None, **values: Any) -> None:
    own = (cursors.c.flow_id == key.flow_id, cursors.c.key == key.digest)
    values |= {
        "kind": watermark and watermark.kind,
        "value": watermark and watermark.text,
        "moved_at": time.time(),
    }
    if connection.execute(update(cursors).where(*own).values(values)).rowcount == 0:
        names = {"flow_id": key.flow_id, "key": key.digest, "source": key.source, "column": key.column}
        connection.execute(insert(cursors).values({**names, **values}))


def _read_row(row: Row[Any]) -> StoredWatermark:
    return StoredWatermark(
        key=CursorKey(row.flow_id, row.source, row.column),
        watermark=None if row.value is None else Watermark(row.kind, row.value),
        query=row.query,
        edition=row.edition,
        replay_id=row.replay_id,
        moved_at=row.moved_at,
        moved_by=row.moved_by,
    )

"""From where a replay reads its source: the watermark of the ledger, or the one that was kept with the replay."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.watermark import Watermark
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.ledger.watermarks import (
    CURSOR,
    CursorKey,
    StoredWatermark,
    WatermarkMove,
    as_json,
    find_watermark,
    from_json,
)
from airflow_whatsapp_flows.replay.sources import SourceSpec, display_location
from airflow_whatsapp_flows.replay.sources.cursor import Cursor, CursorReading

_LIMITED = "the limit left rows out, and the source is in no known order"


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorRequest:
    """A source to read with a cursor.

    Attributes:
        key: what its watermark belongs to.
        zone: time zone of times without one.
        overlap: what to read again before the watermark; ``None`` for the default.
        query: to run, if the source is a database.
        is_own: whether source and query are the flow's own. Then another query than before only causes a warning;
            otherwise two queries could share one watermark, and each hide rows of the other.
    """

    key: CursorKey
    zone: dt.tzinfo
    overlap: float | None = None
    query: str | None = None
    is_own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayCursor:
    """From where a replay reads its source.

    Attributes:
        key: what its watermark belongs to.
        cursor: from where to read.
        edition: of the watermark; a person who sets or clears it changes the edition.
        query: of the replay.
        warnings: what a person should know, one sentence each.
    """

    key: CursorKey
    cursor: Cursor
    edition: int = 0
    query: str | None = None
    warnings: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """Return it as plain data, to be kept with the replay."""
        return {
            "source": self.key.source,
            "column": self.key.column,
            "edition": self.edition,
            "start": as_json(self.cursor.watermark),
            "overlap": self.cursor.overlap,
            "is_given": self.cursor.is_given,
        }

    def is_of(self, replay: Replay) -> bool:
        """Whether a replay read the same source with the same cursor."""
        return _is_of(replay.options.get(CURSOR), self.key)

    def move(self, reading: CursorReading | None, *, is_cut: bool) -> WatermarkMove:
        """Return how far a source was read.

        Args:
            reading: of the source.
            is_cut: whether rows were left out by a limit.
        """
        if reading is not None and is_cut:
            reading.blocked = _LIMITED
        if reading is None:
            return WatermarkMove(self.key, self.edition, self.query, None)
        return WatermarkMove(self.key, self.edition, self.query, reading.watermark, reading.columns)


def key_of(flow: Flow) -> CursorKey | None:
    """Return what the watermark of a flow's own source belongs to; ``None`` if it has no cursor."""
    block = flow.replay
    if block is None or block.cursor is None or block.source is None:
        return None
    source = display_location(SourceSpec(location=block.source, query=block.query))
    return CursorKey(flow.id, source, block.cursor)


def find_cursor(ledger: Ledger | None, request: CursorRequest, replay_id: str | None) -> ReplayCursor:
    """Find from where a replay reads.

    A replay whose snapshot was not finished reads from the same start again, unless a person has set or cleared the
    watermark since. A start that is too early does no harm: the ledger knows the rows. So nothing is locked here.

    Args:
        ledger: the ledger; ``None`` if there is none yet.
        request: what to read.
        replay_id: name of the replay to start or resume, if it is known.

    Raises:
        ReplayError: another query has moved the watermark.
        LedgerError: the ledger cannot be read.
    """
    stored, replay = None, None
    if ledger is not None:
        with ledger.read() as connection:
            stored = find_watermark(connection, request.key)
        replay = None if replay_id is None else find_replay(ledger, replay_id)
    edition = 0 if stored is None else stored.edition
    columns = _columns_then(ledger, request, stored)
    kept = None if replay is None else replay.options.get(CURSOR)
    if replay is not None and _is_of(kept, request.key) and (replay.sealed or kept["edition"] == edition):
        cursor = Cursor(
            column=request.key.column, zone=request.zone, watermark=from_json(kept["start"]),
            overlap=kept["overlap"], is_given=kept["is_given"], columns=columns,
        )  # fmt: skip
        return ReplayCursor(key=request.key, cursor=cursor, edition=kept["edition"], query=request.query)
    cursor = Cursor(
        column=request.key.column,
        zone=request.zone,
        watermark=None if stored is None else stored.watermark,
        overlap=request.overlap,
        is_given=stored is not None and stored.is_given,
        columns=columns,
    )
    return ReplayCursor(
        key=request.key, cursor=cursor, edition=edition, query=request.query, warnings=_query_warnings(request, stored)
    )


def _columns_then(ledger: Ledger | None, request: CursorRequest, stored: StoredWatermark | None) -> tuple[str, ...]:
    """Return the columns of the same query when it moved the watermark; none if that is not known."""
    if ledger is None or stored is None or stored.replay_id is None:
        return ()
    replay = find_replay(ledger, stored.replay_id)
    options = {} if replay is None else replay.options
    if (options.get("reading") or {}).get("query") != request.query:
        return ()
    return tuple((options.get(CURSOR) or {}).get("columns", ()))


def _is_of(kept: object, key: CursorKey) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(kept, Mapping) and (kept["source"], kept["column"]) == (key.source, key.column)


def _query_warnings(request: CursorRequest, stored: StoredWatermark | None) -> tuple[str, ...]:
    if stored is None or stored.watermark is None or stored.query in (None, request.query):
        return ()
    until = f"{request.key.column} {stored.watermark.text}"
    if not request.is_own:
        raise ReplayError(
            f"another query has read {request.key.source} with this flow until {until}: rows of this query before that "
            "would be left out. Set or clear the watermark with `whatsapp-flows replay cursor`"
        )
    return (
        f"the query has changed since the watermark was at {until}: rows before it that only the new query returns are "
        "not read. To read them, clear the watermark with `whatsapp-flows replay cursor`",
    )


def cursor_json(replay: Replay) -> dict[str, Any] | None:
    """Return the cursor of a replay for people and programs; ``None`` without one."""
    kept = replay.options.get(CURSOR)
    if not isinstance(kept, Mapping):
        return None
    start, end = from_json(kept["start"]), from_json(kept.get("watermark"))
    return {
        "column": kept["column"],
        "source": kept["source"],
        "start": start and start.text,
        "overlap": overlap_of(start, kept["overlap"]),
        "watermark": end and end.text,
    }


def overlap_of(start: Watermark | None, overlap: float | None) -> float:
    """Return what is read again before a start."""
    if start is None:
        return 0.0
    return Cursor(column="", zone=dt.timezone.utc, overlap=overlap).overlap_for(start.family)


def cursor_text(found: Mapping[str, Any]) -> str:
    """Return a sentence about a replay's cursor.

    Args:
        found: from :func:`cursor_json`.
    """
    if found["start"] is None:
        read = "read from the first row"
    else:
        again = f", and {found['overlap']:g} before it again" if found["overlap"] else ""
        read = f"read from {found['start']}{again}"
    at = "not set" if found["watermark"] is None else f"at {found['watermark']}"
    return f"cursor {found['column']}: {read}; the watermark is {at}"

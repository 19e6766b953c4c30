"""Reads a source from where an earlier replay stopped: by the values of its cursor column."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.watermark import (
    DEFAULT_OVERLAP,
    FILE_MODIFIED,
    CursorError,
    Mark,
    Watermark,
    mark_of,
    text_shape,
)
from airflow_whatsapp_flows.quantities import plural

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """From where to read a source.

    Attributes:
        column: name of the column, or ``file_modified``.
        zone: of times without one, to know which are in the future.
        watermark: highest value that earlier replays have read; ``None`` to read everything.
        overlap: what to read again before it: seconds, or for a number how much lower; ``None`` for the default.
        is_given: whether a person set the watermark, so that its kind may differ from that of the column.
        columns: those that the same query had when the watermark was moved; empty if that is not known.
    """

    column: str
    zone: dt.tzinfo
    watermark: Watermark | None = None
    overlap: float | None = None
    is_given: bool = False
    columns: tuple[str, ...] = ()

    @property
    def start(self) -> Watermark | None:
        """The lowest value to read.

        Raises:
            SourceError: there is none, because the watermark is a text.
        """
        if self.watermark is None:
            return None
        try:
            overlap = self.overlap_for(self.watermark.family)
            return self.watermark.minus(overlap + self.watermark.repeated_seconds(self.zone))
        except CursorError as error:
            raise SourceError(f"the watermark of the cursor {self.column!r} {error}") from None

    def overlap_for(self, family: str) -> float:
        """Return what is read again before a watermark of a kind."""
        if self.overlap is not None:
            return self.overlap
        return DEFAULT_OVERLAP if family in ("time", "local_time") else 0.0


class CursorReading:
    """Decides which rows are read, and notes how far.

    A row without a value is always read. So is one in the future: as a watermark, it would hide all rows until then.

    Attributes:
        cursor: from where it reads.
        left_out: number of rows before the start.
        without: number of rows without a value.
        in_future: number of rows whose value is a time in the future.
        blocked: why the watermark must stay where it is; ``None`` if it may move.
        columns: of the query, of which responses are made.

    Args:
        cursor: from where to read.
        is_untyped: whether the source has only texts.
        is_filtered: whether rows before the start are left out; otherwise a query does that.
        now: the time when reading starts.
    """

    def __init__(
        self, cursor: Cursor, *, is_untyped: bool = False, is_filtered: bool = True, now: dt.datetime | None = None
    ) -> None:
        self.cursor = cursor
        self.left_out = self.without = self.in_future = 0
        self.blocked: str | None = None
        self.columns: tuple[str, ...] = ()
        self.is_untyped, self.is_filtered = is_untyped, is_filtered
        self._now = now or dt.datetime.now(dt.timezone.utc)
        self._kind: str | None = None
        self._low: Any = None
        self._limit: Any = None
        self._high: Any = None
        self._high_cell: Any = None
        self._shape: str | None = None

    @property
    def watermark(self) -> Watermark | None:
        """The highest value that was read; ``None`` if there is none, or the watermark must stay."""
        if self.blocked is not None or self._high_cell is None:
            return None
        return Watermark.of(self._high_cell, is_untyped=self.is_untyped)

    def column_of(self, names: Sequence[str], place: str) -> int | None:
        """Return the position of the cursor's column; ``None`` if the cursor is no column.

        Args:
            names: names of the table's columns, in order.
            place: location for errors.

        Raises:
            SourceError: it is missing, or appears twice.
        """
        column = self.cursor.column
        if column == FILE_MODIFIED:
            return None
        if column not in names:
            hint = did_you_mean(column, set(names))
            raise SourceError(f"{place}: there is no column {column!r}, which is the cursor{hint}; no watermark moved")
        if list(names).count(column) > 1:
            raise SourceError(f"{place}: the column {column!r}, which is the cursor, appears twice")
        return list(names).index(column)

    def note_columns(self, names: Sequence[str]) -> None:
        """Note the columns of which responses are made.

        Raises:
            SourceError: the same query had another one before. Rows without it would fail, and not be read again.
        """
        gone = [repr(name) for name in self.cursor.columns if name not in names]
        if gone:
            raise SourceError(
                f"query: it had {', '.join(gone)} when it was last read, and has not now: bring the column back, or "
                "change the query; no watermark moved"
            )
        self.columns = tuple(names)

    def admits(self, cell: Any, place: str) -> bool:
        """Whether a row is read.

        Args:
            cell: its value in the cursor's column.
            place: location of the row, for errors.

        Raises:
            SourceError: the value has no order, or is of another kind than others.
        """
        try:
            mark = mark_of(cell, is_untyped=self.is_untyped)
        except CursorError as error:
            raise SourceError(f"{place}: the cursor {self.cursor.column!r} {error}") from None
        if mark is None:
            self.without += 1
            return True
        if mark.kind != self._kind:
            self._start(mark, cell, place)
        order = mark.order
        if mark.kind == "text":
            self._check_digits(order, place)
        if self.is_filtered:
            if self._low is not None and order < self._low:
                self.left_out += 1
                return False
        elif type(cell) is str:
            self._check_shape(cell, place)
        if self._limit is not None and order > self._limit:
            self.in_future += 1
            return True
        if self._high_cell is None or order > self._high:
            self._high, self._high_cell = order, cell
        return True

    def _start(self, mark: Mark, cell: Any, place: str) -> None:
        """Prepare for the kind of the first value."""
        column = self.cursor.column
        if self._kind is not None:
            what = (
                "some have a time zone and some have not, so their order is unknown"
                if {mark.kind, self._kind} == {"time", "local_time"}
                else f"others are of the kind {_words(self._kind)}, and this is of the kind {_words(mark.kind)}"
            )
            raise SourceError(
                f"{place}: the cursor {column!r} mixes values that cannot be compared: {what}: {str(cell)[:60]!r}; "
                "convert them in the source"
            )
        self._kind = mark.kind
        self._limit = _limit(mark.kind, self._now, self.cursor.zone)
        start = self.cursor.start
        if start is None:
            return
        found = start.cast(mark.kind, self.cursor.zone) if self.cursor.is_given else start
        if found is None or found.family != mark.kind:
            raise SourceError(
                f"{place}: the cursor {column!r} is of the kind {_words(mark.kind)}, and its watermark of the kind "
                f"{_words(start.family)}; set or clear it with `whatsapp-flows replay cursor`; no watermark moved"
            )
        self._low = found.mark.order

    def _check_digits(self, text: str, place: str) -> None:
        # "a-10" sorts before "a-9", so a replay that has read "a-9" would leave it out.
        for other in (self._low, self._high):
            if other is not None and len(other) != len(text) and _DIGITS.sub("0", other) == _DIGITS.sub("0", text):
                raise SourceError(
                    f"{place}: the cursor {self.cursor.column!r} has the texts {other[:60]!r} and {text[:60]!r}, which "
                    "do not sort by their numbers; use a number, or write as many digits in each"
                )

    def _check_shape(self, cell: str, place: str) -> None:
        # The database compares texts, so texts that are written in different ways would be left out, or not.
        shape = text_shape(cell)
        if self._shape is None:
            own = self.cursor.watermark
            self._shape = shape if own is None or self.cursor.is_given else text_shape(own.text)
        if shape != self._shape:
            raise SourceError(
                f"{place}: the cursor {self.cursor.column!r} is {cell[:60]!r}, written in another way than other "
                "times, so the database does not sort them; convert them in the query, or leave out :watermark"
            )

    def warnings(self) -> list[str]:
        """Return what a person should know, one sentence each."""
        column, found = self.cursor.column, []
        if self.without:
            again = "" if self.is_filtered else f", if its query has OR {column} IS NULL"
            found.append(
                f"{plural(self.without, 'row')} without {column!r}, the cursor: every replay reads them again{again}"
            )
        if self.in_future:
            found.append(
                f"{plural(self.in_future, 'row')} with {column!r} in the future: the watermark stays before them; "
                f"times without a zone are in {self.cursor.zone}"
            )
        if self.blocked is not None:
            found.append(f"the watermark of {column!r} did not move: {self.blocked}")
        return found


def _limit(kind: str, now: dt.datetime, zone: dt.tzinfo) -> Any:
    if kind == "time":
        return now
    if kind in ("local_time", "date"):
        local = now.astimezone(zone).replace(tzinfo=None)
        return local if kind == "local_time" else local.date()
    return None


def _words(kind: str) -> str:
    return {"time": "time with a time zone", "local_time": "time without a time zone"}.get(kind, kind)

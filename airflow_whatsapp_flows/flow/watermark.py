"""The highest value of a cursor column: where a replay stopped reading its source, and the next one starts."""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from airflow_whatsapp_flows.flow.moments import parse_iso

FILE_MODIFIED = "file_modified"
"""Name of the cursor that is no column: the time when a file was modified."""
DEFAULT_OVERLAP = 300.0
"""Seconds that are read again before a watermark that is a time: rows of long transactions appear late."""
MAX_OVERLAP = 31_536_000
"""The longest overlap: a year."""

_TIMES = ("time", "local_time", "date")
_TEXT = "text_"  # prefix of the kinds of times that a source gives as texts
_SHAPE = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:(?P<separator>[Tt ])\d\d:\d\d(?P<seconds>:\d\d(?:\.(?P<fraction>\d+))?)?"
    r"(?P<offset>[Zz]|[+-]\d\d(?::?\d\d)?)?)?"
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_PLAIN_DIGITS = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?")
_OTHER_DATE = re.compile(r"\d{1,4}[/.]\d{1,2}[/.]\d{1,4}(?!\d)|\d{1,2}-(?:\d{1,2}|[A-Za-z]{3,9})-\d{2,4}")
_SHOWN = 60  # characters


class CursorError(ValueError):
    """A value cannot be that of a cursor; the message is the end of a sentence about it."""


class Mark:
    """A value of a cursor column.

    Attributes:
        kind: ``number``, ``time`` (with a time zone), ``local_time`` (without one), ``date`` or ``text``.
        order: the value to compare; only with that of another mark of the same kind.
    """

    __slots__ = ("kind", "order")

    def __init__(self, kind: str, order: Any) -> None:
        self.kind = kind
        self.order = order


def mark_of(cell: Any, *, is_untyped: bool = False) -> Mark | None:
    """Return the mark of a cell; ``None`` for a cell without a value.

    Args:
        cell: as the source gives it.
        is_untyped: whether the source has only texts, so that digits are a number.

    Raises:
        CursorError: values of its type have no order.
    """
    kind = type(cell)
    if kind is str:
        return _mark_of_text(cell, is_untyped) if cell else None
    if kind is int:
        return Mark("number", cell)
    if cell is None:
        return None
    if isinstance(cell, dt.datetime):
        return Mark("local_time" if cell.tzinfo is None else "time", cell)
    if isinstance(cell, dt.date):
        return Mark("date", cell)
    if isinstance(cell, float):
        return Mark("number", Decimal(repr(float(cell)))) if math.isfinite(cell) else None
    if isinstance(cell, Decimal):
        return Mark("number", cell) if cell.is_finite() else None
    if isinstance(cell, int) and not isinstance(cell, bool):
        return Mark("number", int(cell))
    if isinstance(cell, (str, uuid.UUID)):
        return mark_of(str(cell), is_untyped=is_untyped)
    raise CursorError(f"is a {kind.__name__}, which has no order; use a time, a date, or a number")


def _mark_of_text(text: str, is_untyped: bool) -> Mark | None:
    shape = _SHAPE.fullmatch(text)
    if shape is not None:
        return _mark_of_time(text, shape)
    if is_untyped and not text.strip():
        return None
    if _NUMBER.fullmatch(text) and (is_untyped or _PLAIN_DIGITS.fullmatch(text)):
        if not is_untyped:
            raise CursorError(
                f"is {text[:_SHOWN]!r}, a text of digits, which does not sort as a number; cast it to a number in the "
                "query"
            )
        return Mark("number", Decimal(text))
    if _OTHER_DATE.match(text):
        raise CursorError(
            f"is {text[:_SHOWN]!r}, which does not sort as a date; write dates as 2026-11-22 or 2026-11-22T16:04:05Z"
        )
    return Mark("text", text)


def _mark_of_time(text: str, shape: re.Match[str]) -> Mark:
    offset = shape["offset"] or ""
    if len(offset) in (3, 5) and offset[0] in "+-":  # "+00", as PostgreSQL writes it, and "+0000"
        text = f"{text[: -len(offset)]}{offset[:3]}:{offset[3:] or '00'}"
    try:
        found = parse_iso(text)
    except ValueError:
        raise CursorError(f"is {text[:_SHOWN]!r}, and there is no such day or time") from None
    if shape["separator"] is None:
        return Mark("date", found.date())
    return Mark("local_time" if found.tzinfo is None else "time", found)


@dataclass(frozen=True)
class Watermark:
    """A mark as the ledger stores it, and as a query gets it.

    Attributes:
        kind: as of :class:`Mark`; with the prefix ``text_`` if the source gives its times as texts.
        text: the value; of a time given as a text, that text.
    """

    kind: str
    text: str

    @classmethod
    def of(cls, cell: Any, *, is_untyped: bool = False) -> Watermark:
        """Return the watermark of a cell that has a mark.

        Raises:
            CursorError: values of its type have no order.
        """
        mark = mark_of(cell, is_untyped=is_untyped)
        if mark is None:
            raise CursorError("has no value")
        if isinstance(cell, str):
            return cls(f"{_TEXT}{mark.kind}" if mark.kind in _TIMES else mark.kind, cell)
        return cls(mark.kind, _plain(mark.order))

    @cached_property
    def mark(self) -> Mark:
        """Its mark."""
        found = mark_of(self.text, is_untyped=self.family == "number")
        if found is None or found.kind != self.family:
            raise CursorError(f"{self.text!r} is no {self.family}")
        return found

    @property
    def family(self) -> str:
        """Its kind, however the source gives it."""
        return self.kind.removeprefix(_TEXT)

    @property
    def is_time(self) -> bool:
        """Whether it is a time or a date."""
        return self.family in _TIMES

    @property
    def value(self) -> Any:
        """The value of a query's parameter."""
        if self.kind.startswith(_TEXT) or self.kind == "text":
            return self.text
        order = self.mark.order
        return int(order) if self.kind == "number" and order == order.to_integral_value() else order

    def minus(self, overlap: float) -> Watermark:
        """Return an earlier watermark.

        Args:
            overlap: seconds; of a number, how much lower.

        Raises:
            CursorError: it is a text.
        """
        if not overlap:
            return self
        order = self.mark.order
        if self.kind == "text":
            raise CursorError("is a text, from which nothing can be subtracted: remove cursor_overlap")
        if self.kind == "number":
            return Watermark("number", _plain(order - Decimal(repr(overlap))))
        try:
            days = dt.timedelta(days=math.ceil(overlap / 86_400))
            earlier = order - (days if self.family == "date" else dt.timedelta(seconds=overlap))
        except OverflowError:
            raise CursorError("is too early to subtract cursor_overlap from it") from None
        is_text = self.kind.startswith(_TEXT)
        return Watermark(self.kind, _written_like(self.text, earlier) if is_text else _plain(earlier))

    def repeated_seconds(self, zone: dt.tzinfo) -> float:
        """Return how far later rows may be before it: the hour that local clocks repeat when daylight saving ends."""
        if self.family != "local_time":
            return 0.0
        first, second = (self.mark.order.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
        return float(max(0.0, (first - second).total_seconds()))

    def cast(self, family: str, zone: dt.tzinfo) -> Watermark | None:
        """Return it as another kind of time; ``None`` if it is not one.

        Args:
            family: ``time``, ``local_time`` or ``date``.
            zone: of times that have none.
        """
        if family == self.family:
            return self
        if not self.is_time or family not in _TIMES:
            return None
        order = self.mark.order
        if not isinstance(order, dt.datetime):
            order = dt.datetime.combine(order, dt.time())
        if family == "time":
            order = order.replace(tzinfo=zone)
        elif order.tzinfo is not None:
            order = order.astimezone(zone).replace(tzinfo=None)
        return Watermark(family, _plain(order.date() if family == "date" else order))

    def is_after(self, other: Watermark) -> bool:
        """Whether it is higher than another one; also if they are of different kinds, which cannot be compared."""
        return self.family != other.family or self.mark.order > other.mark.order


def parse_watermark(text: str, like: Watermark | None, zone: dt.tzinfo) -> Watermark:
    """Parse a watermark that a person gives.

    Args:
        text: a number, a date, a time, or for a cursor of texts any text.
        like: the present watermark, whose kind it gets; ``None`` to guess the kind.
        zone: of a time without one, if the cursor's times have one.

    Raises:
        CursorError: it is of another kind.
    """
    mark = mark_of(text, is_untyped=True)
    if mark is None:
        raise CursorError("is empty")
    if like is not None and like.kind == "text":
        return Watermark("text", text)
    found = Watermark(mark.kind, _plain(mark.order))
    if like is None:
        return found
    cast = found.cast(like.family, zone)
    if cast is None:
        raise CursorError(f"is no {like.family.replace('_', ' ')}, which the cursor is")
    if not like.kind.startswith(_TEXT):
        return cast
    order = cast.mark.order
    if like.family == "time":
        order = order.astimezone(like.mark.order.tzinfo)
    return Watermark(like.kind, _written_like(like.text, order))


def text_shape(text: str) -> str | None:
    """Return how a time is written, apart from digits and fractions; ``None`` for a text that is no time.

    Texts of different shapes do not sort as the times that they mean.
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        return None
    return f"{shape['separator'] or ''}{'s' if shape['seconds'] else ''}{shape['offset'] or ''}"


def _plain(order: Any) -> str:
    if isinstance(order, (dt.datetime, dt.date)):
        return order.isoformat()
    return format(order, "f") if isinstance(order, Decimal) else str(order)


def _written_like(text: str, order: dt.date) -> str:
    """Write a time as another one is written, so that texts sort as before."""
    shape = _SHAPE.fullmatch(text)
    day = f"{order.year:04}-{order.month:02}-{order.day:02}"
    if shape is None or shape["separator"] is None or not isinstance(order, dt.datetime):
        return day
    clock = f"{order:%H:%M:%S}" if shape["seconds"] else f"{order:%H:%M}"
    fraction = f".{f'{order.microsecond:06}'[: len(shape['fraction'])]}" if shape["fraction"] else ""
    return f"{day}{shape['separator']}{clock}{fraction}{shape['offset'] or ''}"

"""Dates and times as text (RFC 3339, with the seconds and the offset left out at will)."""

from __future__ import annotations

import datetime as dt
import re

# Not fromisoformat: what it takes differs from one version of Python to the next.
_DATE = r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = r"(?P<time>[0-9]{2}:[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,20}))?)?"
_OFFSET = r"(?P<offset>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_DAY = re.compile(_DATE)
_YEARS = range(1900, 2200)  # beyond them clocks and databases end, each in another year
_MOMENT = re.compile(rf"{_DATE}(?:[Tt ]{_TIME}{_OFFSET}?)?")


def parse_iso(text: str) -> dt.datetime:
    """A date, or a date and time: ``2026-11-22``, ``2026-11-22T16:04``, ``2026-11-22 16:04:05.5-06:00``.

    Args:
        text: without blanks around it; digits behind the microseconds are cut off.

    Returns:
        Midnight where there is no time; without a zone where there is no offset.

    Raises:
        ValueError: it looks otherwise, or there is no such day or time.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError("not a date and time such as 2026-11-22T16:04")
    fraction = (match["fraction"] or "")[:6].ljust(6, "0")
    offset = "+00:00" if match["offset"] in ("Z", "z") else match["offset"] or ""
    time = f"{match['time'] or '00:00'}:{match['second'] or '00'}.{fraction}{offset}"
    return dt.datetime.fromisoformat(f"{match['date']}T{time}")


def parse_day(text: str) -> dt.date:
    """A date without a time, such as ``2026-11-22``.

    Raises:
        ValueError: it looks otherwise, or there is no such day.
    """
    if _DAY.fullmatch(text) is None:
        raise ValueError("not a date such as 2026-11-22")
    return dt.date.fromisoformat(text)


def parse_moment(text: str, zone: dt.tzinfo) -> dt.datetime:
    """A date, or a date and time, as an aware time.

    Args:
        text: as :func:`parse_iso` reads it, blanks around it allowed.
        zone: of a time without an offset.

    Raises:
        ValueError: it looks otherwise, there is no such day or time, or it is of another age: a "never" such as
            9999-12-31 is no moment that anything could wait for.
    """
    try:
        moment = parse_iso(text.strip())
    except ValueError:
        raise ValueError("a date, or a date and time, is expected, such as 2026-11-22T16:04") from None
    if moment.year not in _YEARS:
        raise ValueError(f"a year from {_YEARS[0]} to {_YEARS[-1]} is expected")
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)

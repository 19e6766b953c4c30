"""Durations as people write them in a flow file: ``30m``, ``4h``, or ISO 8601 such as ``PT1H30M``."""

from __future__ import annotations

import datetime as dt
import re

PATTERN = r"^(?:[0-9]{1,6}[smhd]|P(?:[0-9]{1,4}D)?(?:T(?:[0-9]{1,6}H)?(?:[0-9]{1,6}M)?(?:[0-9]{1,6}S)?)?)\Z"
_SHORT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ISO = re.compile(r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?")
_LONGEST = dt.timedelta(days=366)


def parse_duration(text: str) -> dt.timedelta:
    """Parse a duration.

    Raises:
        ValueError: it is not a duration, or not from above 0 to 366 days.
    """
    found = _read(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as '30m', '4h', '2d', or 'PT1H30M'")
    if not dt.timedelta() < found <= _LONGEST:
        raise ValueError(f"{text!r} is not a duration from above 0 to {_LONGEST.days} days")
    return found


def _read(text: str) -> dt.timedelta | None:
    if re.fullmatch(PATTERN, text, re.ASCII) is None:
        return None
    if text[-1] in _SHORT:
        return dt.timedelta(**{_SHORT[text[-1]]: int(text[:-1])})
    match = _ISO.fullmatch(text)
    parts = {} if match is None else {unit: int(number) for unit, number in match.groupdict().items() if number}
    return dt.timedelta(**parts) if parts else None

"""Numbers as text."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_LENGTH = 400


def parse_number(text: str) -> int | float | None:
    """The number that a text is, or ``None``: ``41``, ``-3.5``, ``.5``, ``1e3``, blanks around it allowed."""
    number = text.strip()
    # int() and float() take "1_000", "nan" and digits of every script; a CRM does not.
    if len(text) > _MAX_LENGTH or not _NUMBER.fullmatch(number):
        return None
    if number.lstrip("+-").isdecimal():
        return int(number)
    value = float(number)
    return value if math.isfinite(value) else None

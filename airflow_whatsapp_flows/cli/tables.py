"""Formats tables, times and numbers for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format rows below a header, in columns that fit their content; numbers are right-aligned."""
    lines = [list(head), *([_cell(value) for value in row] for row in rows)]
    numeric = [
        len(lines) > 1 and all(line[column].replace(",", "").isdecimal() for line in lines[1:])
        for column in range(len(head))
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def moment(epoch: float | None) -> str:
    """Format a time in UTC, ``2026-11-22 16:04:05``; empty for ``None``."""
    if epoch is None:
        return ""
    return f"{dt.datetime.fromtimestamp(epoch, dt.timezone.utc):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """Format a duration in its two largest units: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: ``1 contact``, ``2,000 contacts``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(text: str) -> str:
    """Remove control characters and line breaks: data must not move the terminal's cursor or start a new line."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else plain(str(value))

"""Formats tables and times for people."""

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


def plain(text: str) -> str:
    """Remove control characters and line breaks: data must not move the terminal's cursor or start a new line."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else plain(str(value))

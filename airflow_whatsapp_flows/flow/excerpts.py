"""The line of a text that a fault is in, shown with carets under what the fault is about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from airflow_whatsapp_flows.errors import Fault

_WIDTH = 100
"""Columns of a terminal that a line may take; a longer one is cut around the fault."""
_BEFORE = 40
_TAB = "    "
# What begins at a fault: a text or a key, a placeholder inside of one, else a word or a number.
_TOKEN = re.compile(
    r"""  "(?:\\.|[^"\\])*"?
        | \{\{(?:(?!\}\}).)*(?:\}\})?
        | %[a-z_]+\.[^%"]*%
        | [^\s,:"\[\]{}]+ """,
    re.VERBOSE,
)

_Cell = tuple[str, int]
"""What is shown for a character, and the columns that it takes."""


def excerpt(text: str, fault: Fault) -> str:
    """The line of a fault and, below it, carets and the name of its step.

    Args:
        text: of the file.
        fault: one of its faults.

    Returns:
        Two lines without control characters; empty when the place is not known or is not in the text.
    """
    if fault.line is None or fault.column is None:
        return ""
    line = _line(text, fault.line)
    if line is None or fault.column > len(line) + 1:
        return ""
    start = fault.column - 1
    token = _TOKEN.match(line, start)
    end = token.end() if token else start + 1
    before, marked, after = _window(line, start, end)
    gutter = f"   {fault.line}"
    carets = "^" * max(1, _columns(marked))
    step = f" in the step {fault.step!r}" if fault.step else ""
    shown = "".join(cell for cell, _ in (*before, *marked, *after))
    first = f"{gutter} | {shown}".rstrip()
    return f"{first}\n{' ' * len(gutter)} | {' ' * _columns(before)}{carets}{step}"


def harmless(text: str) -> str:
    """A text on one line in which control characters, and all else that is not printed, are escaped."""
    return "".join(map(_printed, text))


def _line(text: str, number: int) -> str | None:
    start = 0
    for _ in range(number - 1):
        start = text.find("\n", start) + 1
        if not start:
            return None
    end = text.find("\n", start)
    return text[start : end if end >= 0 else None].removesuffix("\r")


def _window(line: str, start: int, end: int) -> tuple[list[_Cell], list[_Cell], list[_Cell]]:
    # Characters take no less than no column: of a line of a mebibyte only what can be seen is looked at.
    before = _cells(line[max(0, start - _WIDTH) : start])
    if start > _WIDTH or _columns(before) > _WIDTH - _BEFORE:
        while before and _columns(before) > _BEFORE:
            del before[0]
        before.insert(0, ("…", 1))
    room = _WIDTH - _columns(before)
    marked = _cut(_cells(line[start : min(end, start + _WIDTH)]), room, whole=end <= start + _WIDTH)
    room -= _columns(marked)
    after = _cut(_cells(line[end : end + _WIDTH]), room, whole=end + _WIDTH >= len(line)) if room > 0 else []
    return before, marked, after


def _cut(cells: list[_Cell], room: int, *, whole: bool) -> list[_Cell]:
    if whole and _columns(cells) <= room:
        return cells
    while cells and _columns(cells) > room - 1:
        del cells[-1]
    return [*cells, ("…", 1)]


def _columns(cells: Iterable[_Cell]) -> int:
    return sum(columns for _, columns in cells)


def _cells(text: str) -> list[_Cell]:
    return [_cell(character) for character in text]


def _cell(character: str) -> _Cell:
    if character == "\t":
        return _TAB, len(_TAB)
    if not character.isprintable():
        return _printed(character), len(_printed(character))
    if unicodedata.category(character) in ("Mn", "Me"):
        return character, 0
    return character, 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _printed(character: str) -> str:
    # A terminal would obey what is not printable, or draw nothing, or write from right to left.
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")

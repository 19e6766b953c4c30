"""The line of a fault, with secrets hidden, and carets under the faulty part."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from airflow_whatsapp_flows.errors import Fault
from airflow_whatsapp_flows.flow.concealing import secret_spans
from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable
from airflow_whatsapp_flows.flow.secrets import HIDDEN

_WIDTH = 100
"""Terminal columns available for a line; a longer line is cut around the fault."""
_BEFORE = 40
_NEAR = 10_000
"""Characters around a fault in which to search for a secret and the name that marks it."""
_TAB = "    "
# The faulty part: a text or a key, a placeholder inside one, or else a word or a number.
_TOKEN = re.compile(
    r"""  "(?:\\.|[^"\\])*"?
        | \{\{(?:(?!\}\}).)*(?:\}\})?
        | %[a-z_]+\.[^%"]*%
        | [^\s,:"\[\]{}]+ """,
    re.VERBOSE,
)

_Cell = tuple[str, int]
"""The text shown for a character, and its width in columns."""


def excerpt(text: str, fault: Fault) -> str:
    """Show the line of a fault and, below it, carets and the name of the step.

    Args:
        text: of the file.
        fault: one of its faults.

    Returns:
        Two lines without control characters, with ``***`` for anything that looks like a secret; empty if the location
        is unknown or not in the text.
    """
    if fault.line is None or fault.column is None:
        return ""
    begin = _line_start(text, fault.line)
    line = None if begin is None else _line(text, begin)
    if begin is None or line is None or fault.column > len(line) + 1:
        return ""
    start = fault.column - 1
    token = _TOKEN.match(line, start)
    end = token.end() if token else start + 1
    before, marked, after = _window(line, start, end, _secret_columns(text, begin, start))
    gutter = f"   {fault.line}"
    carets = "^" * max(1, _columns(marked))
    step = f" in the step {fault.step!r}" if fault.step else ""
    shown = "".join(cell for cell, _ in (*before, *marked, *after))
    first = f"{gutter} | {shown}".rstrip()
    return f"{first}\n{' ' * len(gutter)} | {' ' * _columns(before)}{carets}{step}"


def _line_start(text: str, number: int) -> int | None:
    start = 0
    for _ in range(number - 1):
        start = text.find("\n", start) + 1
        if not start:
            return None
    return start


def _line(text: str, start: int) -> str:
    end = text.find("\n", start)
    return text[start : end if end >= 0 else None].removesuffix("\r")


def _secret_columns(text: str, begin: int, start: int) -> dict[int, str]:
    """Columns of secrets in the line that begins there, to what is shown for them: ``***`` once, then nothing."""
    # The name that marks a secret may be on an earlier line.
    first = max(0, begin + start - _NEAR)
    hidden: dict[int, str] = {}
    for from_, to in secret_spans(text[first : begin + start + _NEAR]):
        columns = range(max(first + from_ - begin, 0), first + to - begin)
        hidden.update({column: "" if number else HIDDEN for number, column in enumerate(columns)})
    return hidden


def _window(line: str, start: int, end: int, hidden: Mapping[int, str]) -> tuple[list[_Cell], list[_Cell], list[_Cell]]:
    # Only the visible part of a very long line is searched.
    before = _cells(line, max(0, start - _WIDTH), start, hidden)
    if start > _WIDTH and hidden.get(start - _WIDTH) == "":  # a secret that started before
        before.insert(0, (HIDDEN, len(HIDDEN)))
    if start > _WIDTH or _columns(before) > _WIDTH - _BEFORE:
        while before and _columns(before) > _BEFORE:
            del before[0]
        before.insert(0, ("…", 1))
    room = _WIDTH - _columns(before)
    marked = _cut(_cells(line, start, min(end, start + _WIDTH), hidden), room, whole=end <= start + _WIDTH)
    room -= _columns(marked)
    after = _cut(_cells(line, end, end + _WIDTH, hidden), room, whole=end + _WIDTH >= len(line)) if room > 0 else []
    return before, marked, after


def _cut(cells: list[_Cell], room: int, *, whole: bool) -> list[_Cell]:
    if whole and _columns(cells) <= room:
        return cells
    while cells and _columns(cells) > room - 1:
        del cells[-1]
    return [*cells, ("…", 1)]


def _columns(cells: Iterable[_Cell]) -> int:
    return sum(columns for _, columns in cells)


def _cells(line: str, start: int, end: int, hidden: Mapping[int, str]) -> list[_Cell]:
    return [
        (hidden[column], len(hidden[column])) if column in hidden else _cell(character)
        for column, character in enumerate(line[start:end], start)
    ]


def _cell(character: str) -> _Cell:
    if character == "\t":
        return _TAB, len(_TAB)
    if not character.isprintable():
        escaped = escape_unprintable(character)
        return escaped, len(escaped)
    if unicodedata.category(character) in ("Mn", "Me"):
        return character, 0
    return character, 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1

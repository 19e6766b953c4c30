"""Markdown for Airflow's pages: escaped texts of flows and contacts, tables, and code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|<>~&:@^$-])")


def escape(text: str) -> str:
    """Escape a text for Markdown, on one line."""
    return _SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))


def table(heads: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """A table with right-aligned numbers and escaped texts; empty without rows."""
    listed = list(rows)
    if not listed:
        return ""
    right = [isinstance(cell, int) for cell in listed[0]]
    lines = [heads, ["---:" if number else "---" for number in right]]
    lines += [[f"{cell:,}" if isinstance(cell, int) else escape(cell) for cell in row] for row in listed]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """The lines of a text as code; blank lines are removed.

    Airflow shows a code block as one line, so each line is a separate block followed by a break.
    """
    return "\\\n".join(_code(line) for line in text.splitlines() if line.strip())


def _code(line: str) -> str:
    indented = re.sub(r"^[ \t]+", lambda match: "\N{NO-BREAK SPACE}" * len(match.group()), line)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {indented} {fence}" if "`" in line else f"{fence}{indented}{fence}"

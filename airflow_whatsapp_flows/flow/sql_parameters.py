"""Named parameters in the text of an SQL statement: ``:data_interval_start``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# What comes before a name and makes it none: a cast (`::text`), an assignment, a slice (`a[1:n]`), a path into a value
# (`src:name`, `"src":name`). A backslash says so.
_TOKENS = re.compile(
    r"""
    (?P<skipped>
        (?P<quoted>'(?:[^']|'')*')          # a text
      | "(?:[^"]|"")*"(?::[A-Za-z_]\w*)*     # a name, and a path into its value
      | `[^`]*`
      | (?P<comment>--[^\n]*|/\*.*?\*/)
      | (?P<dollar>\$(?:[A-Za-z_]\w*)?\$).*?(?P=dollar)
      | ::
    )
    | (?P<escaped>\\:)
    | (?<![\w\])]):(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


class Placeholder(NamedTuple):
    """A parameter in a statement.

    Attributes:
        name: its name; ``None`` for a backslash and a colon, which stand for a colon.
        start: offset of its first character.
        end: offset behind its last character.
    """

    name: str | None
    start: int
    end: int


def find_parameters(sql: str) -> Iterator[Placeholder]:
    """Find the parameters of a statement, in order; not in texts, quoted names, and comments."""
    for match in _TOKENS.finditer(sql):
        if match["name"] is not None or match["escaped"] is not None:
            yield Placeholder(match["name"], *match.span())


def find_texts(sql: str) -> Iterator[tuple[str, int]]:
    """Find the texts of a statement, in quotes, with their offsets."""
    for match in _TOKENS.finditer(sql):
        if match["quoted"] is not None:
            yield match["quoted"], match.start()


def blank_comments(sql: str) -> str:
    """Return a statement with spaces in place of its comments."""
    return _TOKENS.sub(lambda match: " " * len(match[0]) if match["comment"] else match[0], sql)

"""Text on its way to a terminal: what strangers wrote may not move its cursor, color it or turn it around."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 but for tab and newline, DEL, C1, and what turns text around or breaks a line unseen (Unicode TR 36 §3).
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escape_acting(text: str) -> str:
    r"""A text with ``\u001b`` and the like for every character that a terminal obeys instead of showing it.

    The escapes are those of JSON, so that JSON stays what it was.
    """
    return _ACTING.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


class HarmlessStream(io.TextIOBase):
    """A text stream that escapes what a terminal would obey.

    Attributes:
        inner: the stream behind it.

    Args:
        inner: where the text goes.
    """

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        self.inner.write(escape_acting(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind it."""
        self.inner.flush()

    def isatty(self) -> bool:
        """Whether the stream behind it is a terminal."""
        return self.inner.isatty()

    def fileno(self) -> int:
        """The file descriptor of the stream behind it."""
        return self.inner.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Let standard output and standard error escape what a terminal would obey, within the block."""
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = HarmlessStream(kept[0]), HarmlessStream(kept[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def raw_stderr() -> TextIO:
    """Standard error as it is, for a progress bar, which moves the cursor itself."""
    return sys.stderr.inner if isinstance(sys.stderr, HarmlessStream) else sys.stderr

"""Escapes terminal output: untrusted text must not move the cursor, change colors or reverse the text direction."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 except tab and newline, DEL, C1, and invisible direction marks and line breaks (Unicode TR 36 §3).
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escape_acting(text: str) -> str:
    r"""Replace every character that a terminal interprets instead of showing with an escape such as ``\u001b``.

    The escapes are those of JSON, so that JSON keeps its meaning.
    """
    return _ACTING.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


class HarmlessStream(io.TextIOBase):
    """A text stream that escapes characters that a terminal would interpret.

    Attributes:
        inner: the underlying stream.

    Args:
        inner: the underlying stream.
    """

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        self.inner.write(escape_acting(text))
        return len(text)

    def flush(self) -> None:
        """Flush the underlying stream."""
        self.inner.flush()

    def isatty(self) -> bool:
        """Whether the underlying stream is a terminal."""
        return self.inner.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the underlying stream."""
        return self.inner.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Within the block, escape what a terminal would interpret in standard output and standard error."""
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = HarmlessStream(kept[0]), HarmlessStream(kept[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def raw_stderr() -> TextIO:
    """Return unescaped standard error, for a progress bar, which moves the cursor itself."""
    return sys.stderr.inner if isinstance(sys.stderr, HarmlessStream) else sys.stderr

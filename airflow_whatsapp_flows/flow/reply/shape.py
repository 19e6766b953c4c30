"""The shape of a reply: what it is and which keys it has, without its values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOST_KEYS = 12
_NAME = re.compile(r"[A-Za-z_$@][\w.:$-]{0,39}", re.ASCII)
_LONG_NUMBER = re.compile(r"[0-9]{4}")
HIDDEN_KEY = "…"
"""Stands for keys that may say something of a person, and for those that are too many."""


@dataclass(frozen=True, slots=True)
class ReplyShape:
    """The shape of a reply.

    Attributes:
        media_type: of its content; empty if it had none.
        keys: its top-level keys, in alphabetical order; of other content what it is, such as ``a list``.
    """

    media_type: str
    keys: tuple[str, ...]

    @classmethod
    def of(cls, response: Any, headers: Mapping[str, Any]) -> ReplyShape:
        """Return the shape of a parsed reply."""
        media_type = str(headers.get("content-type") or "").partition(";")[0].strip().lower()
        return cls(media_type[:80], _keys(response))

    def as_value(self) -> dict[str, Any]:
        """The shape as plain data."""
        return {"media_type": self.media_type, "keys": list(self.keys)}


def _keys(response: Any) -> tuple[str, ...]:
    if response is None:
        return ("empty",)
    if isinstance(response, list):
        return ("a list",)
    if not isinstance(response, Mapping):
        return ("text",) if isinstance(response, str) else ("a value",)
    names = {key for key in map(str, response) if _NAME.fullmatch(key) and not _LONG_NUMBER.search(key)}
    shown = sorted(names)[:_MOST_KEYS]
    return (*shown, HIDDEN_KEY) if len(shown) < len(response) else tuple(shown)

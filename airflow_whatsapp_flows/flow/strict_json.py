"""JSON text (RFC 8259) to plain data, without what the standard library's parser lets pass: duplicate keys, NaN."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal


class NotStrictError(ValueError):
    """Text that only a lenient parser accepts as JSON; the message is for its author.

    Attributes:
        kind: ``constant`` (``NaN`` or ``Infinity``), ``number`` (one that no double holds) or ``key`` (one that an
            object has twice).
        found: the constant, the number or the key.
    """

    def __init__(self, kind: Literal["constant", "number", "key"], found: str) -> None:
        self.kind = kind
        self.found = found
        super().__init__(_MESSAGES[kind].format(found=repr(found) if kind == "key" else found[:40]))


_MESSAGES = {
    "constant": "{found} is not JSON; write a number or null",
    "number": "the number {found} is too large",
    "key": "an object has the same key twice: {found}",
}


def strict_decoder(parse_int: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """A function that parses strict JSON; make it once, because making it takes longer than reading a small text.

    The function raises :class:`NotStrictError`, ``json.JSONDecodeError``, ``RecursionError`` for a text that is nested
    too deeply, and ``ValueError`` for a whole number with more digits than Python reads.

    Args:
        parse_int: makes a whole number; Python's own ``int`` is faster.
    """
    decoder = json.JSONDecoder(
        parse_constant=_refuse_constant, parse_float=_finite_float, parse_int=parse_int, object_pairs_hook=_unique_keys
    )
    return decoder.decode


def _refuse_constant(word: str) -> None:
    raise NotStrictError("constant", word)


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrictError("number", text)
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise NotStrictError("key", next(key for key, count in counts.items() if count > 1))
    return value


parse_strict_json = strict_decoder()
"""Parses strict JSON with Python's own whole numbers."""

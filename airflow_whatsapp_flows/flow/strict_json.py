"""JSON text (RFC 8259) to plain data, without what the standard library's parser lets pass: duplicate keys, NaN."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec


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


_decode_any = strict_decoder()
_decode_plain = msgspec.json.Decoder().decode
_SHORT = 32_768  # characters
_UNUSUAL = re.compile(r"\\|[ \t\n\r]:")


def parse_strict_json(text: str) -> Any:
    """Parse strict JSON, with Python's own whole numbers; see :func:`strict_decoder` for what it raises.

    msgspec takes a fifth of the time, but keeps the last of two equal keys. Without escapes, and without blanks before
    colons, each key ends with ``":`` and no string contains that: if one was lost, there are fewer of these.
    """
    if len(text) <= _SHORT and _UNUSUAL.search(text) is None:
        try:
            value = _decode_plain(text)
            is_complete = msgspec.json.encode(value).count(b'":') == text.count('":')
        except (msgspec.DecodeError, ValueError, RecursionError):  # the other parser says what is wrong
            is_complete = False
        if is_complete:
            return value
    return _decode_any(text)

"""Plain data as one text, in which secrets and sensitive values are looked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_AS_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
_EXPONENT = re.compile(r"e-?[0-9]{1,3}(?:[],}]|$)")  # Python writes 1e+16 and 1e-05, and 0.00001 as the latter
_SMALL = 16_384  # characters and values
_PART = 2_000  # values that are written at once
_FOLDED = 65_536  # characters


def needle(text: str) -> str:
    """A text as it stands in a :func:`haystack`."""
    # Most texts hold nothing that JSON escapes.
    plain = text.isprintable() and '"' not in text and "\\" not in text
    return text if plain else _AS_JSON.encode(text)[1:-1]


def haystack(value: object) -> str:
    """Plain data as one text in which secrets are looked for, each as :func:`needle` writes it."""
    if _is_small(value):
        try:
            text = _ENCODER.encode(value).decode()
        except (TypeError, ValueError):  # half of a surrogate pair, or the name of a field that is no text
            return _AS_JSON.encode(value)
        if "0.0000" not in text and not _EXPONENT.search(text):
            return text
    # Much data is written in parts: no other thread runs meanwhile, and 50,000 numbers with a fraction take 50 ms.
    return _AS_JSON.encode(value) if _count(value) <= _PART else "\n".join(_parts(value))


_ENCODER = msgspec.json.Encoder(enc_hook=str)
"""Ten times as quick as Python's, but it takes twice the memory of a text."""


def _is_small(value: object) -> bool:
    left = _SMALL
    items: list[Any] = [value]
    for item in items:  # those of lists and objects are appended
        kind = type(item)
        if kind is str or kind is list or kind is dict:
            left -= len(item)
            if left < 0:
                return False
            if kind is not str:
                items += item
                if kind is dict:
                    items += item.values()
    return True


def _count(value: Any) -> int:
    """Values in plain data, as far as they are counted: no further than to :data:`_PART`."""
    if not isinstance(value, (list, dict)):
        return 1
    count = len(value)
    if count <= _PART:
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (list, dict)):
                count += _count(item)
                if count > _PART:
                    break
    return count


def _parts(value: Any) -> Iterator[str]:
    items: Iterable[Any] = value
    if isinstance(value, dict):
        items = (one for pair in value.items() for one in pair)
    part: list[Any] = []
    size = 0
    for item in items:
        count = _count(item)
        if count > _PART:
            yield from _parts(item)
            continue
        part.append(item)
        size += count
        if size >= _PART:
            yield _AS_JSON.encode(part)
            part, size = [], 0
    yield _AS_JSON.encode(part)


def fold(text: str) -> str:
    """A text without case, a part at a time: Python takes twelve bytes for each character of one that is not ASCII.

    Dotted and dotless i are one letter, as they are to a pattern that ignores case: ``YILDIZ`` is ``Yıldız``.
    """
    if text.isascii():
        return text.casefold()
    parts = [text[start : start + _FOLDED].casefold() for start in range(0, len(text), _FOLDED)]
    return "".join(parts).replace("i\u0307", "i").replace("\u0131", "i")

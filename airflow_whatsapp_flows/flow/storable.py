"""Values that every database can store: text without NUL and half surrogate pairs, nested no deeper than a limit."""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 64
# Databases refuse them: PostgreSQL has no NUL in text, and half of a surrogate pair is not UTF-8.
_SURROGATE = re.compile(r"[\ud800-\udfff]")
RESERVED_KEYS = frozenset({"__classname__", "__id__"})
"""Keys that Airflow's XCom keeps for classes."""


class UnparsableContent(ValueError):
    """Content that is not what its Content-Type says; the text says why."""


def storable_text(text: str) -> str:
    """A text that every database keeps: U+FFFD stands for NUL and for halves of surrogate pairs."""
    if text.isprintable():  # as most texts are; what is refused is not
        return text
    text = text.replace("\0", "\ufffd")
    # Most texts are ASCII, which costs a fifth to find out; and a search that finds nothing makes no copy.
    return text if text.isascii() or _SURROGATE.search(text) is None else _SURROGATE.sub("\ufffd", text)


def storable_key(key: str) -> str:
    """A key that Airflow's XCom keeps: it reserves two for classes, and refuses a whole value that holds one."""
    return f"_{key}" if key in RESERVED_KEYS else storable_text(key)


def clean(value: Any, depth: int) -> Any:
    """The value as every database can store it, refused where it is nested too deeply.

    What needs no change is not copied: a reply takes memory once.

    Raises:
        UnparsableContent: it is nested deeper than ``depth`` levels.
    """
    if isinstance(value, str):
        return storable_text(value)
    if not isinstance(value, (dict, list)):
        return value
    if depth == 0:
        raise UnparsableContent(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return _clean_list(value, depth - 1)
    return _clean_object(value, depth - 1)


def is_storable_json(content: bytes) -> bool:
    """Whether the value of a JSON text needs no :func:`clean`, as far as its bytes show."""
    has_unusual = b"\\" in content or b"__" in content or b"\0" in content  # escapes, reserved keys, other encodings
    return not has_unusual and content.count(b"[") + content.count(b"{") <= MAX_DEPTH


def _clean_list(items: list[Any], depth: int) -> list[Any]:
    for index, item in enumerate(items):
        if clean(item, depth) is not item:
            return [*items[:index], *(clean(other, depth) for other in items[index:])]
    return items


def _clean_object(members: dict[str, Any], depth: int) -> dict[str, Any]:
    for key, item in members.items():
        if storable_key(key) is not key or clean(item, depth) is not item:
            return {storable_key(name): clean(other, depth) for name, other in members.items()}
    return members

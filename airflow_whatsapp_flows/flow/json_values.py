"""JSON replies as plain data, within limits that hold before anything is built."""

from __future__ import annotations

import json
import re
from typing import Any

from airflow_whatsapp_flows.flow.strict_json import NotStrictError, parse_strict_json, strict_decoder

MAX_VALUES = 50_000
"""Values in one reply: objects, lists, and everything inside them."""
MAX_DIGITS = 309
"""Digits in an integer: as many as the largest double has. Converting one takes time quadratic in its digits."""

_SMALL = MAX_VALUES  # bytes that cannot hold more values
_STRING = re.compile(rb'"[^"]*"?')
_MANY_DIGITS = re.compile(rf"(?<![0-9])[0-9]{{{MAX_DIGITS + 1}}}")


class JsonReplyError(ValueError):
    """JSON that is not read; the text says why."""


def read_json(content: bytes) -> Any:
    """The value of a JSON text (RFC 8259).

    Args:
        content: in UTF-8, UTF-16 or UTF-32, without a byte order mark.

    Raises:
        JsonReplyError: it isn't JSON, has a key twice in one object, a number that isn't finite or has too many
            digits, or more values than are read.
        RecursionError: it is nested too deeply.
    """
    encoding = "utf-8" if content.isascii() and b"\0" not in content else json.detect_encoding(content)
    try:
        text = content.decode(encoding)
        if text.startswith("\ufeff"):
            raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
        if len(content) > _SMALL:
            _check_size(content if encoding == "utf-8" else text.encode("utf-8", "replace"))
        has_many_digits = len(text) > MAX_DIGITS and _MANY_DIGITS.search(text) is not None
        return (_read_digits if has_many_digits else parse_strict_json)(text)
    except UnicodeDecodeError:
        raise JsonReplyError(f"is not {encoding}") from None
    except NotStrictError as error:
        raise JsonReplyError(_problem_of(error)) from None
    except json.JSONDecodeError as error:
        raise JsonReplyError(f"does not parse: {error.msg} (line {error.lineno} column {error.colno})") from None


def _check_size(content: bytes) -> None:
    """Refuse what has too many values. Counting is exact only where the characters alone could be too many."""
    if _count(content) <= MAX_VALUES:
        return
    # Without escapes a text ends at the next quote.
    plain = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    values, end = 0, 0
    for text in _STRING.finditer(plain):
        values += _count(plain[end : text.start()])
        if values > MAX_VALUES:
            break
        end = text.end()
    if values + _count(plain[end:]) > MAX_VALUES:
        raise JsonReplyError(f"has more than {MAX_VALUES:,} values")


def _count(text: bytes) -> int:
    """Values in JSON without its strings, give or take one for each list and object."""
    return text.count(b"[") + text.count(b"{") + text.count(b",")


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise JsonReplyError(f"a number has too many digits; at most {MAX_DIGITS:,} are allowed")
    return int(text)


def _problem_of(error: NotStrictError) -> str:
    if error.kind == "constant":
        return f"{error.found} is not JSON"
    if error.kind == "number":
        return f"the number {error.found[:40]} is too large"
    return "has the same key twice in an object"


# A function for whole numbers costs each of them; few replies have digits enough to need it.
_read_digits = strict_decoder(_whole)

"""The filters of the template language: what flows need to convert answers for a CRM, and nothing else.

Every filter takes and returns plain data, in time and space linear in its input. The length of a text is known, or
limited to a small multiple of the maximum, before it is created.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from jinja2 import Undefined

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.moments import parse_iso
from airflow_whatsapp_flows.flow.numbers import parse_number
from airflow_whatsapp_flows.flow.phones import e164, is_country
from airflow_whatsapp_flows.flow.template.json_filter import from_json
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.template.sizes import least_size

MAX_TEXT = 1_048_576
"""Characters that one rendered text may have."""
_LARGE = 32_768
"""Texts with more characters than this are serialized to JSON in parts."""
_PIECES = 4_096

# glibc's strftime pads to any width ("%999999999d"); only plain directives are let through, and "%s" is not:
# it tells seconds since 1970 by the clock of the machine.
_DATE_FORMAT = re.compile(r"(?:%-?[A-Za-rt-z%]|[^%]){1,200}")
_INTEGER = re.compile(r"[+-]?[0-9]+")


def text_of(value: object) -> str:
    """Convert a value to text for a message, a URL, or a larger text.

    ``null`` is empty, ``true`` and ``false`` are lower case, lists and objects are compact JSON.

    Raises:
        MissingValueError: the value is missing.
        RenderError: the value is not plain data, or is a list or an object whose text is longer than :data:`MAX_TEXT`.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return json_text(value)
    if isinstance(value, (list, tuple, Mapping)):
        return json_text(value, MAX_TEXT)
    if isinstance(value, Undefined):
        raise MissingValueError(f"{value._undefined_hint} for this contact")
    raise RenderError(f"a value of type {type(value).__name__} cannot be converted to text")


def json_text(value: object, most: int | None = None) -> str:
    """Compact JSON (RFC 8259).

    Args:
        value: plain data.
        most: maximum number of characters.

    Raises:
        RenderError: NaN and Infinity are not JSON; or it is too long.
    """
    size = least_size(value, _LARGE if most is None else most)
    if most is not None and size > most:
        raise _too_long(most)
    try:
        text = _COMPACT.encode(value) if size <= _LARGE or isinstance(value, str) else _in_parts(value)
    except ValueError:
        raise RenderError("NaN and Infinity cannot be written as JSON") from None
    if most is not None and len(text) > most:
        raise _too_long(most)
    return text


def _in_parts(value: object) -> str:
    """Compact JSON, without one long call that would block all other threads."""
    parts: list[str] = []
    pieces: list[str] = []
    for piece in _COMPACT.iterencode(value):
        pieces.append(piece)
        if len(pieces) == _PIECES:
            parts.append("".join(pieces))
            pieces.clear()
    return "".join([*parts, *pieces])


def _too_long(most: int) -> RenderError:
    return RenderError(f"the text would have more than {most:,} characters")


def _as_object(value: object) -> dict[str, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise RenderError(f"a value of type {type(value).__name__} cannot be converted to text")


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_object)


def join_texts(values: Iterable[object]) -> str:
    """Concatenate the texts of values; stops as soon as they are too long, before memory is used up.

    Raises:
        MissingValueError: a value is missing.
        RenderError: a value is not plain data, or the text gets longer than :data:`MAX_TEXT`.
    """
    texts: list[str] = []
    size = 0
    for value in values:
        text = text_of(value)
        size += len(text)
        if size > MAX_TEXT:
            raise _too_long(MAX_TEXT)
        texts.append(text)
    return "".join(texts)


def _check_size(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise _too_long(MAX_TEXT)
    return text


def _lower(value: object) -> str:
    # No character becomes more than three in another case: "ß" is "SS", and "ΐ" three.
    return _check_size(_check_size(text_of(value)).lower())


def _upper(value: object) -> str:
    return _check_size(_check_size(text_of(value)).upper())


def _trim(value: object) -> str:
    return _check_size(text_of(value).strip())


_UNESCAPED = b"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PART = 65_536


def _urlencode(value: object) -> str:
    text = _check_size(text_of(value)).encode()
    if len(text) + 2 * len(text.translate(None, _UNESCAPED)) > MAX_TEXT:
        raise _too_long(MAX_TEXT)
    # In parts: quote() makes a list of every byte.
    return "".join(quote(text[at : at + _PART], safe="") for at in range(0, len(text), _PART))


def _default(value: object, fallback: Value = "") -> object:
    # Asked first: an undefined value may not even be compared.
    return fallback if isinstance(value, Undefined) or value is None or value == "" else value


def _check_old(old: str) -> None:
    if not old:
        raise RenderError("replace needs a string to search for; the first argument is empty")


def _replace(value: object, old: str, new: str) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    _check_old(old)
    if old not in text:
        return _check_size(text)
    growth = text.count(old) * (len(new) - len(old))
    if len(text) + growth > MAX_TEXT:
        raise _too_long(MAX_TEXT)
    return text.replace(old, new)


def _join(value: object, separator: str = ", ") -> str:
    if not isinstance(value, list):
        raise RenderError("join needs a list")
    separator = text_of(separator)
    return join_texts(piece for index, item in enumerate(value) for piece in ((separator, item) if index else (item,)))


def _length(value: object) -> int:
    if isinstance(value, (str, list, dict)):
        return len(value)
    raise RenderError("length needs a string, a list, or an object")


def _item(value: object, index: int) -> object:
    if not isinstance(value, (str, list)):
        raise RenderError("first and last need a string or a list")
    if not value:
        raise RenderError("first and last need at least one item; the value is empty")
    return value[index]


def _int(value: object, *fallback: Value) -> Value:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    # int() takes "1_000" and digits of every script; a CRM does not.
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()) and len(value) <= 400:
        return int(value)
    if fallback:
        return fallback[0]
    raise RenderError(f"{_describe(value)} is not a whole number; to allow this, give int a default: int(0)")


def _float(value: object, *fallback: Value) -> Value:
    number = parse_number(value) if isinstance(value, str) else value
    if isinstance(number, (int, float)) and abs(number) <= sys.float_info.max:
        return float(number)
    if fallback:
        return fallback[0]
    raise RenderError(f"{_describe(value)} is not a number; to allow this, give float a default: float(0)")


def _check_digits(digits: object) -> None:
    if not isinstance(digits, int) or not 0 <= digits <= 15:
        raise RenderError("round needs a number, and 0 to 15 digits")


def _round(value: object, digits: int = 0) -> Value:
    number = _float(value)
    _check_digits(digits)
    if not isinstance(number, float):
        raise RenderError("round needs a number, and 0 to 15 digits")
    return round(number, digits) if digits else round(number)


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str) or not _DATE_FORMAT.fullmatch(pattern):
        raise RenderError("date needs a format of at most 200 characters, such as '%d/%m/%Y', without %s")


def _date(value: object, pattern: str = "%Y-%m-%d") -> str:
    _check_pattern(pattern)
    text = text_of(value).strip()
    try:
        moment = parse_iso(text)
    except ValueError:
        raise RenderError(
            f"{_describe(value)} is not a date; it must look like 2026-11-22 or 2026-11-22T16:04:00Z"
        ) from None
    return moment.strftime(pattern)


def _json(value: object) -> str:
    return text_of(value) if isinstance(value, Undefined) else json_text(value, MAX_TEXT)


_NO_DIGITS = bytes(set(range(128)) - set(b"0123456789"))


def _digits(value: object) -> str:
    return _check_size(text_of(value).encode("ascii", "ignore").translate(None, _NO_DIGITS).decode())


def _e164(value: object, country: str | None = None) -> str:
    text = text_of(value)
    number = e164(text, country)
    if number is None:
        hint = "" if country else "; for numbers without '+', give the country: e164('MX')"
        raise RenderError(f"{_describe(value)} is not a phone number{hint}")
    return number


def _describe(value: object) -> str:
    if isinstance(value, Undefined):
        raise MissingValueError(f"{value._undefined_hint} for this contact")
    # The value is a person's: its kind and size say enough to find it.
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return {type(None): "null", bool: "true or false", list: "a list", dict: "an object"}.get(type(value), "the value")


FILTERS: dict[str, Callable[..., Any]] = {
    "default": _default,
    "lower": _lower,
    "upper": _upper,
    "trim": _trim,
    "replace": _replace,
    "join": _join,
    "length": _length,
    "first": lambda value: _item(value, 0),
    "last": lambda value: _item(value, -1),
    "int": _int,
    "float": _float,
    "round": _round,
    "json": _json,
    "from_json": from_json,
    "urlencode": _urlencode,
    "date": _date,
    "digits": _digits,
    "e164": _e164,
}
"""Name to function; any other filter name is a fault at load."""


def check_literals(name: str, arguments: Mapping[str, object]) -> None:
    """Check the literal arguments of a filter, which are the same for every contact.

    Args:
        name: of the filter.
        arguments: values by parameter name, without those that depend on a contact.

    Raises:
        RenderError: an argument would be rejected for every contact.
    """
    if name == "date" and "pattern" in arguments:
        _check_pattern(arguments["pattern"])
    if name == "round" and "digits" in arguments:
        _check_digits(arguments["digits"])
    if name == "replace" and "old" in arguments:
        _check_old(text_of(arguments["old"]))
    country = arguments.get("country")
    if name == "e164" and country is not None and not (isinstance(country, str) and is_country(country)):
        raise RenderError(f"{country!r} is not a country; use its two-letter code (ISO 3166-1), such as e164('MX')")


MAKERS = frozenset({"lower", "upper", "trim", "replace", "join", "json", "urlencode", "date", "digits", "e164"})
"""Filters that return a new string; the others return an existing value or a number."""

"""YAML that every reader reads alike: block style, every text in double quotes, no aliases, no tags.

YAML 1.1 and 1.2 differ in what a plain scalar means (``no``, ``0o7``, ``1e3``, ``12:30``), and in what
ends a line (U+0085, U+2028 and U+2029 in 1.1). In double quotes with escapes there is nothing to differ on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.faults import MAX_DEPTH
from airflow_whatsapp_flows.flow.body.scalars import kind_of, number_text, utf8

MAX_KEY = 1000
"""Characters of a key as it is written; a simple key may have 1024 (YAML 1.2.2 §7.4.2)."""

# YAML 1.2.2 §5.1, what is not printable, with the line breaks of YAML 1.1 §4.2 and the tab.
_ESCAPED = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def write_yaml(value: object) -> str:
    """A value as a YAML document.

    Args:
        value: plain data.

    Returns:
        One document without markers, ending with a line feed.

    Raises:
        RenderError: it is not plain data, or holds a number, a key or a character that YAML cannot carry.
    """
    lines: list[str] = []
    _write(value, "", "", lines)
    return "".join(lines)


def _write(value: object, first: str, indent: str, lines: list[str]) -> None:
    """Add the lines of a value; the first one begins with ``first`` in place of its indent."""
    if len(indent) > 2 * MAX_DEPTH:
        raise RenderError(f"the value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            _write_member(key, item, (first or indent), indent, lines)
            first = ""
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            try:
                _write(item, f"{first or indent}- ", indent + "  ", lines)
            except RenderError as error:
                raise error.at(f"[{index}]") from None
            first = ""
    else:
        lines.append(f"{first}{_scalar(value)}\n")


def _write_member(key: object, value: object, start: str, indent: str, lines: list[str]) -> None:
    start = f"{start}{_key(key)}:"
    try:
        if isinstance(value, (Mapping, list, tuple)) and value:
            lines.append(f"{start}\n")
            _write(value, "", indent + "  ", lines)
        else:
            _write(value, f"{start} ", indent, lines)
    except RenderError as error:
        raise error.at(str(key)) from None


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise RenderError(f"the key {key!r} is not text; every key must be text")
    written = _quoted(key)
    if len(written) > MAX_KEY:
        raise RenderError(f"the key {key[:40]!r}… has {len(written)} characters; a key in YAML may have {MAX_KEY}")
    return written


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return number_text(value)
    if isinstance(value, float):
        text = number_text(value)
        # In YAML 1.1 a number is a float only with a point (1.1 float type): 1e+16 would be text.
        return text if "." in text else text.replace("e", ".0e")
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    raise RenderError(f"{kind_of(value)} cannot be sent; use text, numbers, true, false, null, lists and objects")


def _quoted(text: str) -> str:
    utf8(text)
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    sign = match.group()
    return _SHORT.get(sign) or (f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}")

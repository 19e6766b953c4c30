"""Writes YAML that all parsers read the same way: block style, text in double quotes, no aliases, no tags.

YAML 1.1 and 1.2 differ in what a plain scalar means (``no``, ``0o7``, ``1e3``, ``12:30``), and in what
ends a line (U+0085, U+2028 and U+2029 in 1.1). Double quotes with escapes avoid all of these differences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import SHORT
from airflow_whatsapp_flows.flow.body.faults import MAX_DEPTH
from airflow_whatsapp_flows.flow.body.scalars import kind_of, number_text, utf8
from airflow_whatsapp_flows.flow.template.language import Data
from airflow_whatsapp_flows.flow.template.sizes import Room

MAX_KEY = 1000
"""Characters of a key as it is written; a simple key can have 1024 (YAML 1.2.2 §7.4.2)."""

# YAML 1.2.2 §5.1, what is not printable, with the line breaks of YAML 1.1 §4.2 and the tab.
_ESCAPED = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]')
_PART = 65_536
_SHORT = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def write_yaml(tree: object, values: Mapping[str, object] | None = None, room: Room | None = None) -> bytes:
    """Write a value as a YAML document in UTF-8.

    Args:
        tree: plain data, or a tree with templates.
        values: one contact's values, by scope, for the templates.
        room: limit for the size of each value, checked before it is written.

    Returns:
        One document without markers, ending with a line feed.

    Raises:
        RenderError: it is not plain data, or contains a number, key, or character that YAML does not allow.
    """
    writer = _Writer(values or {}, room)
    writer.write(tree, "", "")
    return bytes(writer.content)


class _Writer:
    """Writes values line by line, and fills templates one at a time, so that not all values are in memory at once."""

    def __init__(self, values: Mapping[str, object], room: Room | None) -> None:
        self.content = bytearray()
        self._values = values
        self._room = room

    def write(self, value: object, first: str, indent: str) -> None:
        """Add the lines of a value; the first one starts with ``first`` instead of its indent."""
        value = self._fill(value)
        if len(indent) > 2 * MAX_DEPTH:
            raise RenderError(f"the value is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping) and value:
            for key, item in value.items():
                self._write_member(key, item, (first or indent), indent)
                first = ""
        elif isinstance(value, (list, tuple)) and value:
            for index, item in enumerate(value):
                try:
                    self.write(item, f"{first or indent}- ", indent + "  ")
                except RenderError as error:
                    raise error.at(f"[{index}]") from None
                first = ""
        else:
            if self._room is not None and isinstance(value, str) and len(value) > SHORT:
                self._room.check(len(value))
            self._add(f"{first}{_scalar(value)}\n")

    def _write_member(self, key: object, value: object, start: str, indent: str) -> None:
        start = f"{start}{_key(key)}:"
        try:
            value = self._fill(value)
            if isinstance(value, (Mapping, list, tuple)) and value:
                self._add(f"{start}\n")
                self.write(value, "", indent + "  ")
            else:
                self.write(value, f"{start} ", indent)
        except RenderError as error:
            raise error.at(str(key)) from None

    def _fill(self, value: object) -> object:
        if value is None or isinstance(value, (str, bool, int, float, list, dict, tuple)):
            return value
        if isinstance(value, Data):
            return value.value
        return value.evaluate(self._values) if hasattr(value, "evaluate") else value

    def _add(self, line: str) -> None:
        encoded = line.encode()
        if self._room is not None:
            self._room.take(len(encoded))
        self.content += encoded


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise RenderError(f"the key {key!r} is not text; every key must be text")
    written = _quote(key)
    if len(written) > MAX_KEY:
        raise RenderError(f"the key {key[:40]!r}… has {len(written)} characters; a key in YAML can have {MAX_KEY}")
    return written


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _quote(value)
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


def _quote(text: str) -> str:
    utf8(text)
    if len(text) <= _PART:
        return f'"{_ESCAPED.sub(_escape, text)}"'
    # In parts: of a text that is nothing but signs to escape, re makes a list of every one.
    parts = (text[at : at + _PART] for at in range(0, len(text), _PART))
    return f'"{"".join(_ESCAPED.sub(_escape, part) for part in parts)}"'


def _escape(match: re.Match[str]) -> str:
    sign = match.group()
    return _SHORT.get(sign) or (f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}")

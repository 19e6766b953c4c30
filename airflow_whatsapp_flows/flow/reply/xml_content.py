"""XML replies as plain data, in time and memory linear in their size, whatever a server sends."""

from __future__ import annotations

import re
from typing import Any
from xml.parsers import expat

MAX_NODES = 50_000
"""Elements and attributes in one reply."""
MAX_ATTRIBUTES = 1_000
"""Attributes on one element."""
MAX_NAMESPACE = 1_000
"""Characters in a namespace name, which the parser copies for each element and attribute in that namespace."""

_PIECE = 65_536  # an error in a handler shows only when what the parser was given is read to its end

_SEPARATOR = "\x1f"  # no XML document can hold it
# XML 1.0 §4.3.3: the declaration is ASCII in every encoding that can be declared there, UTF-16 aside.
_DECLARED = re.compile(rb"<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]{0,39})[\"']")
_KNOWN_TO_EXPAT = frozenset({"utf-8", "utf-16", "utf-16le", "utf-16be", "iso-8859-1", "us-ascii", "ascii"})


class XmlReplyError(ValueError):
    """XML that is not read; the text says why."""


def read_xml(content: bytes, depth: int) -> Any:
    """The document as plain data.

    An element is an object, attributes are ``@name``, text beside them is ``#text``, an element that repeats is a
    list, and an element with nothing but text is that text. Namespaces are checked and left out.

    Args:
        content: one document, in the encoding that it declares.
        depth: levels of elements that are read.

    Raises:
        XmlReplyError: it is not well-formed, holds a DOCTYPE, has more levels, elements or attributes than are read,
            or a longer namespace.
    """
    content, encoding = _decodable(content)
    reader = _Reader(depth)
    parser = expat.ParserCreate(encoding, _SEPARATOR)
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartNamespaceDeclHandler = reader.namespace
    try:
        for start in range(0, len(content), _PIECE):
            parser.Parse(content[start : start + _PIECE], False)
            _check_tag(content, parser.CurrentByteIndex, start + _PIECE)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise XmlReplyError(f"does not parse: {reason} (line {error.lineno} column {error.offset + 1})") from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not know, or cannot undo
        raise (
            error if isinstance(error, XmlReplyError) else XmlReplyError("is not in the encoding it declares")
        ) from None
    return reader.document


def add_item(value: dict[str, Any], name: str, item: Any) -> None:
    """Put an item under a name; a name that repeats holds a list."""
    if name not in value:
        value[name] = item
    elif isinstance(value[name], list):
        value[name].append(item)
    else:
        value[name] = [value[name], item]


class _Reader:
    """Builds the document from the parser's events."""

    def __init__(self, depth: int) -> None:
        self.document: dict[str, Any] = {}
        self._depth = depth
        self._nodes = 0
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []

    def start(self, name: str, attributes: list[str]) -> None:
        count = len(attributes) // 2
        self._nodes += 1 + count
        if count > MAX_ATTRIBUTES:
            raise XmlReplyError(f"has an element with more than {MAX_ATTRIBUTES:,} attributes")
        if self._nodes > MAX_NODES:
            raise XmlReplyError(f"has more than {MAX_NODES:,} elements and attributes")
        if len(self._open) >= self._depth:
            raise XmlReplyError(f"is nested deeper than {self._depth} levels")
        names = (f"@{_local(attribute)}" for attribute in attributes[::2])
        self._open.append((_prefixed_name(name), dict(zip(names, attributes[1::2], strict=True)), []))

    def namespace(self, _: str | None, uri: str | None) -> None:
        if uri is not None and len(uri) > MAX_NAMESPACE:
            raise XmlReplyError(f"has a namespace of more than {MAX_NAMESPACE:,} characters")

    def text(self, text: str) -> None:
        self._open[-1][2].append(text)

    def end(self, _: str) -> None:
        name, value, texts = self._open.pop()
        text = "".join(texts).strip()
        if not value:
            item: Any = text or None
        else:
            item = {**value, "#text": text} if text else value
        add_item(self._open[-1][1] if self._open else self.document, name, item)

    def doctype(self, *_: object) -> None:
        raise XmlReplyError("contains a DOCTYPE, which is not allowed")


def _check_tag(content: bytes, start: int, end: int) -> None:
    """Refuse a tag that has not ended yet and has too many attributes already: the parser reads it in one go."""
    if (
        end - start > _PIECE
        and not content.startswith(b"<!", start)
        and (
            content.count(b"=", start, end) > 10 * MAX_ATTRIBUTES  # values may have some too
        )
    ):
        raise XmlReplyError(f"has an element with more than {MAX_ATTRIBUTES:,} attributes")


def _local(name: str) -> str:
    return name.split(_SEPARATOR)[1] if _SEPARATOR in name else name


def _prefixed_name(name: str) -> str:
    """``uri local prefix`` as ``prefix:local``."""
    parts = name.split(_SEPARATOR)
    if len(parts) == 3:
        return f"{parts[2]}:{parts[1]}"
    return parts[-1]


def _decodable(content: bytes) -> tuple[bytes, str | None]:
    """The content, and the encoding to read it in where its own declaration is not enough."""
    found = _DECLARED.match(content)
    declared = found.group(1).decode().lower() if found else ""
    if not declared or declared in _KNOWN_TO_EXPAT:
        return content, None
    try:
        return content.decode(declared).encode(), "utf-8"
    except (UnicodeError, LookupError):
        raise XmlReplyError("is not in the encoding it declares") from None

"""``xml``: an XML document (XML 1.0), parsed once and compiled to pieces, so that values can only become text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from airflow_whatsapp_flows.flow.body.encoded import (
    NO_FILES,
    SHORT,
    EncodedBody,
    FileContent,
    WithoutFiles,
    content_room,
)
from airflow_whatsapp_flows.flow.body.leaves import Leaf
from airflow_whatsapp_flows.flow.body.scalars import scalar_text
from airflow_whatsapp_flows.flow.body.xml_text import escape
from airflow_whatsapp_flows.flow.template.language import Template, Value
from airflow_whatsapp_flows.flow.template.sizes import Room

CONTENT_TYPE = "application/xml; charset=utf-8"
"""With the charset, which takes precedence over a declaration in the document (RFC 7303 §8.1)."""


@dataclass(frozen=True, slots=True)
class XmlLeaf:
    """A template in the text of an element or in the value of an attribute.

    Attributes:
        leaf: the template and its location, such as ``lead.name`` or ``lead.@id``.
        attribute: whether it is in an attribute.
    """

    leaf: Leaf
    attribute: bool

    def encode(self, values: Mapping[str, object], room: Room) -> bytes:
        """The escaped text for one contact.

        Raises:
            RenderError: the value is a list or an object, or contains a character that XML does not allow.
        """
        return self.leaf.encode(values, partial(self._escape, room))

    def _escape(self, room: Room, value: Value) -> bytes:
        text = scalar_text(value)
        if len(text) <= SHORT:
            short = escape(text, attribute=self.attribute).encode()
            room.take(len(short))
            return short
        room.take(len(text))
        escaped = escape(text, attribute=self.attribute).encode()
        room.take(len(escaped) - len(text))
        return escaped


@dataclass(frozen=True, slots=True)
class XmlBody(WithoutFiles):
    """An XML document.

    Attributes:
        pieces: the document to send, with a leaf for each value of a contact.
        literal: bytes that are the same for all contacts.
    """

    pieces: tuple[bytes | XmlLeaf, ...]
    literal: int

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it, in order."""
        return tuple(piece.leaf.template for piece in self.pieces if isinstance(piece, XmlLeaf))

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The document for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        room = content_room(self.literal)
        pieces = [piece if isinstance(piece, bytes) else piece.encode(values, room) for piece in self.pieces]
        return EncodedBody(b"".join(pieces), CONTENT_TYPE)

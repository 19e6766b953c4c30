"""``json``: a JSON value (RFC 8259), compiled to pieces that are joined for each contact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from json.encoder import encode_basestring as _quote

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import (
    NO_FILES,
    SHORT,
    EncodedBody,
    FileContent,
    WithoutFiles,
    content_room,
)
from airflow_whatsapp_flows.flow.body.faults import MAX_DEPTH, Path, where_of
from airflow_whatsapp_flows.flow.body.json_text import parse_json_text
from airflow_whatsapp_flows.flow.body.leaves import Leaf, templates_of, tree_of
from airflow_whatsapp_flows.flow.body.scalars import kind_of, number_text, utf8
from airflow_whatsapp_flows.flow.template.caged import CagedTemplate
from airflow_whatsapp_flows.flow.template.filters import json_text as written
from airflow_whatsapp_flows.flow.template.language import Data, Template, TemplateLanguage, Tree, TreeFault
from airflow_whatsapp_flows.flow.template.sizes import Room

_NOTHING: Mapping[str, object] = {}
CONTENT_TYPE = "application/json"
"""RFC 8259 §11 defines no charset parameter: JSON is UTF-8."""


@dataclass(frozen=True, slots=True)
class JsonBody(WithoutFiles):
    """A JSON value.

    Attributes:
        frame: the JSON to send in pieces, an empty one in the place of each value of a contact.
        slots: the places of these values, each with its scope and name if it is a variable and nothing else, and its
            leaf.
        templates: every template in it, in order.
        literal: bytes that are the same for all contacts.
    """

    frame: tuple[bytes, ...]
    slots: tuple[tuple[int, str, str, Leaf], ...]
    templates: tuple[Template, ...]
    literal: int = 0

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The JSON for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        room = content_room(self.literal)
        write = partial(_write_value, room)
        pieces = list(self.frame)
        for place, scope, name, leaf in self.slots:
            value = values.get(scope, _NOTHING).get(name) if scope else None  # type: ignore[attr-defined]  # a mapping
            if type(value) is str and len(value) <= SHORT and value.isascii():  # as most values are
                pieces[place] = text = _quote(value).encode("ascii")
                room.left -= len(text)
                if room.left >= 0:
                    continue
            pieces[place] = leaf.encode(values, write)  # says where there is no more room
        return EncodedBody(b"".join(pieces), CONTENT_TYPE)


def parse_json(body: object, language: TemplateLanguage) -> JsonBody:
    """Parse a JSON body: any JSON value, or text that is a JSON template.

    Empty text is empty content: the platform documents "GET with an empty JSON body".

    Raises:
        TemplateFault: the text is not JSON; has the offset.
        TreeFault: a leaf or a key cannot be sent; has the path.
    """
    if isinstance(body, str) and not body.strip():
        return JsonBody((), (), ())
    tree = parse_json_text(body, language) if isinstance(body, str) else tree_of(body, language)
    pieces = tuple(_merge(_pieces(tree, ())))
    frame = tuple(piece if isinstance(piece, bytes) else b"" for piece in pieces)
    slots = tuple(
        (place, *_variable_of(piece.template), piece) for place, piece in enumerate(pieces) if isinstance(piece, Leaf)
    )
    return JsonBody(frame, slots, templates_of(tree), sum(map(len, frame)))


def _variable_of(template: Template) -> tuple[str, str]:
    variable = template.variable if isinstance(template, CagedTemplate) else None
    return variable or ("", "")


def json_text(value: object, room: Room | None = None) -> str:
    """A value as compact JSON that can be encoded in UTF-8.

    Args:
        value: plain data.
        room: limit for the minimum size of the value, checked before it is written.

    Raises:
        RenderError: it is not plain data, or contains a number, key, or character that JSON does not allow.
    """
    if isinstance(value, str):
        _check_text(value, room)
        return _quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number_text(value)
    _check(value, room, 0)
    return written(value)


def _write_value(room: Room, value: object) -> bytes:
    if isinstance(value, str) and len(value) <= SHORT:
        short = json_text(value).encode()
        room.take(len(short))
        return short
    left = room.left
    encoded = json_text(value, room).encode()
    room.take(len(encoded) - (left - room.left))
    return encoded


def _check_text(text: str, room: Room | None) -> None:
    if room is not None:
        room.take(len(text))
    if not text.isascii():
        utf8(text)


def _check(value: object, room: Room | None, depth: int) -> None:
    """Check the size of a value and its validity as JSON before anything is written."""
    if isinstance(value, str):
        _check_text(value, room)
    elif value is None or isinstance(value, bool):
        pass
    elif isinstance(value, (int, float)):
        number_text(value)
    elif depth >= MAX_DEPTH:
        raise RenderError(f"the value is nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, Mapping):
        _take(room, 4 * len(value))
        for key, item in value.items():
            _check_key(key, room)
            _check_item(f"{key}", item, room, depth)
    elif isinstance(value, (list, tuple)):
        _take(room, len(value))
        for index, item in enumerate(value):
            _check_item(f"[{index}]", item, room, depth)
    else:
        raise RenderError(f"{kind_of(value)} cannot be sent; use text, numbers, true, false, null, lists and objects")


def _take(room: Room | None, size: int) -> None:
    if room is not None:
        room.take(size)


def _check_key(key: object, room: Room | None) -> None:
    # JSON encoders turn the key 1 into "1", which may already exist.
    if not isinstance(key, str):
        raise RenderError(f"the key {key!r} is not text; every key must be text")
    _take(room, len(key))
    utf8(key)


def _check_item(where: str, value: object, room: Room | None, depth: int) -> None:
    try:
        _check(value, room, depth + 1)
    except RenderError as error:
        raise error.at(where) from None


def _pieces(tree: Tree, path: Path) -> Iterator[str | Leaf]:
    if isinstance(tree, dict):
        yield "{"
        for index, (key, item) in enumerate(tree.items()):
            yield ("," if index else "") + _literal(key, (*path, key)) + ":"
            yield from _pieces(item, (*path, key))
        yield "}"
    elif isinstance(tree, list):
        yield "["
        for index, item in enumerate(tree):
            yield "," if index else ""
            yield from _pieces(item, (*path, index))
        yield "]"
    elif isinstance(tree, Data):
        yield _literal(tree.value, path)
    elif tree is None or isinstance(tree, (str, bool, int, float)):
        yield _literal(tree, path)
    else:
        yield Leaf(where_of(path), tree)


def _literal(value: object, path: Path) -> str:
    try:
        return json_text(value)
    except RenderError as error:
        raise TreeFault(str(error), path=path) from None


def _merge(pieces: Iterator[str | Leaf]) -> Iterator[bytes | Leaf]:
    literal: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            literal.append(piece)
        else:
            yield "".join(literal).encode()
            yield piece
            literal = []
    yield "".join(literal).encode()

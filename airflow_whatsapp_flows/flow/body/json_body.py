"""``json``: a JSON value (RFC 8259), compiled to pieces that are joined for each contact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from json.encoder import encode_basestring as _quote

import msgspec

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import (
    MAX_CONTENT,
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
from airflow_whatsapp_flows.flow.template.variables import Lookups

_SCALARS = frozenset((str, int, bool, type(None)))
_SHORT = 65_536
"""Values that have more characters than this in all are checked against the limit one by one."""
CONTENT_TYPE = "application/json"
"""RFC 8259 §11 defines no charset parameter: JSON is UTF-8."""


@dataclass(frozen=True, slots=True)
class JsonBody(WithoutFiles):
    """A JSON value.

    Attributes:
        frame: the JSON before, between and behind the values of a contact.
        leaves: these values.
        templates: every template in it, in order.
        variables: the leaves that are a variable and nothing else.
        computed: the other leaves, each with its number.
    """

    frame: tuple[bytes, ...]
    leaves: tuple[Leaf, ...]
    templates: tuple[Template, ...]
    variables: Lookups
    computed: tuple[tuple[int, Template], ...]

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The JSON for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        content = self._encode_scalars(values)
        return EncodedBody(self._encode_each(values) if content is None else content, CONTENT_TYPE)

    def _encode_scalars(self, values: Mapping[str, object]) -> bytes | None:
        """The JSON if all values are short and no lists, as most are; ``None`` if there is anything unusual."""
        try:
            found = self.variables.find(values)
            for number, template in self.computed:
                value = template.evaluate(values)
                if type(value) not in _SCALARS or len(str(value)) > _SHORT:
                    return None
                found.insert(number, value)
            if not _SCALARS.issuperset(map(type, found)) or sum(map(len, map(str, found))) > _SHORT:
                return None
            pieces = [*chain.from_iterable(zip(self.frame, map(msgspec.json.encode, found), strict=False))]
        except (LookupError, TypeError, ValueError, RenderError):
            return None
        content = b"".join([*pieces, *self.frame[-1:]])
        return content if len(content) <= MAX_CONTENT else None

    def _encode_each(self, values: Mapping[str, object]) -> bytes:
        """The JSON, value by value, within the limit; says which value cannot be sent."""
        write = partial(_write_value, content_room(sum(map(len, self.frame))))
        pieces = [leaf.encode(values, write) for leaf in self.leaves]
        return b"".join([*chain.from_iterable(zip(self.frame, pieces, strict=False)), *self.frame[-1:]])


def parse_json(body: object, language: TemplateLanguage) -> JsonBody:
    """Parse a JSON body: any JSON value, or text that is a JSON template.

    Empty text is empty content: the platform documents "GET with an empty JSON body".

    Raises:
        TemplateFault: the text is not JSON; has the offset.
        TreeFault: a leaf or a key cannot be sent; has the path.
    """
    if isinstance(body, str) and not body.strip():
        return JsonBody((), (), (), Lookups(), ())
    tree = parse_json_text(body, language) if isinstance(body, str) else tree_of(body, language)
    pieces = tuple(_merge(_pieces(tree, ())))
    frame = tuple(piece for piece in pieces if isinstance(piece, bytes))
    leaves = tuple(piece for piece in pieces if isinstance(piece, Leaf))
    variables: list[tuple[str, str]] = []
    computed: list[tuple[int, Template]] = []
    for number, leaf in enumerate(leaves):
        variable = leaf.template.variable if isinstance(leaf.template, CagedTemplate) else None
        if variable is None:
            computed.append((number, leaf.template))
        else:
            variables.append(variable)
    scopes, names = tuple(scope for scope, _ in variables), tuple(name for _, name in variables)
    return JsonBody(frame, leaves, templates_of(tree), Lookups(scopes, names), tuple(computed))


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

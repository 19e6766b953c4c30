"""``json``: a JSON value (RFC 8259), compiled to pieces so that one contact costs one join."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring as _quote

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import NO_FILES, EncodedBody, FileContent, WithoutFiles
from airflow_whatsapp_flows.flow.body.faults import MAX_DEPTH, Path, where_of
from airflow_whatsapp_flows.flow.body.json_text import parse_json_text
from airflow_whatsapp_flows.flow.body.leaves import Leaf, tree_of, written_templates
from airflow_whatsapp_flows.flow.body.scalars import kind_of, number_text, utf8
from airflow_whatsapp_flows.flow.template.language import Data, Template, TemplateLanguage, Tree, TreeFault

CONTENT_TYPE = "application/json"
"""RFC 8259 §11 defines no charset parameter: JSON is UTF-8."""


@dataclass(frozen=True, slots=True)
class JsonBody(WithoutFiles):
    """A JSON value.

    Attributes:
        pieces: JSON as it is sent, with a leaf where a contact's value goes; empty for an empty body.
        templates: every template in it, in order.
    """

    pieces: tuple[str | Leaf, ...]
    templates: tuple[Template, ...]

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The JSON for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        pieces = [piece if isinstance(piece, str) else piece.encode(values, json_text) for piece in self.pieces]
        return EncodedBody("".join(pieces).encode(), CONTENT_TYPE)


def parse_json(body: object, language: TemplateLanguage) -> JsonBody:
    """Parse a JSON body: any JSON value, or text that is a JSON template.

    Empty text is empty content: the platform documents "GET with an empty JSON body".

    Raises:
        TemplateFault: the text is not JSON; has the offset.
        TreeFault: a leaf or a key cannot be sent; has the path.
    """
    if isinstance(body, str) and not body.strip():
        return JsonBody((), ())
    tree = parse_json_text(body, language) if isinstance(body, str) else tree_of(body, language)
    return JsonBody(tuple(_merge(_pieces(tree, ()))), written_templates(tree))


def json_text(value: object, depth: int = 0) -> str:
    """A value as compact JSON that can be encoded in UTF-8.

    Args:
        value: plain data.
        depth: lists and objects that it stands in.

    Raises:
        RenderError: it is not plain data, or holds a number, a key or a character that JSON cannot carry.
    """
    if isinstance(value, str):
        if not value.isascii():
            utf8(value)
        return _quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number_text(value)
    if depth >= MAX_DEPTH:
        raise RenderError(f"the value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(key)}:{_item(f'{key}', item, depth)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_item(f"[{index}]", item, depth) for index, item in enumerate(value)) + "]"
    raise RenderError(f"{kind_of(value)} cannot be sent; use text, numbers, true, false, null, lists and objects")


def _key(key: object) -> str:
    # JSON encoders turn the key 1 into "1", which may be there already.
    if not isinstance(key, str):
        raise RenderError(f"the key {key!r} is not text; every key must be text")
    utf8(key)
    return _quote(key)


def _item(where: str, value: object, depth: int) -> str:
    try:
        return json_text(value, depth + 1)
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


def _merge(pieces: Iterator[str | Leaf]) -> Iterator[str | Leaf]:
    literal = ""
    for piece in pieces:
        if isinstance(piece, str):
            literal += piece
        else:
            yield literal
            yield piece
            literal = ""
    yield literal

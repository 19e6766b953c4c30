"""``form``: application/x-www-form-urlencoded, serialized by the WHATWG URL standard §5.2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote_plus

from airflow_whatsapp_flows.flow.body.encoded import (
    NO_FILES,
    SHORT,
    EncodedBody,
    FileContent,
    WithoutFiles,
    content_room,
)
from airflow_whatsapp_flows.flow.body.faults import check_length, text_fault
from airflow_whatsapp_flows.flow.body.fields import Field, parse_field, parse_fields
from airflow_whatsapp_flows.flow.body.leaves import templates_of, tree_at, tree_of, validate_name
from airflow_whatsapp_flows.flow.body.scalars import kind_of, utf8
from airflow_whatsapp_flows.flow.body.tokens import TokenText, find_spans
from airflow_whatsapp_flows.flow.template.language import Data, Template, TemplateFault, TemplateLanguage, TreeFault
from airflow_whatsapp_flows.flow.template.sizes import Room

CONTENT_TYPE = "application/x-www-form-urlencoded"

# WHATWG URL §1.3, application/x-www-form-urlencoded percent-encode set: RFC 3986's "~" is in it, "*" is not.
_KEPT = frozenset(b"*-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_ENCODED = [b"+" if byte == 0x20 else bytes([byte]) if byte in _KEPT else b"%%%02X" % byte for byte in range(256)]
_ONE_BYTE = bytes([0x20, *_KEPT])
_PART = 65_536


@dataclass(frozen=True, slots=True)
class FormBody(WithoutFiles):
    """Fields, joined by ``&``.

    Attributes:
        fields: in the order of the flow.
    """

    fields: tuple[Field, ...]

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in the fields' values."""
        return tuple(template for field in self.fields for template in templates_of(field.value))

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The form for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        room = content_room()
        content = bytearray()
        for field in self.fields:
            name = percent_encode(field.name) + b"="
            for text in field.encode(values, partial(percent_encode, room=room)):
                room.take(len(name) + 1)
                if content:
                    content += b"&"
                content += name
                content += text
        return EncodedBody(bytes(content), CONTENT_TYPE)


def percent_encode(text: str, room: Room | None = None) -> bytes:
    """Encode a name or a value: letters, digits, and ``*-._`` are kept, a space is ``+``, the rest is %XX of UTF-8.

    Args:
        text: any.
        room: limit for the size of the result, checked before it is created.

    Raises:
        RenderError: the text cannot be encoded in UTF-8.
    """
    plain = utf8(text)
    if len(plain) <= SHORT:
        short = b"".join([_ENCODED[byte] for byte in plain])
        if room is not None:
            room.take(len(short))
        return short
    if room is not None:
        room.take(len(plain) + 2 * len(plain.translate(None, _ONE_BYTE)))
    parts = (plain[at : at + _PART] for at in range(0, len(plain), _PART))
    return b"".join(b"".join([_ENCODED[byte] for byte in part]) for part in parts)


def parse_form(body: object, language: TemplateLanguage) -> FormBody:
    """Parse a form: an object, a list of ``[name, value]`` pairs, or text ``a=1&b={{ … }}``.

    Raises:
        TemplateFault: the text is not a form, or has a placeholder in a name.
        TreeFault: a name or a value cannot be sent; has the path.
    """
    if isinstance(body, str):
        return FormBody(_parse_text(body, language))
    if isinstance(body, (list, tuple)):
        return FormBody(tuple(_parse_pair(index, pair, language) for index, pair in enumerate(body)))
    if isinstance(body, Mapping):
        return FormBody(parse_fields(tree_of(body, language)))
    raise TemplateFault(
        f"a form must be an object, a list of [name, value] pairs, or text such as a=1&b=2, not {kind_of(body)}"
    )


def _parse_pair(index: int, pair: object, language: TemplateLanguage) -> Field:
    if isinstance(pair, Data):
        pair = pair.value
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise TreeFault(f"a pair must be a list of a name and a value, not {kind_of(pair)}", path=(index,))
    return parse_field(pair[0], tree_at((index, 1), pair[1], language), (index,), language)


def _parse_text(text: str, language: TemplateLanguage) -> tuple[Field, ...]:
    check_length(text)
    if text.lstrip().startswith("{") and not text.lstrip().startswith("{{"):
        raise text_fault(
            text, 0, 'the text of a form looks like a=1&b=2; to send an object, write it without quotes, or use "json"'
        )
    tokens = TokenText(text, find_spans(text, language))
    fields = []
    start = 0
    for pair in tokens.text.split("&"):
        if pair:
            fields.append(_parse_text_pair(pair, start, tokens, language))
        start += len(pair) + 1
    return tuple(fields)


def _parse_text_pair(pair: str, start: int, tokens: TokenText, language: TemplateLanguage) -> Field:
    name, _, value = pair.partition("=")
    offset = tokens.offset_of(start)
    try:
        name, value = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        raise tokens.fault("%XX in this field is not UTF-8; write the characters themselves", offset) from None
    try:
        validate_name(tokens.restore(name), (), language)
        return parse_field(name, tokens.parse(value, language, offset), (name,), language)
    except TreeFault as fault:
        raise tokens.fault(fault.message, offset) from None

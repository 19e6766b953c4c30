"""Parses the body of a flow, and infers its type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from airflow_whatsapp_flows.flow.body.encoded import ABSENT, Body, BodyType, EncodedBody, FileContent, FileSource
from airflow_whatsapp_flows.flow.body.faults import with_other_faults
from airflow_whatsapp_flows.flow.body.form import parse_form
from airflow_whatsapp_flows.flow.body.json_body import parse_json
from airflow_whatsapp_flows.flow.body.media_type import essence
from airflow_whatsapp_flows.flow.body.multipart_parser import parse_multipart
from airflow_whatsapp_flows.flow.body.plain import parse_none, parse_plain
from airflow_whatsapp_flows.flow.body.xml_parser import parse_xml
from airflow_whatsapp_flows.flow.body.yaml_body import parse_yaml
from airflow_whatsapp_flows.flow.template.language import LITERAL, Data, TemplateFault, TemplateLanguage
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders

__all__ = [
    "ABSENT",
    "Body",
    "BodyType",
    "EncodedBody",
    "FileContent",
    "FileSource",
    "infer_body_type",
    "parse_body",
]

_PARSERS: Mapping[BodyType, Callable[[object, TemplateLanguage], Body]] = {
    BodyType.JSON: parse_json,
    BodyType.FORM: parse_form,
    BodyType.MULTIPART: parse_multipart,
    BodyType.XML: parse_xml,
    BodyType.YAML: parse_yaml,
    BodyType.PLAIN: parse_plain,
    BodyType.NONE: parse_none,
}

_BY_MEDIA_TYPE: Mapping[str, BodyType] = {
    "application/json": BodyType.JSON,
    "text/json": BodyType.JSON,
    "application/x-www-form-urlencoded": BodyType.FORM,
    "multipart/form-data": BodyType.MULTIPART,
    "application/xml": BodyType.XML,
    "text/xml": BodyType.XML,
    "application/yaml": BodyType.YAML,
    "application/x-yaml": BodyType.YAML,
    "text/yaml": BodyType.YAML,
    "text/x-yaml": BodyType.YAML,
}
# Structured syntax suffixes: RFC 6839 §3.1, RFC 7303 §4.2, RFC 9512 §2.2.
_BY_SUFFIX = {"+json": BodyType.JSON, "+xml": BodyType.XML, "+yaml": BodyType.YAML}
# Names and values without blanks, as forms have them once they are encoded; "YQ==" is none.
_FORM = re.compile(r"[\w.%+*\[\]-]+=[^\s=&<>{}\"]+(?:&[\w.%+*\[\]-]+=[^\s=&<>{}\"]*)*")


def parse_body(body_type: BodyType, body: object, language: TemplateLanguage) -> Body:
    """Parse a flow's body once, to encode it for many contacts.

    Args:
        body_type: from the flow, or from :func:`infer_body_type`.
        body: plain data or text with placeholders; :class:`Data` anywhere in it, or all of it, is literal;
            :data:`ABSENT` if the step has none.
        language: the language of its texts.

    Returns:
        The body; immutable, and the same for all contacts.

    Raises:
        TemplateFault: the body's text cannot be parsed, or the body does not fit its type; has the offset.
        TreeFault: a value or a name in the body's data cannot be sent; has the path.
    """
    if body is ABSENT and body_type is not BodyType.NONE:
        raise TemplateFault(
            f'"body_type" is "{body_type.value}", but there is no body; add one, or set "body_type": "none"'
        )
    if isinstance(body, Data):
        return _PARSERS[body_type](body.value, LITERAL)
    try:
        return _PARSERS[body_type](body, language)
    except TemplateFault as fault:
        if isinstance(body, str):
            raise with_other_faults(body, fault, language) from None
        raise


def infer_body_type(body: object, content_type: str | None) -> BodyType:
    """Infer the body type of a step without one, such as in the platform's records.

    Args:
        body: as in :func:`parse_body`. ``None`` and empty text count as absent, because the platform's
            record has one nullable text.
        content_type: value of the step's own header ``Content-Type``, if it has one.

    Returns:
        ``none`` without a body, whatever the header; else what the header says; else what the body's
        shape says: data is JSON, text that begins as JSON or XML is that, ``a=1&b=2`` is a form, other text is plain.
    """
    if isinstance(body, Data):
        body = body.value
    if body is ABSENT or body is None:
        return BodyType.NONE
    if content_type is not None and (declared := _by_media_type(essence(content_type))):
        return declared
    if not isinstance(body, str):
        return BodyType.JSON
    text = body.strip()
    if not text:
        return BodyType.NONE
    # "{{" opens a placeholder: no JSON object begins with it.
    if text[0] in "{[" and not text.startswith(("{{", "{%")):
        return BodyType.JSON
    if text[0] == "<":
        return BodyType.XML
    return BodyType.FORM if _looks_like_a_form(text) else BodyType.PLAIN


def _looks_like_a_form(text: str) -> bool:
    try:
        found = list(find_placeholders(text))
    except TemplateFault:
        return False
    pieces, at = [], 0
    for placeholder in found:
        pieces += [text[at : placeholder.start], "x"]
        at = placeholder.end
    return _FORM.fullmatch("".join([*pieces, text[at:]])) is not None


def _by_media_type(media_type: str) -> BodyType | None:
    for suffix, body_type in _BY_SUFFIX.items():
        if media_type.endswith(suffix):
            return body_type
    return _BY_MEDIA_TYPE.get(media_type) or (BodyType.PLAIN if media_type.startswith("text/") else None)

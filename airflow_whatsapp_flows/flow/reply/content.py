"""The content of a reply as plain data, by its Content-Type (RFC 9110 §8.3)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Any

from airflow_whatsapp_flows.flow.json_values import JsonReplyError, read_json
from airflow_whatsapp_flows.flow.reply.xml_content import XmlReplyError, add_item, read_xml
from airflow_whatsapp_flows.flow.request.messages import HttpResponse
from airflow_whatsapp_flows.flow.storable import MAX_DEPTH, UnparsableContent, clean, is_storable_json, storable_text
from airflow_whatsapp_flows.flow.template.language import Value

MAX_YAML_BYTES = 262_144
MAX_FIELDS = 50_000
"""Fields of a form."""
# Python's own encodings: one decodes in quadratic time, one is none, and none is a charset of the Web.
_NO_CHARSET = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._-]+)", re.IGNORECASE)
_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")


def parse_content(response: HttpResponse) -> Value:
    """The content of a reply: JSON, XML, YAML and form as plain data, everything else as text.

    Empty content is ``None``, whatever its type. XML follows the usual convention: an element is an object,
    attributes are ``@name``, text beside them is ``#text``, and an element that repeats is a list.

    Raises:
        UnparsableContent: it does not parse, or is nested deeper than 64 levels.
    """
    content = response.content
    if not content.strip():
        return None
    content_type = response.header("content-type") or ""
    media_type = content_type.partition(";")[0].strip().lower()
    parse = _parser(media_type)
    if parse is None:
        return storable_text(_text(content, content_type))
    try:
        value: Value = parse(content)
    except RecursionError:
        raise UnparsableContent(f"it is nested deeper than {MAX_DEPTH} levels") from None
    if parse is not _json or not is_storable_json(content):
        value = clean(value, MAX_DEPTH)
    return value


def _parser(media_type: str) -> Callable[[bytes], Any] | None:
    subtype = media_type.partition("/")[2]
    if subtype == "json" or subtype.endswith("+json"):
        return _json
    if subtype == "xml" or subtype.endswith("+xml"):
        return _xml
    if subtype in ("yaml", "x-yaml", "vnd.yaml") or subtype.endswith("+yaml"):
        return _yaml
    if subtype == "x-www-form-urlencoded":
        return _form
    return None


def _json(content: bytes) -> Any:
    try:
        return read_json(content)
    except JsonReplyError as error:
        raise UnparsableContent(f"it is declared as JSON, but {error}") from None


def _form(content: bytes) -> Any:
    """Fields by the URL Standard (§5.1); a name without a value has an empty one."""
    if content.count(b"&") >= MAX_FIELDS:
        raise UnparsableContent(f"it has more than {MAX_FIELDS:,} form fields")
    value: dict[str, Any] = {}
    for field in content.split(b"&"):
        if field:
            name, _, item = field.replace(b"+", b" ").partition(b"=")
            add_item(value, _unescape(name), _unescape(item))
    return value


def _unescape(text: bytes) -> str:
    # urllib makes an object of its own for each escape, and joining bytes takes 80 of them for each: bytes as letters.
    return _ESCAPED.sub(_unescape_match, text.decode("latin-1")).encode("latin-1").decode("utf-8", "replace")


def _unescape_match(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _xml(content: bytes) -> Any:
    try:
        return read_xml(content, MAX_DEPTH)
    except XmlReplyError as error:
        raise UnparsableContent(f"it is declared as XML, but {error}") from None


def _yaml(content: bytes) -> Any:
    from airflow_whatsapp_flows.flow.body.yaml_text import YamlTextError, load_yaml

    if len(content) > MAX_YAML_BYTES:
        raise UnparsableContent(f"YAML of {len(content):,} bytes; at most {MAX_YAML_BYTES:,} are read")
    try:
        return load_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UnparsableContent("it is declared as YAML, but is not UTF-8") from None
    except YamlTextError as error:
        raise UnparsableContent(f"it is declared as YAML, but {error}") from None


def _text(content: bytes, content_type: str) -> str:
    declared = _CHARSET.search(content_type)
    for charset in (declared.group(1) if declared else "utf-8-sig", "utf-8-sig"):
        try:
            if codecs.lookup(charset).name.replace("_", "-") not in _NO_CHARSET:
                return content.decode(charset).removeprefix("\ufeff")
        except (UnicodeError, LookupError):
            continue
    return content.decode("latin-1")

"""The content of a reply as plain data, by its Content-Type (RFC 9110 §8.3)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Any

from airflow_whatsapp_flows.flow.exchange import HttpResponse
from airflow_whatsapp_flows.flow.json_reply import JsonReplyError, read_json
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.xml_reply import XmlReplyError, add_item, read_xml

MAX_DEPTH = 64
MAX_YAML_BYTES = 262_144
MAX_FIELDS = 50_000
"""Fields of a form."""
# Python's own encodings: one decodes in quadratic time, one is none, and none is a charset of the Web.
_NO_CHARSET = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._-]+)", re.IGNORECASE)
# Databases refuse them: PostgreSQL has no NUL in text, and half of a surrogate pair is not UTF-8.
_RESERVED_KEYS = frozenset({"__classname__", "__id__"})
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")


class UnparsableContent(ValueError):
    """Content that is not what its Content-Type says; the text says why."""


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
        value = parse(content)
    except RecursionError:
        raise UnparsableContent(f"it is nested deeper than {MAX_DEPTH} levels") from None
    return clean(value, MAX_DEPTH)


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


def storable_text(text: str) -> str:
    """A text that every database keeps: U+FFFD stands for NUL and for halves of surrogate pairs."""
    text = text.replace("\0", "\ufffd")
    # Most texts are ASCII, which costs a fifth to find out; and a search that finds nothing makes no copy.
    return text if text.isascii() or _SURROGATE.search(text) is None else _SURROGATE.sub("\ufffd", text)


def storable_key(key: str) -> str:
    """A key that Airflow's XCom keeps: it reserves two for classes, and refuses a whole value that holds one."""
    return f"_{key}" if key in _RESERVED_KEYS else storable_text(key)


def clean(value: Any, depth: int) -> Value:
    """The value as every database can store it, refused where it is nested too deeply.

    What needs no change is not copied: a reply takes memory once.

    Raises:
        UnparsableContent: it is nested deeper than ``depth`` levels.
    """
    if isinstance(value, str):
        return storable_text(value)
    if not isinstance(value, (dict, list)):
        scalar: Value = value
        return scalar
    if depth == 0:
        raise UnparsableContent(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return _clean_list(value, depth - 1)
    return _clean_object(value, depth - 1)


def _clean_list(items: list[Any], depth: int) -> list[Value]:
    for index, item in enumerate(items):
        if clean(item, depth) is not item:
            return [*items[:index], *(clean(other, depth) for other in items[index:])]
    return items


def _clean_object(members: dict[str, Any], depth: int) -> dict[str, Value]:
    for key, item in members.items():
        if storable_key(key) is not key or clean(item, depth) is not item:
            return {storable_key(name): clean(other, depth) for name, other in members.items()}
    return members


def _json(content: bytes) -> Any:
    try:
        return read_json(content)
    except JsonReplyError as error:
        raise UnparsableContent(f"it is declared JSON, but {error}") from None


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
    return _ESCAPED.sub(_escaped, text.decode("latin-1")).encode("latin-1").decode("utf-8", "replace")


def _escaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _xml(content: bytes) -> Any:
    try:
        return read_xml(content, MAX_DEPTH)
    except XmlReplyError as error:
        raise UnparsableContent(f"it is declared XML, but {error}") from None


def _yaml(content: bytes) -> Any:
    from airflow_whatsapp_flows.flow.body.yaml_text import YamlTextError, load_yaml

    if len(content) > MAX_YAML_BYTES:
        raise UnparsableContent(f"YAML of {len(content):,} bytes; at most {MAX_YAML_BYTES:,} are read")
    try:
        return load_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UnparsableContent("it is declared YAML, but is not UTF-8") from None
    except YamlTextError as error:
        raise UnparsableContent(f"it is declared YAML, but {error}") from None


def _text(content: bytes, content_type: str) -> str:
    declared = _CHARSET.search(content_type)
    for charset in (declared.group(1) if declared else "utf-8-sig", "utf-8-sig"):
        try:
            if codecs.lookup(charset).name.replace("_", "-") not in _NO_CHARSET:
                return content.decode(charset).removeprefix("\ufeff")
        except (UnicodeError, LookupError):
            continue
    return content.decode("latin-1")

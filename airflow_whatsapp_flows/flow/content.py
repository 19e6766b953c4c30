"""The content of a reply as plain data, by its Content-Type (RFC 9110 §8.3)."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from airflow_whatsapp_flows.flow.exchange import HttpResponse
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.xml_reply import XmlReplyError, add_item, read_xml

MAX_DEPTH = 64
MAX_YAML_BYTES = 262_144
# Python's own encodings: one decodes in quadratic time, one is none, and none is a charset of the Web.
_NO_CHARSET = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._-]+)", re.IGNORECASE)
# Databases refuse them: PostgreSQL has no NUL in text, and half of a surrogate pair is not UTF-8.
_RESERVED_KEYS = frozenset({"__classname__", "__id__"})
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


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
    # Most texts have neither, which costs a fifth to find out.
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text)


def storable_key(key: str) -> str:
    """A key that Airflow's XCom keeps: it reserves two for classes, and refuses a whole value that holds one."""
    return f"_{key}" if key in _RESERVED_KEYS else storable_text(key)


def clean(value: Any, depth: int) -> Value:
    """A copy that every database can store, refused where it is nested too deeply.

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
        return [clean(item, depth - 1) for item in value]
    return {storable_key(key): clean(item, depth - 1) for key, item in value.items()}


def _json(content: bytes) -> Any:
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding)
        if text.startswith("\ufeff"):
            raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
        return _read_json(text)
    except UnicodeDecodeError:
        raise UnparsableContent(f"it is declared JSON, but is not {encoding}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise UnparsableContent(f"it is declared JSON, but does not parse: {error.msg} ({place})") from None
    except UnparsableContent:
        raise
    except ValueError:
        raise UnparsableContent("it holds a number of too many digits") from None


def _refuse(word: str) -> None:
    raise UnparsableContent(f"it is declared JSON, but {word} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnparsableContent(f"the number {text} is too large")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise UnparsableContent("an object in it has the same key twice")
    return value


# json.loads makes a decoder for each call that says how to decode: 2 µs.
_read_json = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object).decode


def _form(content: bytes) -> Any:
    value: dict[str, Any] = {}
    for name, item in parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True):
        add_item(value, name, item)
    return value


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

"""The filter ``from_json``: parses JSON text, with the limits of a reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Undefined

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.json_values import JsonReplyError, read_json
from airflow_whatsapp_flows.flow.storable import MAX_DEPTH, UnparsableContent, clean
from airflow_whatsapp_flows.flow.template.language import Value


def from_json(value: object, *fallback: Value) -> Any:
    """Parse JSON text; any other value is returned unchanged.

    Raises:
        MissingValueError: the value is missing.
        RenderError: it is not JSON, and there is no fallback.
    """
    if isinstance(value, Undefined):
        if fallback:
            return fallback[0]
        raise MissingValueError(f"{value._undefined_hint} for this contact")
    if not isinstance(value, str):
        return value
    try:
        return _parse(value)
    except (JsonReplyError, UnparsableContent) as error:
        if fallback:
            return fallback[0]
        # The value is personal data: the message describes the problem without quoting it.
        raise RenderError(
            f"a text of {len(value)} characters is not JSON ({error}); to allow this, give from_json a default: "
            "from_json(none)"
        ) from None


def _parse(text: str) -> Value:
    if "\0" in text:  # zeros determine the encoding of bytes
        raise JsonReplyError("contains a NUL character")
    try:
        value: Value = clean(read_json(text.encode()), MAX_DEPTH)
        return value
    except UnicodeEncodeError:
        raise JsonReplyError("contains half of a surrogate pair") from None
    except RecursionError:
        raise JsonReplyError(f"is nested deeper than {MAX_DEPTH} levels") from None


def size_of(value: object) -> int:
    """Bytes of all objects in newly created plain data."""
    size, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        size += item.__sizeof__()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, Mapping):
            waiting.extend(item.values())
    return size

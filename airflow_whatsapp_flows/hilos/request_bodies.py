"""The body of a recorded request: one text whose type is not recorded."""

from __future__ import annotations

import json

from airflow_whatsapp_flows.flow.body import BodyType, infer_body_type
from airflow_whatsapp_flows.flow.strict_json import parse_strict_json
from airflow_whatsapp_flows.hilos.record import Record
from airflow_whatsapp_flows.hilos.record_masking import MASK, mask_placeholders
from airflow_whatsapp_flows.hilos.record_versions import Plain
from airflow_whatsapp_flows.hilos.secret_spans import body_spans
from airflow_whatsapp_flows.hilos.secrets import SecretStore

_BODY = "action_request_body"


def request_body(record: Record, headers: Plain | dict[str, str], secrets: SecretStore) -> Plain:
    """Return the key ``body`` of an action, if any; without ``body_type``, because loading infers the same type.

    Args:
        headers: headers in the flow.
        secrets: receives the secrets found in the body.
    """
    text = _text(record)
    if text is None:
        return {}
    content_type = _content_type(record, headers)
    body_type = infer_body_type(text, content_type)
    text = secrets.hide(record, _BODY, text, body_spans(mask_placeholders(text, record.syntax), body_type))
    reason = f"from the Content-Type header, {content_type}" if content_type else "from its content"
    if body_type is BodyType.PLAIN and content_type is None:
        reason = "there is no Content-Type header, and it does not look like JSON or XML"
    record.note("inferred", _BODY, f"its type is {body_type.value}: {reason}")
    return {"body": _nicer(record, text, body_type)}


def _text(record: Record) -> str | None:
    value = record.raw.get(_BODY)
    if isinstance(value, (dict, list)):
        record.take(_BODY)
        record.note("inferred", _BODY, "it is data, not text; it is treated as JSON")
        return record.rename_references(json.dumps(value, ensure_ascii=False), _BODY) if value else None
    if isinstance(value, str) and value and not value.strip():
        record.take(_BODY)
        record.note("inferred", _BODY, "it is blank, so no body is sent")
        return None
    return record.text(_BODY)


def _content_type(record: Record, headers: Plain | dict[str, str]) -> str | None:
    written = next((str(value) for name, value in headers.items() if name.lower() == "content-type"), None)
    if written is not None and MASK in mask_placeholders(written, record.syntax):
        return None  # as in the flow: only literal text can be inspected
    return written


def _nicer(record: Record, text: str, body_type: BodyType) -> object:
    """Return the body as data if that is sent as the same bytes, otherwise as text."""
    if body_type in (BodyType.FORM, BodyType.MULTIPART):
        return _fields(record, text)
    if body_type is not BodyType.JSON or text.strip()[:1] not in ("{", "["):
        return text
    value = _parse(text)
    return text if value is None or not _means_the_same(value, record) else value


def _fields(record: Record, text: str) -> object:
    """Read form fields, which the editor stores as an object."""
    value = _parse(text) if text.strip()[:1] == "{" else None
    if not isinstance(value, dict) or any(isinstance(item, (dict, list)) for item in value.values()):
        return text
    record.note("inferred", _BODY, "it is a JSON object, and its members become the fields of the form")
    return value


def _means_the_same(value: object, record: Record) -> bool:
    """Whether sending the data gives the same bytes as sending its JSON text.

    In JSON text a quoted placeholder is always text; in data a placeholder that is the whole value keeps its type.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if any(MASK in mask_placeholders(key, record.syntax) or "{%" in key for key in item):
                return False
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str):
            hidden = mask_placeholders(item, record.syntax)
            if hidden and not hidden.strip(MASK):
                return False
            # Quotes and escapes inside a placeholder are ambiguous.
            if MASK in hidden and ("\\" in item or '"' in item):
                return False
    return True


def _parse(text: str) -> object:
    """Parse a JSON text; ``None`` if it cannot be written as data."""
    try:
        return parse_strict_json(text)
    except (ValueError, RecursionError):
        return None

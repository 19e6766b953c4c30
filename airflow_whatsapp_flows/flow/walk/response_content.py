"""The content of a contact response: what a flow can read of it, by which a changed response is told from the old one.

``created_on`` is no content: no step reads it, and a row that was only exported anew is the same response.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import msgspec

from airflow_whatsapp_flows.flow.phones import has_several_phones
from airflow_whatsapp_flows.flow.walk.response import KEYS, ContactResponse, read_response

_NOT_CONTENT = "created_on"
_parts_of = attrgetter(*("global_variables" if key == "global" else key for key in KEYS))


def response_value(response: ContactResponse) -> dict[str, Any]:
    """A response as plain data, what is empty left out; :func:`read_response` reads it back.

    The keys keep their order, which an answer that is an object is sent in.
    """
    value = {key: item for key, item in zip(KEYS, _parts_of(response), strict=True) if item}
    if response.history:
        history = response.history.items()
        value["history"] = [{"step": step, "value": answer} for step, answers in history for answer in answers]
    return value


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of :func:`response_value`."""

    id: str | None = None
    contact: dict[str, Any] = {}
    step: dict[str, Any] = {}
    global_variables: dict[str, Any] = msgspec.field(name="global", default_factory=dict)
    flow_execution_variables: dict[str, Any] = {}
    created_on: str | None = None


_STORED = msgspec.json.Decoder(_Stored)


def read_stored_response(text: str) -> ContactResponse:
    """Read the JSON of :func:`response_value`, as the ledger stores it.

    Raises:
        ResponseError: it is no contact response.
    """
    try:
        stored = _STORED.decode(text)
    except msgspec.ValidationError:  # it has a history, actions, or exits, or is none of ours
        return read_response(msgspec.json.decode(text))
    if any(has_several_phones(stored.contact.get(key)) for key in ("phone", "canonical_phone")):
        return read_response(msgspec.json.decode(text))  # says so
    return ContactResponse(
        id=stored.id or None,
        contact=stored.contact,
        step=stored.step,
        global_variables=stored.global_variables,
        flow_execution_variables=stored.flow_execution_variables,
        created_on=stored.created_on or None,
    )


def content_digest(response: ContactResponse) -> str:
    """Equal for two responses of the same content, in whatever order their keys are."""
    return digest_of(response_value(response))


def digest_of(value: Mapping[str, Any]) -> str:
    """The digest of a response's content.

    Args:
        value: of :func:`response_value`.
    """
    content = {key: item for key, item in value.items() if key != _NOT_CONTENT}
    return _digest(content)


def is_content(response: ContactResponse, digest: str | None) -> bool:
    """Whether a digest that the ledger keeps is that of a response's content.

    Args:
        response: any.
        digest: of :func:`content_digest`; of an earlier version, to which ``created_on`` was content; ``None`` where
            the ledger does not know the content, which is then taken to be the same.
    """
    return digest is None or digest == content_digest(response) or digest == _digest(response_value(response))


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]

"""The content of a contact response: what a flow can read of it, by which a changed response is told from the old one.

``created_on`` is no content: no step reads it, and a row that was only exported anew is the same response.
"""

from __future__ import annotations

import hashlib
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from airflow_whatsapp_flows.flow.walk.response import KEYS, ContactResponse, PlainResponse, read_response

_NOT_CONTENT = "created_on"
_parts_of = attrgetter(*ContactResponse.__struct_fields__)


def response_value(response: ContactResponse) -> dict[str, Any]:
    """A response as plain data, what is empty left out; :func:`read_response` reads it back.

    The keys keep their order, which an answer that is an object is sent in. msgspec writes a response without history
    in the same way.
    """
    value = {key: item for key, item in zip(KEYS, _parts_of(response), strict=True) if item}
    if response.history:
        history = response.history.items()
        value["history"] = [{"step": step, "value": answer} for step, answers in history for answer in answers]
    return value


_STORED = msgspec.json.Decoder(PlainResponse)


def read_stored_response(text: str) -> ContactResponse:
    """Read the JSON of :func:`response_value`, as the ledger stores it.

    Raises:
        ResponseError: it is no contact response.
    """
    try:
        response = _STORED.decode(text).as_response()
    except msgspec.ValidationError:  # it has a history, actions, or exits, or is none of ours
        response = None
    return response or read_response(msgspec.json.decode(text))


def response_json(response: ContactResponse) -> str:
    """The JSON of :func:`response_value`."""
    return msgspec.json.encode(response_value(response) if response.history else response).decode()


def content_digest(response: ContactResponse) -> str:
    """Equal for two responses of the same content, in whatever order their keys are."""
    if not response.history:
        return _digest(replace(response, created_on=None))
    value = response_value(response)
    value.pop(_NOT_CONTENT, None)
    return _digest(value)


def is_content(response: ContactResponse, digest: str | None) -> bool:
    """Whether a digest that the ledger keeps is that of a response's content.

    Args:
        response: any.
        digest: of :func:`content_digest`; of an earlier version, to which ``created_on`` was content; ``None`` where
            the ledger does not know the content, which is then taken to be the same.
    """
    return digest is None or digest == content_digest(response) or digest == _digest(response_value(response))


def _digest(value: dict[str, Any] | ContactResponse) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:32]

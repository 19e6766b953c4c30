"""The content of a contact response: what a flow can read of it, by which a changed response is told from the old one.

``created_on`` is no content: no step reads it, and a row that was only exported anew is the same response.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from airflow_whatsapp_flows.flow.walk.response import ContactResponse

_NOT_CONTENT = "created_on"


def response_value(response: ContactResponse) -> dict[str, Any]:
    """A response as plain data, what is empty left out; :func:`read_response` reads it back.

    The keys keep their order, which an answer that is an object is sent in.
    """
    value = {
        "id": response.id,
        "contact": response.contact,
        "step": response.step,
        "global": response.global_variables,
        "flow_execution_variables": response.flow_execution_variables,
        "created_on": response.created_on,
        "history": [{"step": step, "value": value} for step, answers in response.history.items() for value in answers],
        "actions": response.actions,
        "exits": response.exits,
    }
    return {key: item for key, item in value.items() if item}


def content_digest(response: ContactResponse) -> str:
    """Equal for two responses of the same content, in whatever order their keys are."""
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


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]

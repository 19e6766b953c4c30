"""The raw fields of a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_whatsapp_flows.errors import ConnectionConfigError

CONNECTION_TYPE = "whatsapp_action"


@dataclass(frozen=True, slots=True)
class ConnectionFields:
    """The fields of an Airflow connection, as plain data.

    Attributes:
        type: such as ``http`` or ``whatsapp_action``.
        host: host, ``host/path`` or a whole URL.
        schema: ``http`` or ``https``.
        extra: JSON object.
    """

    id: str
    type: str = "http"
    host: str | None = None
    schema: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def unusable(fields: ConnectionFields, name: str, expected: str) -> ConnectionConfigError:
    """Return the error about a field; it does not show the value, which may be a secret."""
    return ConnectionConfigError(f"connection {fields.id!r}: {name} must be {expected}")

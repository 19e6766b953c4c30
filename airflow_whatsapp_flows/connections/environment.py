"""Connections from ``AIRFLOW_CONN_…`` variables, read as Airflow reads them but without Airflow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from airflow_whatsapp_flows.connections.fields import ConnectionFields
from airflow_whatsapp_flows.errors import ConnectionConfigError


def connection_from_environment(conn_id: str, environ: Mapping[str, str] | None = None) -> ConnectionFields:
    """Read a connection from ``AIRFLOW_CONN_<ID>``, in Airflow's URI or JSON form, without Airflow.

    Args:
        conn_id: its id, in upper or lower case.
        environ: environment variables; the process's own by default.

    Raises:
        ConnectionConfigError: the variable is not set or cannot be read. Airflow's database and secrets backends
            are not searched.
    """
    environ = os.environ if environ is None else environ
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = environ.get(variable, "").strip()
    if not text:
        raise ConnectionConfigError(
            f"connection {conn_id!r} is not known: set {variable}, for example to https://user:secret@crm.example "
            "(connections in Airflow's database and secrets backends are not available here)"
        )
    try:
        return _from_json(conn_id, text) if text.startswith("{") else _from_uri(conn_id, text)
    except ValueError as error:
        raise ConnectionConfigError(f"{variable} cannot be read: {error}") from None


def _from_json(conn_id: str, text: str) -> ConnectionFields:
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("it starts with '{' but is not JSON") from None
    if isinstance(value.get("uri"), str):
        return _from_uri(conn_id, value["uri"])
    for key in ("conn_type", "host", "schema", "login", "password"):
        if not isinstance(value.get(key), (str, type(None))):
            raise ValueError(f"{key} must be text")
    port = value.get("port")
    if isinstance(port, (bool, float)) or not str(port or "0").isdecimal():
        raise ValueError("port must be an integer")
    return ConnectionFields(
        id=conn_id,
        type=_type(value.get("conn_type") or ""),
        host=value.get("host"),
        schema=value.get("schema"),
        port=int(port) if port not in (None, "") else None,
        login=value.get("login"),
        password=value.get("password"),
        extra=_extra(value.get("extra"), "extra"),
    )


def _extra(extra: object, name: str) -> dict[str, Any]:
    if isinstance(extra, str) and extra:
        try:
            extra = json.loads(extra)
        except ValueError:  # the value may be a secret
            raise ValueError(f"{name} is not JSON") from None
    if not isinstance(extra or {}, dict):
        raise ValueError(f"{name} must be a JSON object")
    return dict(extra or {})  # type: ignore[call-overload,no-any-return]


def _from_uri(conn_id: str, text: str) -> ConnectionFields:
    parts, rest = _split(text), text.partition("://")[2]
    if not parts.scheme:
        raise ValueError(
            "it is not a URI; the scheme is the connection type, with '-' instead of '_': whatsapp-action://…"
        )
    prefix = ""
    if "://" in rest:
        # Airflow writes the host's own scheme after the connection type: http://https://crm.example
        prefix, _, rest = rest.partition("://")
        parts, kind = _split(f"//{rest}"), parts.scheme
        prefix += "://"
    else:
        kind = parts.scheme
    host = unquote(parts.hostname or "")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return ConnectionFields(
        id=conn_id,
        type=_type(kind),
        host=f"{prefix}{host}" if host else None,
        schema=unquote(parts.path[1:]) or None,
        port=parts.port,
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        extra=_extra(query["__extra__"], "__extra__") if "__extra__" in query else query,
    )


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # its message shows the text at fault, which may be part of a password
        raise ValueError("its host or port is invalid; percent-encode the login and password") from None
    return parts


def _type(text: str) -> str:
    # A hyphen stands for the underscore that a URI's scheme may not hold (RFC 3986 §3.1).
    return text.replace("-", "_").lower() or "http"

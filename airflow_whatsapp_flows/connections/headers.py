"""The headers of a connection: those it lists, and those made from its credentials."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from airflow_whatsapp_flows.connections.fields import CONNECTION_TYPE, ConnectionFields, unusable
from airflow_whatsapp_flows.errors import ConnectionConfigError, RenderError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.request.headers import MAX_VALUE, check_name, check_value
from airflow_whatsapp_flows.flow.request.messages import Headers

# Extra keys of a plain "http" connection that HttpHook takes as options; it sends every other one as a header.
_HTTP_OPTIONS = frozenset(
    [
        "stream",
        "cert",
        "proxies",
        "proxy",
        "timeout",
        "verify",
        "verify_ssl",
        "allow_redirects",
        "max_redirects",
        "trust_env",
        "check_response",
        "srv_lookup",
        "headers",
    ]
)
_ACTION_OPTIONS = _HTTP_OPTIONS | {"auth", "auth_header", "header_name"}
_AUTH_KINDS = ("none", "basic", "bearer", "header")


def connection_headers(fields: ConnectionFields) -> Headers:
    """Return the headers that a connection lists and those made from its credentials.

    Raises:
        ConnectionConfigError: a header is invalid, or a credential is missing; the message names the connection and the
            header.
    """
    listed = fields.extra.get("headers") or {}
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except ValueError:
            listed = None
    if not isinstance(listed, Mapping):
        raise unusable(fields, "headers", "an object of names and values")
    headers = _header_fields(fields, listed)
    if fields.type == CONNECTION_TYPE:
        _check_options(fields)
        return headers + _header_fields(fields, dict(_auth_headers(fields)))
    others = {name: value for name, value in fields.extra.items() if name not in _HTTP_OPTIONS}
    basic = dict(_basic(fields)) if fields.login else {}
    return headers + _header_fields(fields, others) + _header_fields(fields, basic)


def _check_options(fields: ConnectionFields) -> None:
    for name in fields.extra:
        if name not in _ACTION_OPTIONS:
            hint = did_you_mean(str(name), _ACTION_OPTIONS) or "; put custom headers in 'headers'"
            raise ConnectionConfigError(f"connection {fields.id!r}: unknown extra field {name!r}{hint}")


def _header_fields(fields: ConnectionFields, listed: Mapping[str, Any]) -> Headers:
    return tuple((str(name), _value(fields, str(name), value)) for name, value in listed.items())


def _value(fields: ConnectionFields, name: str, value: object) -> str:
    # The value may be a secret, so no message shows it.
    try:
        check_name(name)
    except RenderError as error:
        raise ConnectionConfigError(f"connection {fields.id!r}: headers: {error.reason}") from None
    if not isinstance(value, (str, int, float)):
        raise unusable(fields, f"the header {name!r}", "text")
    try:
        return check_value(str(value))
    except RenderError:
        allowed = f"at most {MAX_VALUE:,} ASCII characters, without line breaks or control characters"
        raise unusable(fields, f"the header {name!r}", allowed) from None


def _auth_headers(fields: ConnectionFields) -> Headers:
    kind = fields.extra.get("auth") or ("basic" if fields.login else "bearer" if fields.password else "none")
    if kind == "none":
        return ()
    if kind == "basic":
        return _basic(fields)
    if kind not in _AUTH_KINDS:
        raise unusable(fields, "auth", f"one of {', '.join(_AUTH_KINDS)}")
    if not fields.password:
        raise unusable(fields, "password", f"the secret that auth {kind!r} needs")
    # Formerly called auth_header; Airflow's form masks a field of that name as a secret.
    name = str(fields.extra.get("header_name") or fields.extra.get("auth_header") or "Authorization")
    return ((name, f"Bearer {fields.password}" if kind == "bearer" else fields.password),)


def _basic(fields: ConnectionFields) -> Headers:
    return (("Authorization", f"Basic {basic_credentials(fields)}"),)


def basic_credentials(fields: ConnectionFields) -> str:
    """Encode login and password for Basic authentication."""
    text = f"{fields.login or ''}:{fields.password or ''}"  # RFC 7617 §2
    return base64.b64encode(text.encode("utf-8")).decode("ascii")

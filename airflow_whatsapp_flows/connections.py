"""From a connection to what a request needs of it: an origin, credentials, limits.

The one place where the fields of an Airflow connection are understood. Airflow's own ``Connection`` and the
``AIRFLOW_CONN_…`` variables that the command line reads both end here.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.exchange import Headers, HttpRequest

CONNECTION_TYPE = "whatsapp_action"
_SCHEMES = ("http", "https")
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
_AUTH_KINDS = ("none", "basic", "bearer", "header")


@dataclass(frozen=True, slots=True)
class ConnectionFields:
    """The fields of an Airflow connection, as plain data.

    Attributes:
        id: its id.
        type: such as ``http`` or ``whatsapp_action``.
        host: host, ``host/path`` or a whole URL.
        schema: ``http`` or ``https``.
        port: of the host.
        login: user name.
        password: its secret.
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


@dataclass(frozen=True, slots=True)
class ActionConnection:
    """What a request needs of a connection.

    Attributes:
        id: its id.
        base_url: origin and, perhaps, a path that every relative URL is put behind; no ``/`` at the end.
        headers: sent to its own origin only.
        timeout: seconds; ``None`` for the request's own.
        verify: whether TLS certificates are checked, or the path of a bundle of authorities.
        proxy: URL of a proxy; ``None`` for none.
        secrets: every text that must not be shown, in every form it could be written in.
    """

    id: str
    base_url: str
    headers: Headers = field(default=(), repr=False)
    timeout: float | None = None
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def absolute(self, request: HttpRequest) -> HttpRequest:
        """The request with an absolute URL: relative ones are put behind the base URL, with exactly one ``/``."""
        if not request.url.startswith("/"):
            return request
        url = self.base_url + request.url
        return HttpRequest(request.method, url, request.headers, request.content, request.connection)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"


def action_connection(fields: ConnectionFields) -> ActionConnection:
    """Understand a connection.

    A ``whatsapp_action`` connection has a base URL as host, and in its extra ``auth`` (``none``, ``basic``,
    ``bearer``, ``header``), ``auth_header``, ``headers``, ``timeout``, ``verify``, ``proxy``. A plain ``http``
    connection is read as Airflow's HTTP hook reads it: Basic authentication from login and password, and extra
    keys that are no options are headers.

    Raises:
        ConnectionConfigError: it has no host, or a field cannot be used; names the connection and the field.
    """
    extra = fields.extra
    timeout = extra.get("timeout")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0):
        raise _unusable(fields, "timeout", "a number of seconds above 0")
    verify = extra.get("verify", extra.get("verify_ssl", True))
    if not isinstance(verify, (bool, str)):
        raise _unusable(fields, "verify", "true, false, or the path of a bundle of certificate authorities")
    proxy = _proxy(fields)
    headers = _headers(fields)
    return ActionConnection(
        id=fields.id,
        base_url=_base_url(fields),
        headers=headers,
        timeout=timeout,
        verify=verify,
        proxy=proxy,
        secrets=_secrets(fields, headers),
    )


def _base_url(fields: ConnectionFields) -> str:
    host = (fields.host or "").strip()
    if not host:
        raise ConnectionConfigError(f"connection {fields.id!r} has no host; give the origin of the API it leads to")
    if "://" not in host:
        # A variable that holds a plain URL, https://crm.example, has its scheme for a type.
        secure = fields.type in (CONNECTION_TYPE, "https")
        scheme = (fields.schema or "").strip().lower() or ("https" if secure else "http")
        host = f"{scheme}://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port or fields.port
    except ValueError as error:
        raise ConnectionConfigError(f"connection {fields.id!r}: the host is not a URL: {error}") from None
    if parts.scheme.lower() not in _SCHEMES:
        raise _unusable(fields, "schema", "http or https")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise _unusable(fields, "host", "a host, or a URL without user name, '?' and '#'")
    name = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme.lower()}://{name}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _headers(fields: ConnectionFields) -> Headers:
    listed = fields.extra.get("headers") or {}
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except ValueError:
            listed = None
    if not isinstance(listed, Mapping):
        raise _unusable(fields, "headers", "an object of names and values")
    headers = {str(name): str(value) for name, value in listed.items()}
    if fields.type == CONNECTION_TYPE:
        return (*headers.items(), *_auth_headers(fields))
    others = {name: str(value) for name, value in fields.extra.items() if name not in _HTTP_OPTIONS}
    basic = _basic(fields) if fields.login else ()
    return (*headers.items(), *others.items(), *basic)


def _auth_headers(fields: ConnectionFields) -> Headers:
    kind = fields.extra.get("auth") or ("basic" if fields.login else "bearer" if fields.password else "none")
    if kind == "none":
        return ()
    if kind == "basic":
        return _basic(fields)
    if kind not in _AUTH_KINDS:
        raise _unusable(fields, "auth", f"one of {', '.join(_AUTH_KINDS)}")
    if not fields.password:
        raise _unusable(fields, "password", f"the secret that auth {kind!r} needs")
    name = str(fields.extra.get("auth_header") or "Authorization")
    return ((name, f"Bearer {fields.password}" if kind == "bearer" else fields.password),)


def _basic(fields: ConnectionFields) -> Headers:
    return (("Authorization", f"Basic {_basic_credentials(fields)}"),)


def _basic_credentials(fields: ConnectionFields) -> str:
    text = f"{fields.login or ''}:{fields.password or ''}"  # RFC 7617 §2
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _proxy(fields: ConnectionFields) -> str | None:
    proxy = fields.extra.get("proxy", fields.extra.get("proxies"))
    if isinstance(proxy, Mapping):
        proxy = proxy.get("https") or proxy.get("http")
    if proxy is not None and not isinstance(proxy, str):
        raise _unusable(fields, "proxy", "the URL of a proxy")
    return proxy or None


def _secrets(fields: ConnectionFields, headers: Headers) -> tuple[str, ...]:
    found: list[str] = []
    if fields.password:
        found += [fields.password, _basic_credentials(fields)]
    for name, value in headers:
        if any(word in name.lower() for word in ("auth", "token", "key", "secret", "cookie")):
            found += [value, value.partition(" ")[2]]
    forms = [form for text in found if text for form in _forms(text)]
    return tuple(dict.fromkeys(form for form in forms if len(form) >= 4))


def _forms(text: str) -> list[str]:
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return [text, quote(text, safe=""), quote(text), quote_plus(text), encoded, json.dumps(text)[1:-1]]


def _unusable(fields: ConnectionFields, name: str, expected: str) -> ConnectionConfigError:
    return ConnectionConfigError(f"connection {fields.id!r}: {name} must be {expected}")


def connection_from_environment(conn_id: str, environ: Mapping[str, str] | None = None) -> ConnectionFields:
    """A connection from ``AIRFLOW_CONN_<ID>``, in Airflow's URI or JSON form, read without Airflow.

    Args:
        conn_id: its id, in any case.
        environ: environment variables; the process's own by default.

    Raises:
        ConnectionConfigError: the variable is not set or cannot be read. Airflow's database and secrets backends
            are not asked.
    """
    environ = os.environ if environ is None else environ
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = environ.get(variable, "").strip()
    if not text:
        raise ConnectionConfigError(
            f"connection {conn_id!r} is not known: set {variable}, for example to https://user:secret@crm.example "
            "(connections in Airflow's database and secrets backends cannot be read here)"
        )
    try:
        return _from_json(conn_id, text) if text.startswith("{") else _from_uri(conn_id, text)
    except ValueError as error:
        raise ConnectionConfigError(f"{variable} cannot be read: {error}") from None


def _from_json(conn_id: str, text: str) -> ConnectionFields:
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("it begins with '{' but is not JSON") from None
    extra = value.get("extra") or {}
    if isinstance(extra, str):
        extra = json.loads(extra)
    port = value.get("port")
    return ConnectionFields(
        id=conn_id,
        type=_type(value.get("conn_type") or ""),
        host=value.get("host"),
        schema=value.get("schema"),
        port=int(port) if port not in (None, "") else None,
        login=value.get("login"),
        password=value.get("password"),
        extra=extra if isinstance(extra, dict) else {},
    )


def _from_uri(conn_id: str, text: str) -> ConnectionFields:
    parts = urlsplit(text)
    host = unquote(parts.hostname or "")
    rest = text.partition("://")[2]
    if "://" in rest:
        # Airflow writes a scheme of its own behind the type: http://https://crm.example
        scheme, rest = rest.split("://", 1)
        inner = urlsplit(f"//{rest}")
        host, parts_for = f"{scheme}://{unquote(inner.hostname or '')}", inner
    else:
        parts_for = parts
    query = dict(parse_qsl(parts_for.query, keep_blank_values=True))
    extra = json.loads(query["__extra__"]) if set(query) == {"__extra__"} else query
    path = unquote(parts_for.path.strip("/"))
    return ConnectionFields(
        id=conn_id,
        type=_type(parts.scheme),
        host=host or None,
        schema=path or None,
        port=parts_for.port,
        login=unquote(parts_for.username) if parts_for.username else None,
        password=unquote(parts_for.password) if parts_for.password else None,
        extra=extra if isinstance(extra, dict) else {},
    )


def _type(text: str) -> str:
    # A hyphen stands for the underscore that a URI's scheme may not hold (RFC 3986 §3.1).
    return text.replace("-", "_").lower() or "http"

"""From a connection to what a request needs of it: an origin, credentials, limits.

The one place where the fields of an Airflow connection are understood. Airflow's own ``Connection`` and the
``AIRFLOW_CONN_…`` variables that the command line reads both end here.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlsplit

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
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
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
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 < timeout < float("inf")):
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
        secrets=_secrets(fields, headers, proxy),
    )


def _base_url(fields: ConnectionFields) -> str:
    host = (fields.host or "").strip()
    if not host:
        raise ConnectionConfigError(f"connection {fields.id!r} has no host; give the origin of the API it leads to")
    if "://" not in host:
        # A variable that holds a plain URL, https://crm.example, has its scheme for a type.
        secure = fields.type in (CONNECTION_TYPE, "https")
        scheme = (fields.schema or "").strip("/ ").lower() or ("https" if secure else "http")
        bare_ipv6 = host.count(":") > 1 and not host.startswith("[")
        host = f"{scheme}://[{host}]" if bare_ipv6 else f"{scheme}://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port or fields.port
    except ValueError as error:
        raise ConnectionConfigError(f"connection {fields.id!r}: the host is not a URL: {error}") from None
    if parts.scheme.lower() not in _SCHEMES:
        raise _unusable(fields, "schema", "http or https")
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise _unusable(fields, "host", "a host, or a URL without user name, '?' and '#'")
    if port is not None and not 0 < port < 65_536:
        raise _unusable(fields, "port", "a number from 1 to 65535")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
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
    headers = _header_fields(fields, "headers", listed)
    if fields.type == CONNECTION_TYPE:
        return headers + _header_fields(fields, "password", dict(_auth_headers(fields)))
    others = {name: value for name, value in fields.extra.items() if name not in _HTTP_OPTIONS}
    basic = _basic(fields) if fields.login else ()
    return headers + _header_fields(fields, "extra", others) + basic


def _header_fields(fields: ConnectionFields, part: str, listed: Mapping[str, Any]) -> Headers:
    for name, value in listed.items():
        # RFC 9110 §5.1 and §5.5; the value may be a secret, so the message does not show it.
        sendable = isinstance(value, (str, int, float)) and not _CONTROLS.search(str(value))
        if not _TOKEN.fullmatch(str(name)) or not sendable:
            raise _unusable(fields, part, "sendable as header fields: names of letters, digits and '-', values of text")
    return tuple((name, str(value)) for name, value in listed.items())


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


def _secrets(fields: ConnectionFields, headers: Headers, proxy: str | None) -> tuple[str, ...]:
    found: list[str] = []
    if proxy and "@" in proxy:
        credentials = proxy.partition("://")[2].rpartition("@")[0]
        found += [credentials, credentials.partition(":")[2], unquote(credentials.partition(":")[2])]
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
    for key in ("conn_type", "host", "schema", "login", "password"):
        if not isinstance(value.get(key), (str, type(None))):
            raise ValueError(f"{key} is text")
    port = value.get("port")
    if isinstance(port, (bool, float)) or not str(port or "0").isdecimal():
        raise ValueError("port is a whole number")
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
        except ValueError:  # what it holds may be a secret
            raise ValueError(f"{name} is not JSON") from None
    if not isinstance(extra or {}, dict):
        raise ValueError(f"{name} is a JSON object")
    return dict(extra or {})  # type: ignore[call-overload,no-any-return]


def _from_uri(conn_id: str, text: str) -> ConnectionFields:
    parts, rest = _split(text), text.partition("://")[2]
    if not parts.scheme:
        raise ValueError("it is not a URI; its scheme is the connection type, with '-' for '_': whatsapp-action://…")
    prefix = ""
    if "://" in rest:
        # Airflow writes a scheme of its own behind the type: http://https://crm.example
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
    except ValueError:  # its message shows what stands there, which may be a part of a password
        raise ValueError("its host or port cannot be read; percent-encode what login and password hold") from None
    return parts


def _type(text: str) -> str:
    # A hyphen stands for the underscore that a URI's scheme may not hold (RFC 3986 §3.1).
    return text.replace("-", "_").lower() or "http"

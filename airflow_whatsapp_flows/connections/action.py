"""The part of a connection that a request uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_whatsapp_flows.connections.fields import CONNECTION_TYPE, ConnectionFields, unusable
from airflow_whatsapp_flows.connections.headers import basic_credentials, connection_headers
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.concealing import secret_spans
from airflow_whatsapp_flows.flow.request.messages import Headers, HttpRequest
from airflow_whatsapp_flows.flow.secrets import HIDDEN, SecretFinder, all_spellings, names_secret

_SCHEMES = ("http", "https")
_TYPED = ("login", "password")
"""Fields whose value may legitimately contain asterisks."""
_TELLING = 8  # characters


@dataclass(frozen=True, slots=True)
class ActionConnection:
    """The part of a connection that a request uses.

    Attributes:
        base_url: origin and optional path, prepended to every relative URL; has no trailing ``/``.
        headers: sent only to the connection's own origin.
        timeout: seconds; ``None`` to use the request's timeout.
        verify: whether TLS certificates are checked, or the path of a CA bundle.
        proxy: proxy URL, if any.
        certificate: paths of the client certificate and of its key (``None`` if one file holds both); ``None`` for no
            certificate.
        secrets: every text that must not be shown, in every encoding in which it may appear.
        secrets_hidden_in_replies: the secrets that are also masked in replies. Shorter ones are not: they could be
            ordinary words of a reply that later steps read.
    """

    id: str
    base_url: str
    headers: Headers = field(default=(), repr=False)
    timeout: float | None = None
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    certificate: tuple[str, str | None] | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    secrets_hidden_in_replies: SecretFinder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        finder = SecretFinder(one for one in self.secrets if len(one) >= _TELLING)
        object.__setattr__(self, "secrets_hidden_in_replies", finder)

    def absolute(self, request: HttpRequest) -> HttpRequest:
        """Return the request with an absolute URL; a relative one is joined to the base URL by exactly one ``/``."""
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
    """Interpret the fields of a connection.

    A ``whatsapp_action`` connection has its base URL in ``host``, and in ``extra``: ``auth`` (``none``, ``basic``,
    ``bearer``, ``header``), ``header_name``, ``headers``, ``timeout``, ``verify``, ``cert``, ``proxy``. A plain
    ``http`` connection is read as Airflow's HTTP hook reads it: Basic authentication from login and password, and extra
    keys that are not options are headers.

    Raises:
        ConnectionConfigError: it has no host, or a field is invalid; the message names the connection and the field.
    """
    _check_not_hidden(fields)
    timeout = _from_text(_first_value(fields, "timeout"))
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 < timeout < float("inf")):
        raise unusable(fields, "timeout", "a number of seconds greater than 0")
    verify = _from_text(_first_value(fields, "verify", "verify_ssl"))
    verify = True if verify is None else verify
    if not isinstance(verify, (bool, str)):
        raise unusable(fields, "verify", "true, false, or the path of a CA bundle")
    proxy = _proxy(fields)
    headers, base_url = connection_headers(fields), _base_url(fields)
    return ActionConnection(
        id=fields.id,
        base_url=base_url,
        headers=headers,
        timeout=timeout,
        verify=verify,
        proxy=proxy,
        certificate=_certificate(fields),
        secrets=all_spellings(_secrets(fields, headers, proxy, base_url)),
    )


def _base_url(fields: ConnectionFields) -> str:
    host = (fields.host or "").strip()
    if not host:
        raise ConnectionConfigError(f"connection {fields.id!r} has no host; set the origin of the API")
    if "://" not in host:
        # From a variable with a plain URL, https://crm.example, Airflow takes the scheme as the connection type.
        secure = fields.type in (CONNECTION_TYPE, "https")
        scheme = (fields.schema or "").strip("/ ").lower() or ("https" if secure else "http")
        bare_ipv6 = host.count(":") > 1 and not host.startswith("[")
        host = f"{scheme}://[{host}]" if bare_ipv6 else f"{scheme}://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port or fields.port
    except ValueError:  # its message shows the text at fault, which may be a password
        raise unusable(fields, "host", "a host, or a URL such as https://crm.example:8443/api") from None
    if parts.scheme.lower() not in _SCHEMES:
        raise unusable(fields, "schema", "http or https")
    if not parts.hostname or "@" in parts.netloc or "?" in host or "#" in host:
        raise unusable(fields, "host", f"a host, or a URL {_no_part_of_a_base_url(parts, host)}")
    if port is not None and not 0 < port < 65_536:
        raise unusable(fields, "port", "a number from 1 to 65535")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme.lower()}://{name}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _no_part_of_a_base_url(parts: SplitResult, host: str) -> str:
    """Explain what is wrong with a base URL and where that part belongs; the value may be a secret and is not shown."""
    if "@" in parts.netloc:
        return "without user name and password: enter them in their own fields, and use the authentication 'basic'"
    if "?" in host:
        return (
            "without '?': servers and proxies log URLs, so never put a key in one. Enter the key as the password, and "
            "use the authentication 'bearer' or 'header'"
        )
    return "without '#'" if "#" in host else "with a host, such as https://crm.example/api"


def _proxy(fields: ConnectionFields) -> str | None:
    proxy = _first_value(fields, "proxy", "proxies")
    if isinstance(proxy, Mapping):
        proxy = proxy.get("https") or proxy.get("http")
    if proxy is not None and not isinstance(proxy, str):
        raise unusable(fields, "proxy", "the URL of a proxy")
    return proxy or None


def _certificate(fields: ConnectionFields) -> tuple[str, str | None] | None:
    """``cert`` as requests reads it: the path of one file with certificate and key, or of one for each."""
    given = fields.extra.get("cert")
    if isinstance(given, str) and given.lstrip().startswith("["):  # a pair in a connection's URI
        try:
            given = json.loads(given)
        except ValueError:
            given = 0
    if given in (None, ""):
        return None
    if isinstance(given, str):
        return given, None
    if isinstance(given, (list, tuple)) and len(given) == 2 and all(path and isinstance(path, str) for path in given):
        return given[0], given[1]
    raise unusable(fields, "cert", "the path of a PEM file with certificate and key, or [certificate, key]")


def _check_not_hidden(fields: ConnectionFields) -> None:
    """Refuse ``***``: Airflow shows it instead of a secret, and a form or an export may have stored it.

    Airflow masks a secret inside any text, even in a client certificate's path that contains the password.

    Raises:
        ConnectionConfigError: a field contains it; the message names the field.
    """

    def check(name: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                check(f"{name}.{key}", item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(name, item)
        elif isinstance(value, str) and (value.strip() == HIDDEN or (name not in _TYPED and HIDDEN in value)):
            raise ConnectionConfigError(
                f"connection {fields.id!r}: {name} holds {HIDDEN!r}, which Airflow shows instead of a hidden value: "
                "enter the value again"
            )

    for name in ("host", "schema", "login", "password"):
        check(name, getattr(fields, name))
    for name, value in fields.extra.items():
        check(name, value)


def _secrets(fields: ConnectionFields, headers: Headers, proxy: str | None, base_url: str) -> list[str]:
    found: list[str] = []
    if proxy and "@" in proxy:
        credentials = proxy.partition("://")[2].rpartition("@")[0]
        found += [credentials, credentials.partition(":")[2], unquote(credentials.partition(":")[2])]
    if fields.password:
        found += [fields.password, basic_credentials(fields)]
    elif fields.login:  # some APIs take a key as the user name and no password
        found += [fields.login, basic_credentials(fields)]
    for name, value in headers:
        if names_secret(name):
            found += [value, value.partition(" ")[2]]
        else:
            found += [value[start:end] for start, end in secret_spans(value)]
    login = fields.login or ""
    found += [login[start:end] for start, end in secret_spans(login)]
    # Some APIs take a token as part of the path, such as /bot<token>/.
    path = urlsplit(base_url).path
    found += [path[start:end] for start, end in secret_spans(path)]
    return found


def _first_value(fields: ConnectionFields, *names: str) -> Any:
    """Return the first of these extra fields that is not blank: forms store blank ones too."""
    return next((value for name in names if (value := fields.extra.get(name)) not in (None, "")), None)


def _from_text(value: Any) -> Any:
    """Convert a number or boolean written as text, as every extra in a connection URI is."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return value

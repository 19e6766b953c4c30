"""Action steps: converts a recorded request to a request of format 1, without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.request.headers import check_name
from airflow_whatsapp_flows.flow.secrets import names_credential
from airflow_whatsapp_flows.hilos.links import Links
from airflow_whatsapp_flows.hilos.record import Record
from airflow_whatsapp_flows.hilos.record_masking import MASK, mask_placeholders
from airflow_whatsapp_flows.hilos.record_versions import Plain
from airflow_whatsapp_flows.hilos.request_bodies import request_body
from airflow_whatsapp_flows.hilos.secret_spans import (
    has_secret,
    literal_spans,
    query_spans,
    secret_shape,
)
from airflow_whatsapp_flows.hilos.secrets import Credentials, SecretStore, slug

_ABSOLUTE = re.compile(r"(https?)://([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL)
_URL, _HEADERS, _PARAMS = "action_request_url", "action_request_headers", "action_request_params"


@dataclass(slots=True)
class _Address:
    """A recorded URL, split."""

    origin: str = ""
    host: str = ""
    userinfo: str = ""
    rest: str = ""
    templated: bool = False


def action_keys(record: Record, links: Links, secrets: SecretStore) -> Plain:
    """Return the keys of an action, except name and type.

    Args:
        record: a step with a URL.
        links: targets of its exits.
        secrets: receives the secrets found in the request.
    """
    address = _address(record)
    headers, secret_headers = _headers(record, secrets)
    url, connection = _url_and_connection(record, address, secret_headers, secrets)
    parameters = _parameters(record, secrets)
    body = request_body(record, headers, secrets)
    keys: Plain = {"connection": connection} if connection else {}
    keys |= {"method": _method(record), "url": url}
    keys |= {"headers": headers} if headers else {}
    keys |= {"query_params": parameters} if parameters else {}
    keys |= body
    keys["on_success"] = links.target(record, "next_step_default")
    keys["on_error"] = links.target(record, "next_step_alternate")
    return {key: value for key, value in keys.items() if value is not None}


def _method(record: Record) -> str:
    method = record.text("action_request_method")
    if method is not None:
        return method.strip().upper()
    guessed = "POST" if record.filled("action_request_body") else "GET"
    record.note("inferred", "action_request_method", f"it is missing; {guessed} is used")
    return guessed


def _address(record: Record) -> _Address:
    url = (record.text(_URL) or "").strip()
    hidden = mask_placeholders(url, record.syntax)
    if "#" in hidden:
        record.note("lost", _URL, "'#' and what follows it are never sent to a server")
        url, hidden = url[: hidden.index("#")], hidden[: hidden.index("#")]
    if re.search(r"\s", hidden):
        record.note("inferred", _URL, "spaces were encoded as %20")
        url = "".join("%20" if sign.isspace() else char for char, sign in zip(url, hidden, strict=True))
        hidden = mask_placeholders(url, record.syntax)
    match = _ABSOLUTE.fullmatch(hidden)
    if match is None:
        start = len(hidden) - len(hidden.lstrip(MASK))
        if start and hidden[start : start + 1] in ("", "/", "?"):
            return _Address(host=url[:start], rest=url[start:], templated=True)
        return _Address(rest=url)
    authority, rest = url[match.start(2) : match.end(2)], url[match.start(3) :]
    userinfo, _, host = authority.rpartition("@")
    if MASK in hidden[match.start(2) : match.end(2)].rpartition("@")[2]:
        return _Address(host=host, userinfo=userinfo, rest=rest, templated=True)
    return _Address(f"{match.group(1).lower()}://{host}", host, userinfo, rest)


def _url_and_connection(
    record: Record, address: _Address, secret_headers: Mapping[str, str], secrets: SecretStore
) -> tuple[str, str | None]:
    """Return the URL and the connection id; the URL is relative if a connection has its origin."""
    rest = _without_query_secrets(record, address.rest, secrets)
    if address.userinfo:
        message = "the user name and password in the URL were left out; the connection contains them"
        record.note("secret", _URL, message)
    credentials = Credentials(address.origin, tuple(secret_headers.items()), address.userinfo)
    host = re.sub(r"[{}%]", " ", address.host).rpartition(".")[2] if address.templated else address.host
    connection: str | None = None
    if secret_headers or address.userinfo or address.templated:
        name = f"{slug(host)}" if address.templated else address.host
        connection = secrets.connection(credentials, name or record.name)
    if address.templated:
        message = (
            f"the host is a variable, which could send data anywhere; the connection {connection!r} must define the "
            "host, and the flow the path"
        )
        record.note("lost", _URL, message)
    if connection is None or (not address.templated and not address.origin):
        return address.origin + rest, connection
    path = rest if rest.startswith("/") else f"/{rest}"
    if path.startswith("//"):  # a relative URL cannot start with this
        return address.origin + rest, connection
    return path, connection


def _without_query_secrets(record: Record, rest: str, secrets: SecretStore) -> str:
    hidden = mask_placeholders(rest, record.syntax)
    start = hidden.index("?") + 1 if "?" in hidden else len(hidden)
    return secrets.hide(record, _URL, rest, query_spans(hidden, start))


def _headers(record: Record, secrets: SecretStore) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers for the flow, and the secret ones for a connection."""
    kept: dict[str, str] = {}
    secret: dict[str, str] = {}
    for written, value in record.mapping(_HEADERS).items():
        name, field = written.strip(), f"{_HEADERS}.{written.strip()}"
        if value is None or (isinstance(value, str) and not value.strip()):
            if name and value is None:
                record.note("inferred", field, "a header without a value is not sent")
            continue
        if not isinstance(value, (str, int, float)):
            record.note("lost", field, "it is not text")
            continue
        if any(name.lower() == other.lower() for other in (*kept, *secret)):
            record.note("lost", field, "the header appears twice; the first one is kept")
            continue
        text = record.rename_references(str(value), field).strip()
        hidden = mask_placeholders(text, record.syntax)
        risky = (names_credential(name) and has_secret(hidden)) or secret_shape(hidden)
        if risky and MASK not in hidden:
            secret[name] = text
            message = "its literal value was left out; the connection sends it"
            record.note("secret", field, message)
        elif _is_transports(name):
            record.note("lost", field, "the HTTP client sets this header itself")
        else:
            kept[name] = secrets.hide(record, field, text, literal_spans(name, hidden) if risky else [])
    return kept, secret


def _is_transports(name: str) -> bool:
    try:
        check_name(name)
    except RenderError:
        # An invalid name is kept; the flow's own check reports it.
        return re.fullmatch(r"[A-Za-z-]+", name) is not None
    return False


def _parameters(record: Record, secrets: SecretStore) -> Plain:
    parameters: Plain = {}
    for name, value in record.mapping(_PARAMS).items():
        field = f"{_PARAMS}.{name}"
        if not name.strip() and value in (None, ""):
            continue
        if value is not None and not isinstance(value, (str, int, float)):
            record.note("lost", field, "it is not text")
            continue
        if value is None:
            record.note("inferred", field, "a parameter without a value is sent with an empty value")
        text = record.rename_references("" if value is None else str(value), field)
        hidden = mask_placeholders(text, record.syntax)
        if names_credential(name) and has_secret(hidden):
            text = secrets.hide(record, field, text, literal_spans(name, hidden))
        elif secret_shape(hidden):
            text = secrets.hide(record, field, text, query_spans(hidden, len(hidden)))
        parameters[name] = text
    return parameters

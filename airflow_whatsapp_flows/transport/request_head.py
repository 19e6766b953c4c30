"""The head of a request: what is refused, and the bytes of the rest."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from airflow_whatsapp_flows import __version__
from airflow_whatsapp_flows.flow.request.messages import Headers
from airflow_whatsapp_flows.transport.origin import Origin, origin_of_parsed, parse_url

# RFC 9110 §5.1 and §5.5: a token; visible characters, spaces, and tabs.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
# Sent first and in this order, also if the request has its own.
_PLACES = {"host": 0, "accept": 1, "accept-encoding": 2, "user-agent": 3}
_DEFAULTS = (
    "Accept: */*\r\n",
    "Accept-Encoding: gzip, deflate\r\n",
    f"User-Agent: airflow-whatsapp-flows/{__version__}\r\n",
)
_AFTER_THEM = len(_PLACES)
# A request with its own would be another one to the server, or none.
_FRAMING = frozenset({"content-length", "transfer-encoding", "expect"})
_WITHOUT_LENGTH = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 §8.6: a length of 0 is sent for others


class RequestRefusedError(Exception):
    """The request is invalid; the message says why."""


class Target(NamedTuple):
    """Where a request goes.

    Attributes:
        origin: scheme, host and port.
        host: as written in the URL, without brackets: a name with a trailing dot is not searched in the local domain.
        host_field: value of the Host field.
        path: with the query, as written.
        url: as a proxy gets it.
    """

    origin: Origin
    host: str
    host_field: str
    path: str
    url: str


@lru_cache(maxsize=256)
def target_of(text: str) -> Target:
    """Return the target of an absolute URL.

    Raises:
        RequestRefusedError: it cannot be sent.
    """
    try:
        url = parse_url(text)
        origin = origin_of_parsed(url)
    except ValueError as error:
        raise RequestRefusedError(str(error)) from None
    host_field = url.host_port_subcomponent or ""
    return Target(origin, url.raw_host or "", host_field, url.raw_path_qs, str(url.with_fragment(None)))


def request_head(start: str, host: str, headers: Headers, last: str) -> bytes:
    """Return the head of a request.

    Args:
        start: method and target.
        host: of the Host field.
        headers: of the request, and the credentials.
        last: lines at the end.

    Raises:
        RequestRefusedError: it would be read differently from what is meant.
    """
    lines = [f"Host: {host}\r\n", *_DEFAULTS]
    placed = 0
    for name, value in headers:
        place = _place_of(name)
        # Most values are printable ASCII, which is cheaper to check than the rest.
        if not (value.isascii() and value.isprintable()) and not _FIELD_VALUE.fullmatch(value):
            raise RequestRefusedError(f"the header {name} contains control or non-ASCII characters")
        if place == _AFTER_THEM or placed & 1 << place:
            lines.append(f"{name}: {value}\r\n")
        else:
            lines[place] = f"{name}: {value}\r\n"
            placed |= 1 << place
    return f"{start} HTTP/1.1\r\n{''.join(lines)}{last}\r\n".encode("ascii")


def start_of(method: str, target: str) -> str:
    """Return the request line without its version.

    Raises:
        RequestRefusedError: the method is not a token.
    """
    if not _is_token(method):
        raise RequestRefusedError("the method is not a token")
    return f"{method.upper()} {target}"


def length_line(method: str, size: int) -> str:
    """Return the field that frames the content, if there must be one."""
    return f"Content-Length: {size}\r\n" if size or method.upper() not in _WITHOUT_LENGTH else ""


@lru_cache(maxsize=1024)
def _place_of(name: str) -> int:
    """Return the index of a field among the first ones."""
    folded = name.lower()
    if not _is_token(name):
        raise RequestRefusedError("a header's name is not a token")
    if folded in _FRAMING:
        raise RequestRefusedError(f"the header {name} is not for a request to set")
    return _PLACES.get(folded, _AFTER_THEM)


@lru_cache(maxsize=64)
def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None

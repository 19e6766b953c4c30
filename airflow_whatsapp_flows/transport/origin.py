"""The target of a request: scheme, host and port of an absolute URL (RFC 6454 §4)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from yarl import URL

from airflow_whatsapp_flows.errors import ConnectionConfigError

# RFC 3986 §2 and §3.2.2: a URL contains visible ASCII only; a host is a name or an address in brackets.
_SENDABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?")
_MAX_PORT = 65_535


class Origin(NamedTuple):
    """Scheme, host and port; equal origins may see each other's credentials.

    Attributes:
        scheme: ``"http"`` or ``"https"``.
        host: lowercase, without brackets and without a trailing dot.
        port: the effective port, 1 to 65535.
    """

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port, ``crm.example:443``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@lru_cache(maxsize=1024)
def origin_of(url: str) -> Origin:
    """Return the origin of an absolute URL.

    Raises:
        ValueError: the URL is not absolute, not ``http`` or ``https``, contains blanks or user information, or has no
            valid host or port. The message never quotes the URL, which may contain secrets.
    """
    return origin_of_parsed(parse_url(url))


def origin_of_connection(url: str) -> Origin:
    """Return the origin of a connection's base URL.

    Raises:
        ConnectionConfigError: it is not an absolute http or https URL.
    """
    try:
        return origin_of(url)
    except ValueError as error:
        raise ConnectionConfigError(f"the base URL of a connection cannot be used: {error}") from None


def parse_url(url: str) -> URL:
    """Parse a URL so that it is sent byte for byte as given.

    Raises:
        ValueError: the text is not a URL.
    """
    if not _SENDABLE.fullmatch(url):
        raise ValueError("the URL is empty, or contains spaces or characters that must be percent-encoded")
    return URL(url, encoded=True)


def origin_of_parsed(url: URL) -> Origin:
    """Return the origin of a parsed absolute URL.

    Raises:
        ValueError: as for :func:`origin_of`.
    """
    if url.scheme not in ("http", "https"):
        raise ValueError("the URL does not start with http:// or https://")
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError("the URL contains a user name or password; put them in a connection")
    host, port = url.raw_host or "", url.port
    if not _HOST.fullmatch(host):
        raise ValueError("the URL has no host, or one that is not a host name")
    if port is None or not 0 < port <= _MAX_PORT:
        raise ValueError("the port of the URL is not a number from 1 to 65535")
    return Origin(url.scheme, host.lower().rstrip("."), port)

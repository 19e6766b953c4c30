"""Requests and replies as plain data.

The terms are those of RFC 9110: a request has a method, a target URL, header fields, and content.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from json.encoder import encode_basestring_ascii as _quote

from msgspec import Struct
from msgspec.structs import replace

Headers = tuple[tuple[str, str], ...]
"""Header fields in the order they are sent; a name may appear more than once (RFC 9110 §5.2)."""


class ErrorKind(str, Enum):
    """Why an action took its error exit."""

    STATUS = "status"
    TIMEOUT = "timeout"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    INTERRUPTED = "interrupted"
    TOO_LARGE = "too_large"
    UNPARSABLE = "unparsable"
    POLICY = "policy"
    FILE = "file"
    SUCCESS_WHEN = "success_when"
    RESPONSE_CHECK = "response_check"


class Sent(str, Enum):
    """Whether the server got the request: ``no`` and ``yes`` are proved, ``unknown`` is everything else."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


class HttpRequest(Struct, frozen=True):
    """One request, complete to the byte, except for what the connection adds when it is sent.

    Attributes:
        method: upper case, such as ``"POST"``.
        url: ASCII, percent-encoded; absolute, or starting with ``/`` if ``connection`` defines the origin.
        headers: from the flow, plus ``Content-Type`` if there is content.
        content: the body's bytes; empty when there is none.
        connection: id of the Airflow connection whose origin and credentials are used, if any.
    """

    method: str
    url: str
    headers: Headers = ()
    content: bytes = b""
    connection: str | None = None

    def with_header(self, name: str, value: str) -> HttpRequest:
        """The same request with one header added or replaced."""
        others = tuple(field for field in self.headers if field[0].lower() != name.lower())
        return replace(self, headers=(*others, (name, value)))

    def digest(self) -> str:
        """SHA-256 of all that is sent, in hexadecimal; equal requests have equal digests."""
        # JSON, as the json module writes a list of the three.
        fields = ", ".join([f"[{_quote(name)}, {_quote(value)}]" for name, value in self.headers])
        head = f"[{_quote(self.method)}, {_quote(self.url)}, [{fields}]]"
        return hashlib.sha256(head.encode("ascii") + b"\0" + self.content).hexdigest()


class HttpResponse(Struct, frozen=True):
    """A complete reply: a status line, header fields and all of the content, decompressed.

    Attributes:
        status_code: 100 to 599.
        reason: reason phrase, often empty (HTTP/2 has none).
        headers: names as received, in the order received.
        content: decoded from its content coding (RFC 9110 §8.4); empty when there was none.
        elapsed_ms: from before the connection to the last byte, milliseconds.
    """

    status_code: int
    reason: str = ""
    headers: Headers = ()
    content: bytes = b""
    elapsed_ms: int = 0

    def header(self, name: str) -> str | None:
        """The first field called ``name``, in any case; ``None`` when there is none."""
        folded = name.lower()
        return next((value for key, value in self.headers if key.lower() == folded), None)


class TransportFailure(Struct, frozen=True):
    """No complete reply came.

    Attributes:
        kind: what failed.
        message: for people; contains no credentials or query values.
        sent: whether the server may have got the request.
        head: status line and headers, when these came before the failure (content is empty).
        elapsed_ms: milliseconds until it failed.
        is_local: whether this machine lacks what a connection needs, such as file descriptors, and the server has
            nothing to do with it.
    """

    kind: ErrorKind
    message: str
    sent: Sent
    head: HttpResponse | None = None
    elapsed_ms: int = 0
    is_local: bool = False


Reply = HttpResponse | TransportFailure

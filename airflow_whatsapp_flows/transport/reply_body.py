"""Converts an aiohttp response to a complete reply."""

from __future__ import annotations

import aiohttp

from airflow_whatsapp_flows.flow.request.messages import HttpResponse
from airflow_whatsapp_flows.transport.content_coding import (
    ContentTooLargeError,
    content_coding,
    decode_content,
    max_encoded_size,
)


def head_of(response: aiohttp.ClientResponse, elapsed_ms: int) -> HttpResponse:
    """Return status and header fields, without content."""
    reason = response.reason or ""
    return HttpResponse(
        status_code=response.status,
        reason=reason if reason.isascii() else reason.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        headers=tuple([(_text(name), _text(value)) for name, value in response.raw_headers]),
        elapsed_ms=elapsed_ms,
    )


async def receive_content(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read the complete content, decoded from its content coding.

    Args:
        response: a response whose head was received.
        limit: maximum decoded bytes.

    Raises:
        ContentTooLargeError: the content is longer than ``limit``.
        ContentUnreadableError: it is not in the declared coding.
        aiohttp.ClientError: it was not received completely.
    """
    protocol = response.connection.protocol if response.connection is not None else None
    fields = response.headers.getall("Content-Encoding", ())
    wire_limit = max_encoded_size(limit) if fields else limit
    if not response.content.at_eof() and _declared_length(response) > wire_limit:
        raise ContentTooLargeError
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        size += len(piece)
        if size > wire_limit:
            raise ContentTooLargeError
        pieces.append(piece)
    lost = protocol.exception() if protocol is not None else None
    if isinstance(lost, aiohttp.ClientOSError):
        # Content without a length ends with the connection (RFC 9112 §6.3), and aiohttp also takes a reset as that end.
        raise lost
    return decode_content(b"".join(pieces), content_coding(fields) if pieces else "", limit)


def _declared_length(response: aiohttp.ClientResponse) -> int:
    # Python converts no text of more than 4,300 digits, and a server may send as many. 19 digits exceed every limit.
    digits: str = response.headers.get("Content-Length", "").lstrip("0")
    return int(digits[:19] or 0)


def _text(field: bytes) -> str:
    # RFC 9110 §5.5: ASCII by rule, ISO-8859-1 by history, UTF-8 in practice; never a lone surrogate.
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError:
        return field.decode("latin-1")

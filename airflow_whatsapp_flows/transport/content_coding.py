"""Decodes the content codings of replies (RFC 9110 §8.4.1), with protection against decompression bombs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

_GZIP = 16 + zlib.MAX_WBITS
_MAX_GZIP_MEMBERS = 100  # each costs a copy of what follows it, and a member can be 20 bytes


class ContentTooLargeError(Exception):
    """The content is longer than the limit."""


class ContentUnreadableError(Exception):
    """The content is not in the coding that the reply names, or in one that is not supported."""


def max_encoded_size(limit: int) -> int:
    """Return the maximum encoded size of ``limit`` bytes of content: compression may add a little."""
    return limit + limit // 100 + 4096


def content_coding(fields: Iterable[str]) -> str:
    """Return the coding in the ``Content-Encoding`` fields; empty if there is none.

    Raises:
        ContentUnreadableError: more than one coding (each layer multiplies), or one that we do not undo.
    """
    named = [coding.strip().lower() for field in fields for coding in field.split(",")]
    codings = [coding for coding in named if coding not in ("", "identity")]
    if len(codings) > 1:
        raise ContentUnreadableError("more than one content coding was applied")
    coding = codings[0] if codings else ""
    if coding not in ("", "gzip", "x-gzip", "deflate"):
        raise ContentUnreadableError("its content coding is neither gzip nor deflate")
    return coding


def decode_content(received: bytes, coding: str, limit: int) -> bytes:
    """Decode one content coding.

    Args:
        received: the complete content as received.
        coding: coding as returned by :func:`content_coding`.
        limit: maximum decoded bytes; at most one byte more is held in memory.

    Raises:
        ContentTooLargeError: the content is longer than ``limit``.
        ContentUnreadableError: the bytes are not in that coding, or are truncated.
    """
    if len(received) == 0 or coding == "":
        if len(received) > limit:
            raise ContentTooLargeError
        return received
    try:
        return _inflate_gzip(received, limit) if coding != "deflate" else _inflate_deflate(received, limit)
    except zlib.error:
        raise ContentUnreadableError(f"its content is not {coding}, although it is declared as such") from None


def _inflate_gzip(received: bytes, limit: int) -> bytes:
    decoded = b""
    for _ in range(_MAX_GZIP_MEMBERS):  # RFC 1952 §2.2: a file is a series of members
        piece, received = _inflate(received, _GZIP, limit - len(decoded))
        decoded += piece
        received = received.lstrip(b"\0")
        if not received:
            return decoded
    raise ContentUnreadableError(f"its content has more than {_MAX_GZIP_MEMBERS} gzip members")


def _inflate_deflate(received: bytes, limit: int) -> bytes:
    # RFC 9110 §8.4.1.2: "deflate" is the zlib format, but some servers send the bare stream. RFC 1950 §2.2 tells them
    # apart: method 8 in the low bits, and the first two bytes a multiple of 31.
    is_zlib = received[0] & 0x0F == 8 and int.from_bytes(received[:2], "big") % 31 == 0
    decoded, rest = _inflate(received, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS, limit)
    if rest:
        raise ContentUnreadableError("there is data after its deflated content")
    return decoded


def _inflate(received: bytes, window_bits: int, limit: int) -> tuple[bytes, bytes]:
    inflater = zlib.decompressobj(window_bits)
    decoded = inflater.decompress(received, limit + 1)
    if len(decoded) > limit:
        raise ContentTooLargeError
    if not inflater.eof:
        raise ContentUnreadableError("its compressed content is incomplete")
    return decoded, inflater.unused_data

"""Reads one reply from the bytes that arrive: its head, its content, and where it ends. It does not use sockets."""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpResponseParser

from airflow_whatsapp_flows.flow.request.messages import Headers, HttpResponse
from airflow_whatsapp_flows.transport.content_coding import (
    ContentTooLargeError,
    content_coding,
    decode_content,
    max_encoded_size,
)

MAX_HEAD_BYTES = 131_072
"""Maximum bytes before the content of a reply: status line and header fields, including interim replies (1xx)."""
# One long cookie or policy in the reply, or a verbose proxy, must not turn a completed POST into a protocol error.
MAX_FIELD_BYTES = 32_768
MAX_FIELDS = 256
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FINAL_STATUSES = range(200, 600)
_WITHOUT_CONTENT = (204, 304)
_SWITCHING = 101


class NotHttpError(Exception):
    """The bytes are not an HTTP reply, or have a field that is too long or too many of them."""


class HeadTooLargeError(Exception):
    """The head of a reply exceeds the limit."""


class BrokenContentError(Exception):
    """The content is not framed as its head declares."""


class ReplyRefusedError(Exception):
    """The server did not send a valid final reply; the message says why."""


class ReplyReader:
    """One reply, read by llhttp.

    A reply to HEAD, 204 (No Content) and 304 (Not Modified) end with the head (RFC 9112 §6.3), whatever follows it. So
    the parser gets each head alone, and a new one reads what follows an interim reply.

    Args:
        limit: maximum bytes of the decoded content.
        ends_with_head: whether the reply has no content whatever its head says, as to HEAD and CONNECT.
    """

    __slots__ = (
        "_codings", "_ended", "_ends_with_head", "_fields", "_keeps_alive", "_limit", "_overhead", "_parser", "_pieces",
        "_reason", "_size", "_status", "_tail", "failure", "headers", "is_complete", "is_reusable",
        "is_silent", "status",
    )  # fmt: skip

    def __init__(self, limit: int, *, ends_with_head: bool = False) -> None:
        self._limit = limit
        self._ends_with_head = ends_with_head
        self._overhead = 0  # bytes of heads; then, those since the last byte of content
        self._tail = b""
        self._pieces: list[bytes] = []
        self._size = 0
        self._codings: list[str] = []
        self.headers: Headers = ()
        self.status = 0
        """Status of the final head; 0 until it is there."""
        self.failure: Exception | None = None
        """Why there will be no complete reply."""
        self.is_silent = True
        self.is_complete = False
        self.is_reusable = False
        """Whether the connection of the complete reply can carry another one."""
        self._expect_head()

    def _expect_head(self) -> None:
        # A reader and its parser refer to each other; release() ends that without a garbage collector.
        self._parser = parser = HttpResponseParser(self)
        # As browsers do: a server that ends lines with LF, or sends old-fashioned values, has still replied.
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._fields: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._status: int | None = None
        self._ended = self._keeps_alive = False

    def release(self) -> None:
        """Release the parser; nothing is read any more."""
        del self._parser

    def feed(self, data: bytes) -> None:
        """Read what arrived.

        Raises:
            NotHttpError: the head is not that of an HTTP reply.
            HeadTooLargeError: it, or what surrounds the content, is too large.
            ReplyRefusedError: its status is not a final one.
            BrokenContentError: the content is not framed as declared.
            ContentTooLargeError: the content is longer than the limit.
        """
        self.is_silent = False
        if self.status:
            self._feed_content(data)
            return
        data = self._feed_head(data)
        if not self.status:
            return
        if self._ends_with_head or self._ended or self.status in _WITHOUT_CONTENT:
            self._complete(surplus=bool(data))
            return
        if data:
            self._feed_content(data)
        if not self.is_complete and self._declared_length() > self._max_size():
            raise ContentTooLargeError

    def feed_eof(self) -> bool:
        """Note that the server has closed the connection; returns whether that completes the reply."""
        # RFC 9112 §6.3: content that is neither chunked nor has a length ends with the connection.
        is_chunked = (self._field("transfer-encoding") or "").lower().endswith("chunked")
        if self.status and not self.is_complete and not is_chunked and self._field("content-length") is None:
            self._complete(surplus=True)
        return self.is_complete

    def head(self, elapsed_ms: int) -> HttpResponse:
        """Return status and header fields, without content."""
        return HttpResponse(self.status, self._reason.decode("utf-8", "replace"), self.headers, b"", elapsed_ms)

    def response(self, elapsed_ms: int) -> HttpResponse:
        """Return the complete reply.

        Raises:
            ContentTooLargeError: its decoded content is longer than the limit.
            ContentUnreadableError: it is not in the declared coding.
        """
        content = b"".join(self._pieces)
        coding = content_coding(self._codings) if content and self._codings else ""
        decoded = decode_content(content, coding, self._limit)
        return HttpResponse(self.status, self._reason.decode("utf-8", "replace"), self.headers, decoded, elapsed_ms)

    def _feed_head(self, data: bytes) -> bytes:
        """Read up to the end of the final head; returns what follows it."""
        seen = self._tail + data
        fed, start = len(self._tail), 0
        while True:
            found = _END_OF_HEAD.search(seen, start)
            end = len(seen) if found is None else found.end()
            part = seen[fed:end]
            self._overhead += len(part)
            if self._overhead > MAX_HEAD_BYTES:
                raise HeadTooLargeError
            self._parse_head(part)
            if found is None:
                self._tail = seen[-2:]
                return b""
            if self._status is not None and self._is_final(self._status):
                return seen[end:]
            fed = start = end

    def _parse_head(self, part: bytes) -> None:
        try:
            self._parser.feed_data(part)
        except HttpParserError:
            if self._status != _SWITCHING:
                raise NotHttpError from None
        if b"\0" in part:  # llhttp allows it in values
            raise NotHttpError

    def _is_final(self, status: int) -> bool:
        """Judge a head that is there; an interim one is forgotten."""
        if 100 <= status < 200 and status != _SWITCHING:
            self._expect_head()
            return False
        fields = self._fields
        if len(fields) > MAX_FIELDS or len(self._reason) > MAX_FIELD_BYTES:
            raise NotHttpError
        if self._overhead > MAX_FIELD_BYTES and any(len(name) + len(text) > MAX_FIELD_BYTES for name, text in fields):
            raise NotHttpError
        self.status, self.headers, self._overhead = status, _text_fields(fields), 0
        if status not in _FINAL_STATUSES:
            raise ReplyRefusedError(f"{status}, which is not a final status")
        self._codings = [text for name, text in self.headers if len(name) == 16 and name.lower() == "content-encoding"]
        return True

    def _feed_content(self, data: bytes) -> None:
        size = self._size
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            if not self.is_complete:
                raise BrokenContentError from None
            self.is_reusable = False
        if self._size > self._max_size():
            raise ContentTooLargeError
        # Chunk extensions and trailers can be endless, and the parser keeps a trailer until its end.
        self._overhead = self._overhead + len(data) if self._size == size else 0
        if self._overhead > MAX_HEAD_BYTES:
            raise HeadTooLargeError

    def _complete(self, *, surplus: bool) -> None:
        self.is_complete, self.is_reusable = True, self._keeps_alive and not surplus

    def _max_size(self) -> int:
        return max_encoded_size(self._limit) if self._codings else self._limit

    def _declared_length(self) -> int:
        # Python converts no text of more than 4,300 digits, and a server may send as many. 19 exceed every limit.
        return int((self._field("content-length") or "").lstrip("0")[:19] or 0)

    def _field(self, name: str) -> str | None:
        return next((text for key, text in reversed(self.headers) if key.lower() == name), None)

    # Called by the parser

    def on_message_begin(self) -> None:
        """Stop the parser behind a complete reply."""
        if self.is_complete:
            raise BrokenContentError

    def on_status(self, reason: bytes) -> None:
        """Receive a part of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a field of the head, or of the trailer, which is not used."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note what only the parser knows."""
        self._status, self._keeps_alive = self._parser.get_status_code(), self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        """Receive a part of the content."""
        self._size += len(piece)
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Note the end of a head without content, or of the content."""
        self._ended = True
        if self.status:
            self._complete(surplus=False)


def _text_fields(fields: list[tuple[bytes, bytes]]) -> Headers:
    # llhttp strips the blanks before a value, but not those after it (RFC 9110 §5.5).
    try:
        return tuple([(name.decode(), value.decode().rstrip(" \t")) for name, value in fields])
    except UnicodeDecodeError:
        return tuple([(_text(name), _text(value).rstrip(" \t")) for name, value in fields])


def _text(field: bytes) -> str:
    # RFC 9110 §5.5: ASCII by rule, ISO-8859-1 by history, UTF-8 in practice; never a lone surrogate.
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError:
        return field.decode("latin-1")

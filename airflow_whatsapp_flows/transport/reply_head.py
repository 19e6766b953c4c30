"""The head of a reply: limits its size, and ends replies without content after it, whatever the server sends next."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_STATUS_LINE_BYTES = 13
_END_OF_HEAD = b"\r\n\r\n"
MAX_HEAD_BYTES = 131_072
"""Maximum bytes before the content of a reply: status line and header fields, including interim replies (1xx)."""
_SLICE = 16_384
READ_BYTES = 16_384
"""Bytes read at once, so also the maximum read beyond the end of a reply."""
_NO_CONTENT = frozenset({204, 304})
_SWITCHING = 101


class HeadTooLargeError(aiohttp.ClientError):
    """The head of a reply exceeds the limit."""


def _read_in_small_pieces(transport: asyncio.BaseTransport) -> None:
    """Reduce asyncio's read size. There is no public API; elsewhere asyncio keeps its default of 256 kB."""
    tls: Any = getattr(transport, "_ssl_protocol", None)
    reader: Any
    for reader in (transport, tls, getattr(tls, "_transport", None)):
        if hasattr(reader, "max_size"):
            reader.max_size = READ_BYTES
    if hasattr(tls, "_ssl_buffer_view"):  # the buffer for TLS records
        tls._ssl_buffer_view = tls._ssl_buffer_view[:READ_BYTES]
    if hasattr(transport, "set_read_buffer_limits"):
        transport.set_read_buffer_limits(READ_BYTES)


class ReplyHandler(ResponseHandler):
    """An aiohttp protocol that limits the head of a reply, and ends one without content after its head.

    aiohttp limits each field, and in some versions their number, but reads any number of interim replies.

    A reply to HEAD, 204 (No Content) and 304 (Not Modified) end with the head (RFC 9112 §6.3). Some servers
    still send content. aiohttp takes it for a second, malformed reply and then loses the first one: an answered request
    would be in doubt.
    """

    _silent = False  # nothing received since the request
    _on_closed: Callable[[], None] | None = None
    _awaiting = False
    _is_head = False
    _head = b""
    _room: int | None = None  # bytes left for the head; None once it is complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read less at once than asyncio's default: 256 kB can be 40,000 chunks, and block the loop for 50 ms."""
        _read_in_small_pieces(transport)
        super().connection_made(transport)

    def await_reply(self, method: str, on_closed: Callable[[], None] | None = None) -> None:
        """Expect the head of a reply next.

        Args:
            method: HTTP method of the request about to be written.
            on_closed: called if the server closes the connection without any reply.
        """
        self._silent, self._on_closed = True, on_closed
        self._awaiting, self._is_head, self._head = True, method == "HEAD", b""
        self._room = MAX_HEAD_BYTES

    def data_received(self, data: bytes) -> None:
        """Process data received from the server."""
        self._silent = False
        if self._awaiting:
            surplus = self._surplus(data)
            if surplus:
                self.force_close()  # leftover data must not reach the next request
                data = data[:-surplus]
        # In slices until the head is complete: one read may contain thousands of interim replies.
        while self._room is not None and self.exception() is None:
            if not self._room:
                self._refuse_head()
                return
            size = min(_SLICE, self._room)
            part, data = data[:size], data[size:]
            self._room -= len(part)
            super().data_received(part)
            if not data:
                return
        super().data_received(data)

    def eof_received(self) -> None:
        """Record that the server will send no more data."""
        self._note_closed()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Record that the connection is closed, by a reset if there is an exception."""
        if exc is not None:
            self._note_closed()
        super().connection_lost(exc)

    def _note_closed(self) -> None:
        if self._silent and self._on_closed is not None:
            self._on_closed()
        self._silent = False

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Fail the reply, including content still being awaited.

        aiohttp forgets the content if it receives invalid HTTP: it would be awaited until the deadline.
        """
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
        content = self._payload
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the content is incomplete"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Receive a head from the parser."""
        status = data[0].code
        if not 100 <= status < 200 or status == _SWITCHING:
            self._room = None
        super().feed_data(data, size)

    def _refuse_head(self) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(HeadTooLargeError())

    def _surplus(self, data: bytes) -> int:
        """Count the bytes at the end of the data that follow a reply without content."""
        head, start = self._head + data, 0
        while True:
            line = _STATUS_LINE.match(head, start)
            if line is None:
                self._wait_for_more(head[start:], maybe=len(head) - start < _STATUS_LINE_BYTES)
                return 0
            status = int(line.group(1))
            interim = 100 <= status < 200 and status != _SWITCHING
            if not (interim or self._is_head or status in _NO_CONTENT):
                self._wait_for_more(b"", maybe=False)
                return 0
            end = head.find(_END_OF_HEAD, start)
            if end < 0:
                self._wait_for_more(head[start:], maybe=len(head) - start < MAX_HEAD_BYTES)
                return 0
            start = end + len(_END_OF_HEAD)
            if not interim:
                self._wait_for_more(b"", maybe=False)
                return len(head) - start

    def _wait_for_more(self, head: bytes, *, maybe: bool) -> None:
        self._awaiting, self._head = maybe, head if maybe else b""

"""The head of a reply: how much of it is read, and replies that end with it, whatever a server sends behind it."""

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
"""Bytes before the content of a reply: status line and header fields, including interim replies (1xx)."""
_SLICE = 16_384
READ_BYTES = 16_384
"""Bytes that are read at once, of which as many may be more than what is wanted of a reply."""
_NO_CONTENT = frozenset({204, 304})
_SWITCHING = 101


class HeadTooLargeError(aiohttp.ClientError):
    """More came before the content of a reply than is read."""


def _read_in_small_pieces(transport: asyncio.BaseTransport) -> None:
    """There is no public way; where asyncio is built otherwise, it reads 256 kB at once, as it does by default."""
    tls: Any = getattr(transport, "_ssl_protocol", None)
    reader: Any
    for reader in (transport, tls, getattr(tls, "_transport", None)):
        if hasattr(reader, "max_size"):
            reader.max_size = READ_BYTES
    if hasattr(tls, "_ssl_buffer_view"):  # what the records of TLS are received into
        tls._ssl_buffer_view = tls._ssl_buffer_view[:READ_BYTES]
    if hasattr(transport, "set_read_buffer_limits"):
        transport.set_read_buffer_limits(READ_BYTES)


class ReplyHandler(ResponseHandler):
    """An aiohttp protocol that limits the head of a reply, and reads one without content no further than its head.

    aiohttp limits each field, and in some versions their number; interim replies it reads without an end.

    A reply to HEAD, 204 (No Content) and 304 (Not Modified) end with the head (RFC 9112 §6.3). Some servers send
    content behind it. aiohttp takes that for a second reply, which is not HTTP, and then loses the first one: a request
    that was answered would be in doubt.
    """

    _silent = False  # nothing has come since the request
    _on_closed: Callable[[], None] | None = None
    _awaiting = False
    _is_head = False
    _head = b""
    _room: int | None = None  # bytes that the head may still take; None once it is here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read less at once than asyncio does: 256 kB can be 40,000 chunks, and keep the loop for 50 ms."""
        _read_in_small_pieces(transport)
        super().connection_made(transport)

    def await_reply(self, method: str, on_closed: Callable[[], None] | None = None) -> None:
        """Expect the head of a reply next.

        Args:
            method: of the request that is about to be written.
            on_closed: called when the server closes the connection in place of any reply.
        """
        self._silent, self._on_closed = True, on_closed
        self._awaiting, self._is_head, self._head = True, method == "HEAD", b""
        self._room = MAX_HEAD_BYTES

    def data_received(self, data: bytes) -> None:
        """Take what has come from the server."""
        self._silent = False
        if self._awaiting:
            surplus = self._surplus(data)
            if surplus:
                self.force_close()  # what is left must not meet the next request
                data = data[:-surplus]
        # In slices, until the head is here: what is read at once may hold thousands of interim replies.
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
        """Note that the server will send nothing more."""
        self._note_closed()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that the connection is gone, by a reset when there is an exception."""
        if exc is not None:
            self._note_closed()
        super().connection_lost(exc)

    def _note_closed(self) -> None:
        if self._silent and self._on_closed is not None:
            self._on_closed()
        self._silent = False

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Fail, and with it the content that is still awaited.

        aiohttp forgets the content when it finds that what comes is no HTTP: it would be awaited up to the deadline.
        """
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
        content = self._payload
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the content is incomplete"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a head from the parser."""
        status = data[0].code
        if not 100 <= status < 200 or status == _SWITCHING:
            self._room = None
        super().feed_data(data, size)

    def _refuse_head(self) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(HeadTooLargeError())

    def _surplus(self, data: bytes) -> int:
        """Bytes at the end of the data that stand behind a reply which ended with its head."""
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

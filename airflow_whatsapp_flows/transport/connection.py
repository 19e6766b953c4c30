"""One HTTP/1.1 connection: writes a request, and reads its reply."""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from typing import Any

from airflow_whatsapp_flows.transport.reply_reader import MAX_HEAD_BYTES, ReplyReader

READ_BYTES = 16_384
"""Bytes read at once, so also the maximum read beyond the end of a reply."""
_WRITE_BYTES = 65_536


class Connection(asyncio.Protocol):
    """A connection carries one request at a time, and reports what arrives while there is none.

    Args:
        connections: holds this one while it is open.
    """

    __slots__ = (
        "_connections", "_early", "_is_paused", "_loop", "_poll", "_reader", "_transport", "_unsent", "_waiter",
        "expires_at", "is_closed", "is_reused", "was_lost_silently",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, connections: set[Connection]) -> None:
        self._loop = asyncio.get_running_loop()
        self._connections = connections
        self._waiter: asyncio.Future[None] | None = None
        self._reader: ReplyReader | None = None
        self._early: bytes | None = b""  # what a server sends before the first request; None after that
        self._unsent = memoryview(b"")
        self._is_paused = False
        self.expires_at = math.inf
        """Time of the loop: the deadline of an exchange, or the end of the idle time."""
        self.is_closed = False
        self.is_reused = False
        self.was_lost_silently = False
        """Whether the server closed it without any reply."""

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Continue with TLS, after a proxy has opened a tunnel."""
        self._early = b""
        transport = await self._loop.start_tls(self._transport, self, context, server_hostname=server_name)
        if transport is None:  # lost meanwhile
            raise ConnectionResetError
        self._attach(transport)

    def exchange(
        self, head: bytes, content: bytes, reader: ReplyReader, deadline: float, waiter: asyncio.Future[None]
    ) -> None:
        """Write a request at once.

        Args:
            head: of the request.
            content: of the request; the rest of large content is written as the connection takes it.
            reader: of its reply.
            deadline: time of the loop when :meth:`expire` is to be called.
            waiter: done when the reader has a complete reply, or a failure.
        """
        self._waiter = waiter
        self._reader, self.expires_at = reader, deadline
        early, self._early = self._early, None
        if len(content) <= _WRITE_BYTES:
            self._transport.write(head + content)
        else:
            self._unsent = memoryview(content)
            self._transport.write(head)
            self._write_more()
        if early:
            self.data_received(early)

    def is_usable(self) -> bool:
        """Whether it is open, and nothing has arrived since the last reply.

        A server's bytes in between, such as content after a 204 or a second reply, would be read as the reply to the
        next request, and one contact's reply reported as another's.
        """
        if self.is_closed or self._early or self._transport.is_closing() or self._loop.time() >= self.expires_at:
            return False
        return not self._poll.poll(0)  # what the event loop has not read yet

    def has_written_all(self) -> bool:
        """Whether nothing of the last request is left to write; a server may reply before that."""
        return not self._unsent and not self._transport.get_write_buffer_size()

    def expire(self) -> None:
        """End the exchange at its deadline, or the connection at the end of its idle time."""
        if self._waiter is None:
            self.close()
        else:
            self._end(asyncio.TimeoutError())

    def close(self) -> None:
        """Close at once, without waiting for what a server does not read."""
        self.is_closed = True
        self._connections.discard(self)  # asyncio does not report the loss of one that is still starting TLS
        self._unsent = memoryview(b"")
        self._end(ConnectionAbortedError())
        self._transport.abort()

    def _attach(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        _read_in_small_pieces(transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def _end(self, error: Exception | None) -> None:
        waiter, reader = self._waiter, self._reader
        self._waiter = self._reader = None
        if reader is not None:
            reader.release()
            reader.failure = error
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _lose(self, error: Exception | None) -> None:
        """End the exchange with the connection."""
        self.is_closed = True
        reader = self._reader
        if reader is None:
            return
        if error is None and reader.feed_eof():
            self._end(None)
        else:
            self.was_lost_silently = reader.is_silent
            self._end(error or ConnectionResetError())

    def _write_more(self) -> None:
        while self._unsent and not self._is_paused:
            piece, self._unsent = self._unsent[:_WRITE_BYTES], self._unsent[_WRITE_BYTES:]
            self._transport.write(piece)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._connections.add(self)
        self._attach(transport)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        reader = self._reader
        if reader is None:
            if self._early is None or len(self._early) > MAX_HEAD_BYTES:
                self.close()
            else:
                self._early += data
            return
        try:
            reader.feed(data)
        except Exception as error:
            self._end(error)
        else:
            if reader.is_complete:
                self._end(None)

    def eof_received(self) -> None:  # noqa: D102
        self._lose(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._connections.discard(self)
        self._lose(exc)

    def pause_writing(self) -> None:  # noqa: D102
        self._is_paused = True

    def resume_writing(self) -> None:  # noqa: D102
        self._is_paused = False
        self._write_more()


def _read_in_small_pieces(transport: asyncio.BaseTransport) -> None:
    """Reduce asyncio's read size: 256 kB can be 40,000 chunks, and block the loop for 50 ms.

    There is no public API; elsewhere asyncio keeps its default.
    """
    tls: Any = getattr(transport, "_ssl_protocol", None)
    reader: Any
    for reader in (transport, tls, getattr(tls, "_transport", None)):
        if hasattr(reader, "max_size"):
            reader.max_size = READ_BYTES
    if hasattr(tls, "_ssl_buffer_view"):  # the buffer for TLS records
        tls._ssl_buffer_view = tls._ssl_buffer_view[:READ_BYTES]
    if hasattr(transport, "set_read_buffer_limits"):
        transport.set_read_buffer_limits(READ_BYTES)

"""Replies that end with their head, whatever a server sends behind it, and with what is no HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_STATUS_LINE_BYTES = 13
_END_OF_HEAD = b"\r\n\r\n"
_MAX_HEAD_BYTES = 1 << 20  # aiohttp's own limits on lines and fields are below it
_NO_CONTENT = frozenset({204, 304})
_SWITCHING = 101


class ReplyHandler(ResponseHandler):
    """An aiohttp protocol that reads a reply without content up to the end of its head, and no further.

    A reply to HEAD, 204 (No Content) and 304 (Not Modified) end with the head (RFC 9112 §6.3). Some servers send
    content behind it. aiohttp takes that for a second reply, which is not HTTP, and then loses the first one: a request
    that was answered would be in doubt.
    """

    _silent = False  # nothing has come since the request
    _on_closed: Callable[[], None] | None = None
    _awaiting = False
    _is_head = False
    _head = b""

    def await_reply(self, method: str, on_closed: Callable[[], None] | None = None) -> None:
        """Expect the head of a reply next.

        Args:
            method: of the request that is about to be written.
            on_closed: called when the server closes the connection in place of any reply.
        """
        self._silent, self._on_closed = True, on_closed
        self._awaiting, self._is_head, self._head = True, method == "HEAD", b""

    def data_received(self, data: bytes) -> None:
        """Take what has come from the server."""
        self._silent = False
        if self._awaiting:
            surplus = self._surplus(data)
            if surplus:
                self.force_close()  # what is left must not meet the next request
                data = data[:-surplus]
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
            content.set_exception(ClientPayloadError("the content did not come completely"))

    def _surplus(self, data: bytes) -> int:
        """Bytes at the end of the data that stand behind a reply which ended with its head."""
        head = self._head + data
        while True:
            line = _STATUS_LINE.match(head)
            if line is None:
                self._wait_for_more(head, maybe=len(head) < _STATUS_LINE_BYTES)
                return 0
            status = int(line.group(1))
            interim = 100 <= status < 200 and status != _SWITCHING
            if not (interim or self._is_head or status in _NO_CONTENT):
                self._wait_for_more(b"", maybe=False)
                return 0
            end = head.find(_END_OF_HEAD)
            if end < 0:
                self._wait_for_more(head, maybe=len(head) < _MAX_HEAD_BYTES)
                return 0
            head = head[end + len(_END_OF_HEAD) :]
            if not interim:
                self._wait_for_more(b"", maybe=False)
                return len(head)

    def _wait_for_more(self, head: bytes, *, maybe: bool) -> None:
        self._awaiting, self._head = maybe, head if maybe else b""

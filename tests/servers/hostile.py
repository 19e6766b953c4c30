r"""A server whose every byte is written by the test: truncated replies, resets, slow bytes, junk.

A test gives a script, which is called once per connection, in a thread of its own::

    def script(peer):
        peer.receive()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as received."""

    head: bytes
    content: bytes

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, server: HostileServer) -> None:
        self._connection = connection
        self._server = server
        self._buffer = b""
        self.closing = server.closing

    def receive(self) -> ReceivedRequest | None:
        """The next request with all of its content, also kept in the server's list; None when the client closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        length = next(
            (int(value) for name, value in ReceivedRequest(head, b"").headers if name.lower() == "content-length"), 0
        )
        while len(self._buffer) < length:
            if not self._fill():
                return None
        request = ReceivedRequest(head, self._buffer[:length])
        self._buffer = self._buffer[length:]
        self._server.requests.append(request)
        return request

    def _fill(self) -> bool:
        piece = self._connection.recv(65_536)
        self._buffer += piece
        return bool(piece)

    def await_data(self) -> None:
        """Wait until data is available, without reading it."""
        if not self._buffer:
            select.select([self._connection], [], [])

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def trickle(self, pieces: Iterable[bytes], seconds: float = 0.05) -> None:
        """Send the pieces with pauses, until the client or the test has had enough."""
        for piece in pieces:
            if self.closing.wait(seconds):
                return
            self.send(piece)

    def wait_for_client_to_close(self) -> None:
        with contextlib.suppress(OSError):
            while self._connection.recv(65_536):
                pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


Script = Callable[[Peer], None]


@dataclass
class HostileServer:
    """Listens on a free port of 127.0.0.1 until it is closed."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[ReceivedRequest] = field(default_factory=list)
    connections: int = 0
    accepted: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path: str = "/") -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self.accepted.set()
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self.script(Peer(connection, self))
        with contextlib.suppress(OSError):
            connection.close()

    def close(self) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
            assert not thread.is_alive(), "a script of the hostile server does not end"
        for connection in self._open:
            connection.close()


def reply(content: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A complete, honest reply."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


def honest(*replies: bytes) -> Script:
    """A script that answers each request with the next reply, and repeats the last one."""

    def script(peer: Peer) -> None:
        turn = 0
        while peer.receive() is not None:
            peer.send(replies[min(turn, len(replies) - 1)])
            turn += 1

    return script


def after_request(*pieces: bytes, reset: bool = False) -> Script:
    """A script that reads one request, sends these bytes and closes."""

    def script(peer: Peer) -> None:
        peer.receive()
        for piece in pieces:
            peer.send(piece)
        if reset:
            peer.reset()

    return script


def endless(piece: bytes, head: bytes = b"") -> Script:
    """A script that reads one request, sends a head, and then the same piece until the client closes."""

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(head)
        while True:
            peer.send(piece)

    return script

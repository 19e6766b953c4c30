"""A real HTTP server on loopback that records requests and sends scripted replies."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One recorded request."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    content: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def names(self) -> list[str]:
        return [key.lower() for key, _ in self.headers]


@dataclass(frozen=True)
class Answer:
    """A reply. ``drop`` closes the connection instead."""

    status: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> Answer:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


Script = Callable[[Received], Answer]


class RecordingServer:
    """Sends the queued answers in order, then those of ``script``; by default 200 and ``{"id": <number>}``.

    Args:
        script: answers a request.
        tls: of a server that speaks TLS.

    Attributes:
        overlapped: set once a request has arrived before another was answered. Scripts run one after the other.
    """

    def __init__(self, script: Script | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.queued: list[Answer] = []
        self._script = script or (lambda _: Answer.json({"id": len(self.received)}))
        self._lock = threading.Lock()
        self.overlapped = threading.Event()
        self._unanswered: list[Received] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Received(self.command, self.path, tuple(self.headers.items()), content)
                outer._unanswered.append(request)
                if len(outer._unanswered) > 1:
                    outer.overlapped.set()
                with outer._lock:
                    outer.received.append(request)
                    answer = outer.queued.pop(0) if outer.queued else outer._script(request)
                outer._unanswered.pop()  # any of them: they are only counted
                if answer.drop:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status not in (204, 304):
                    self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                if self.command != "HEAD" and answer.status not in (204, 304):
                    self.wfile.write(answer.content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            # Five, the default, and a burst of connections is refused when the machine is busy.
            request_queue_size = 128
            daemon_threads = True

        self._scheme = "http" if tls is None else "https"
        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

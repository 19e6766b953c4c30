"""A server that costs next to nothing, in a process of its own, so that a benchmark measures its client.

It reads complete requests over kept connections and answers each with the same small JSON after ``delay_ms``::

    with running_server(delay_ms=20) as url:
        ...
        print(counts(url))
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    del sys.path[0]

import argparse
import asyncio
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

CONTENT = b'{"id":7,"status":"created"}'
REPLY = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT
COUNTS = "/_counts"


@contextmanager
def running_server(delay_ms: float = 0, cpu: int | None = None) -> Iterator[str]:
    """A server on a free port of 127.0.0.1; it ends with the block, and when this process is killed.

    Args:
        delay_ms: milliseconds between a complete request and its reply.
        cpu: the CPU that it is pinned to. Default: none.

    Yields:
        Its base URL.

    Raises:
        RuntimeError: it did not start; its own message is on stderr.
    """
    command = [sys.executable, os.path.abspath(__file__), "--delay-ms", str(delay_ms)]
    if cpu is not None:
        command += ["--cpu", str(cpu)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        ready, _, port = process.stdout.readline().partition(" ")
        if ready != "ready":
            raise RuntimeError("the server ended before it was ready")
        yield f"http://127.0.0.1:{int(port)}"


def counts(url: str) -> dict[str, float]:
    """What a server has done so far.

    Args:
        url: its base URL.

    Returns:
        ``requests`` answered or to be answered, and ``cpu_seconds``, user and system, of its process.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url + COUNTS, timeout=10) as reply:
        counted: dict[str, float] = json.load(reply)
    return counted


class Server:
    """What all connections share."""

    def __init__(self, delay_ms: float) -> None:
        self.delay = delay_ms / 1000
        self.requests = 0

    def counted(self) -> bytes:
        """The reply that tells what was done."""
        content = json.dumps({"requests": self.requests, "cpu_seconds": time.process_time()}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content


class Connection(asyncio.Protocol):
    """One kept connection. Its client waits for each reply before it sends again."""

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._call_later = asyncio.get_running_loop().call_later
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once a request is complete."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or len(buffer) < end + 4 + _content_length(buffer[:end]):
            return
        self._buffer = b""
        if buffer.startswith(b"GET " + COUNTS.encode()):
            self.transport.write(self._server.counted())
            return
        self._server.requests += 1
        if self._server.delay:
            self._call_later(self._server.delay, self.transport.write, REPLY)
        else:
            self.transport.write(REPLY)


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    return int(lowered[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class _EndOfInput(asyncio.Protocol):
    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


async def serve(delay_ms: float) -> None:
    """Serve until the standard input ends, which it also does when the process that started this one is killed."""
    server = Server(delay_ms)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    await loop.connect_read_pipe(lambda: _EndOfInput(ended), sys.stdin)
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=1024)
    print(f"ready {listener.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()
    listener.close()


def main() -> int:
    """The server's own process."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--delay-ms", type=float, default=0)
    options.add_argument("--cpu", type=int)
    chosen = options.parse_args()
    if chosen.cpu is not None:
        os.sched_setaffinity(0, {chosen.cpu})
    asyncio.run(serve(chosen.delay_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())

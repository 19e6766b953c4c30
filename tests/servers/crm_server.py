"""The process of the logging CRM: ``python -m tests.servers.crm_server LOG [FAULTS]``.

A request counts once it was read completely: it is applied or not, its line is in the log, and only then is it
answered. A client that is killed between head and body has sent nothing. It prints ``ready PORT`` and ends at the end
of its standard input, which also comes when the process that started it is killed.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import json
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from tests.servers.crm_faults import Dice, Faults, retry_after_header

CONTROL = "/_control"
SECOND = 1_000_000_000
REASONS = {item.value: item.phrase for item in HTTPStatus}
UNREAD = {"reset_before"}
NOT_APPLIED = {"error_not_applied": 500, "too_many": 429, "unavailable": 503, "forbidden": 403, "rate_limited": 400}
UNANSWERED = {"reset_after", "cut_head", "cut_body", "drop", "drop_not_applied", "slow"}


@dataclass(frozen=True)
class Request:
    """One complete request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Answer:
    """The decision about a request: the reply, and the fault of its delivery, if any."""

    status: int
    body: bytes
    header: bytes = b""
    applied: bool = False
    deduped: bool = False
    fault: str | None = None

    def wire(self) -> bytes:
        head = f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}\r\nContent-Type: application/json\r\n"
        if self.status in (204, 304):
            return head.encode() + self.header + b"\r\n"
        return head.encode() + self.header + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body


class Crm:
    """State shared by all connections: faults, saved replies, the log."""

    def __init__(self, log: str, faults: Faults) -> None:
        # One write per line: the line is complete in the file before its request is answered.
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._saved: dict[str, tuple[str, Answer]] = {}
        self._recent: collections.deque[int] = collections.deque()
        self._number = 0
        self._applied = 0
        self.configure(faults)

    def configure(self, faults: Faults) -> None:
        self.faults = faults
        self._dice = Dice(faults)
        self._recent.clear()

    def draw(self, target: str) -> str | None:
        """The fault that the request with this target meets."""
        return self._dice.draw() if target.startswith(self.faults.only) else None

    def serve(self, request: Request, fault: str | None) -> Answer:
        """Decide, apply, log."""
        now = time.monotonic_ns()
        digest = hashlib.sha256(request.body).hexdigest()
        self._number += 1
        answer = self._decide(request, digest, fault, now)
        self._applied += answer.applied
        line = {
            "t": now,
            "n": self._number,
            "method": request.method,
            "path": request.path,
            "key": request.headers.get("idempotency-key"),
            "contact": self._contact(request),
            "body_hash": digest,
            "status": answer.status,
            "applied": answer.applied,
            "reply": "dropped" if answer.fault in UNANSWERED else "sent",
            "deduped": answer.deduped,
            "fault": answer.fault,
        }
        os.write(self._log, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        return answer

    def control(self, request: Request) -> Answer:
        """Change the faults (POST), or return the counts."""
        if request.method == "POST":
            try:
                self.configure(Faults.of(json.loads(request.body)))
            except (ValueError, TypeError) as error:
                return Answer(400, json.dumps({"error": str(error)}).encode())
        counted = {"requests": self._number, "applied": self._applied, "cpu_seconds": time.process_time()}
        return Answer(200, json.dumps(counted).encode())

    def _decide(self, request: Request, digest: str, fault: str | None, now: int) -> Answer:
        if self._above_rate(now):
            header = retry_after_header(self.faults.rate_retry_after)
            return Answer(429, b'{"error":"above the limit"}', header, fault="rate")
        if fault in NOT_APPLIED:
            header = retry_after_header(self._dice.retry_after()) if fault == "too_many" else b""
            return Answer(NOT_APPLIED[fault], json.dumps({"code": fault}).encode(), header, fault=fault)
        if fault == "drop_not_applied":
            return Answer(self.faults.status, b"", fault=fault)
        return self._apply(request, digest, fault)

    def _apply(self, request: Request, digest: str, fault: str | None) -> Answer:
        key = request.headers.get("idempotency-key")
        known = self._saved.get(key) if self.faults.dedupe and key is not None else None
        if known is not None and known[0] != digest:
            return Answer(422, b'{"error":"this key came with another body"}', fault="other_body")
        good = known[1] if known is not None else Answer(self.faults.status, b'{"id":%d}' % self._number)
        if known is None and key is not None:
            self._saved[key] = (digest, good)
        first = known is None
        if fault == "error_applied":
            return Answer(500, b'{"code": "error_applied"}', applied=first, deduped=not first, fault=fault)
        return Answer(good.status, good.body, applied=first, deduped=not first, fault=fault)

    def _above_rate(self, now: int) -> bool:
        if self.faults.rate is None:
            return False
        while self._recent and now - self._recent[0] >= SECOND:
            self._recent.popleft()
        if len(self._recent) >= self.faults.rate:
            return True
        self._recent.append(now)
        return False

    def _contact(self, request: Request) -> str | None:
        named = request.headers.get(self.faults.contact_header.lower())
        if named is not None:
            return named
        for source in (request.body.decode("utf-8", "replace"), request.target.partition("?")[2]):
            value = _field(source, self.faults.contact_field)
            if value is not None:
                return str(value)
        return None


def _field(text: str, name: str) -> Any:
    if text.startswith("{"):
        try:
            return json.loads(text).get(name)
        except ValueError:
            return None
    if "=" not in text:
        return None
    values = parse_qs(text, keep_blank_values=True).get(name)
    return values[0] if values else None


class Connection(asyncio.Protocol):
    """Reads one request after the other; the next one waits for the reply to the last."""

    transport: asyncio.Transport

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._buffer = b""
        self._busy = False
        self._drawn: tuple[str | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._read_on()

    def _read_on(self) -> None:
        if self._busy or b"\r\n" not in self._buffer or self.transport.is_closing():
            return
        if self._drawn is None:
            target = self._buffer.partition(b"\r\n")[0].decode("latin-1").split(" ")[1:2]
            self._drawn = (None,) if target == [CONTROL] else (self._crm.draw("".join(target)),)
        if self._drawn[0] in UNREAD:
            self._reset()
            return
        try:
            request = self._take()
        except ValueError:
            self.transport.write(Answer(400, b'{"error":"not a request with a Content-Length"}').wire())
            self.transport.close()
            return
        if request is not None:
            fault, self._drawn, self._busy = self._drawn[0], None, True
            self._respond(request, fault)

    def _take(self) -> Request | None:
        """The next request, if it is complete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "transfer-encoding" in headers:
            raise ValueError("a body without a Content-Length")
        length = int(headers.get("content-length", "0"))
        if len(self._buffer) < end + 4 + length:
            return None
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        return Request(method, target, headers, body)

    def _respond(self, request: Request, fault: str | None) -> None:
        if request.target == CONTROL:
            self._deliver(self._crm.control(request))
            return
        answer = self._crm.serve(request, fault)
        if request.method == "HEAD":
            answer = replace(answer, body=b"")
        wait = self._crm.faults.latency_ms / 1000
        if answer.fault == "slow":
            wait = self._crm.faults.slow_seconds
        if wait:
            asyncio.get_running_loop().call_later(wait, self._deliver, answer)
        else:
            self._deliver(answer)

    def _deliver(self, answer: Answer) -> None:
        if self.transport.is_closing():
            return
        if answer.fault in UNANSWERED:
            self._spoil(answer)
            return
        self.transport.write(answer.wire())
        self._busy = False
        self._read_on()

    def _spoil(self, answer: Answer) -> None:
        if answer.fault == "reset_after":
            self._reset()
            return
        wire = answer.wire()
        if answer.fault == "cut_head":
            self.transport.write(wire[: wire.index(b"\r\n\r\n") // 2])
        elif answer.fault == "cut_body":
            self.transport.write(wire[: len(wire) - len(answer.body) // 2])
        self.transport.close()

    def _reset(self) -> None:
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _EndOfInput(asyncio.Protocol):
    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, _: Exception | None) -> None:
        self._ended.set()


async def serve(log: str, faults: Faults) -> None:
    """Serve until the standard input ends."""
    crm = Crm(log, faults)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    await loop.connect_read_pipe(lambda: _EndOfInput(ended), sys.stdin)
    server = await loop.create_server(lambda: Connection(crm), "127.0.0.1", 0, backlog=1024)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Faults.of(json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}"))))

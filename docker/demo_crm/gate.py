"""What every request passes on its way in and out: switches, idempotency, the transaction, the log."""

import asyncio
import json
import logging
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo_crm.bodies import RefusedError
from demo_crm.idempotency import Reply, SavedReplies, fingerprint, key_of
from demo_crm.request_log import Entry, RequestLog, entry_of
from demo_crm.storage import Storage
from demo_crm.switches import Switch, Switchboard, searchable

BODY_LIMIT = 20_000_000
logger = logging.getLogger(__name__)


def problem(status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> Reply:
    """An error reply, in the one shape all errors of the CRM have."""
    if status in (204, 205, 304):
        return Reply(status, list(headers), b"")
    body = json.dumps({"error": code, "message": message}).encode()
    return Reply(status, [(b"content-type", b"application/json"), *headers], body)


def is_desk(path: str) -> bool:
    """Whether a path belongs to the person watching: it is neither logged nor spoiled."""
    return path == "/" or path.startswith("/_") or path == "/favicon.ico"


class Gate:
    """ASGI middleware around the CRM proper.

    Applying a request, saving its reply and logging it are one transaction under one lock; delays and dropped
    connections happen outside it, so one slow request holds up no other.
    """

    def __init__(
        self, app: ASGIApp, *, storage: Storage, log: RequestLog, replies: SavedReplies, switchboard: Switchboard
    ) -> None:
        self._app = app
        self._storage = storage
        self._log = log
        self._replies = replies
        self._switchboard = switchboard
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        if len(body) > BODY_LIMIT:
            reply: Reply | None = problem(413, "too_large", f"A body may have up to {BODY_LIMIT} bytes")
        elif is_desk(scope["path"]):
            reply = await self._watch(scope, body)
        else:
            reply = await self._serve(scope, body)
        if reply is None:
            await _drop(scope, receive)
        else:
            await _answer(send, reply)

    async def _watch(self, scope: Scope, body: bytes) -> Reply:
        async with self._lock:
            with self._storage.transaction():
                return await _call(self._app, scope, body)

    async def _serve(self, scope: Scope, body: bytes) -> Reply | None:
        entry = entry_of(dict(scope), body)
        content_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1").lower()
        text = searchable(scope["query_string"], body, content_type)
        switch = self._switchboard.decide(entry.method, entry.path, text)
        if switch and (switch.status is not None or switch.drop == "before"):
            await asyncio.sleep(switch.delay)
            return await self._settle(entry, None, switch)
        try:
            key = key_of(entry.method, scope["headers"])
            print_ = fingerprint(entry.method, _target(scope), body)
            saved = self._replies.begin(key, print_) if key is not None else None
        except RefusedError as refused:
            return await self._settle(entry, problem(refused.status, refused.code, refused.message), None)
        try:
            # The key is held meanwhile: an impatient client's second try meets 409 (§2.6 of the draft).
            await asyncio.sleep(switch.delay if switch else 0)
            entry.replayed = saved is not None
            if saved is not None:
                return await self._settle(entry, saved, switch)
            return await self._apply(scope, body, key, entry, switch)
        finally:
            if key is not None and saved is None:
                self._replies.release(key)

    async def _apply(
        self, scope: Scope, body: bytes, key: str | None, entry: Entry, switch: Switch | None
    ) -> Reply | None:
        try:
            async with self._lock:
                with self._storage.transaction():
                    before = self._storage.changes
                    reply = await _call(self._app, scope, body)
                    entry.applied = self._storage.changes > before
                    if key is not None:
                        self._replies.save(key, reply)
                    return self._log_and_spoil(entry, reply, switch)
        except Exception:
            logger.exception("%s %s", entry.method, entry.path)
            entry.applied = False
            return await self._settle(entry, problem(500, "broken", "The CRM has a fault; nothing was applied"), None)

    async def _settle(self, entry: Entry, reply: Reply | None, switch: Switch | None) -> Reply | None:
        async with self._lock:
            with self._storage.transaction():
                return self._log_and_spoil(entry, reply, switch)

    def _log_and_spoil(self, entry: Entry, reply: Reply | None, switch: Switch | None) -> Reply | None:
        if switch is not None:
            reply = spoiled(reply, switch)
            entry.dropped = switch.drop
        entry.status = reply.status if reply else None
        self._log.write(entry)
        return reply


def spoiled(reply: Reply | None, switch: Switch) -> Reply | None:
    """What the client gets in place of a reply; None for a closed connection."""
    if switch.drop:
        return None
    status = switch.status if switch.status is not None else switch.after_status
    if status is None:
        return reply
    extra = [] if switch.retry_after is None else [(b"retry-after", str(switch.retry_after).encode("ascii"))]
    return problem(status, "switched", f"A switch of the demo CRM answers with {status}", *extra)


def _target(scope: Scope) -> str:
    raw = scope.get("raw_path") or scope["path"].encode()
    return (raw + b"?" + scope["query_string"]).decode("latin-1")


async def _read(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        # What is kept exceeds the limit by one part at most; the rest is read and forgotten.
        if len(body) <= BODY_LIMIT:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _call(app: ASGIApp, scope: Scope, body: bytes) -> Reply:
    status = 500
    headers: list[tuple[bytes, bytes]] = []
    parts: list[bytes] = []
    inbox: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return inbox.pop() if inbox else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return Reply(status, kept, b"".join(parts))


async def _answer(send: Send, reply: Reply) -> None:
    headers = list(reply.headers)
    if reply.status not in (204, 304):
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _drop(scope: Scope, receive: Receive) -> None:
    state: dict[str, Any] = scope.get("state", {})
    transport = state.get("transport")
    if transport is None:
        raise RuntimeError("Dropping a connection needs demo_crm.server; this server does not hand out its transport")
    transport.abort()
    # uvicorn answers 500 for an app that returns without a reply, unless it knows that the client is gone.
    while (await receive())["type"] != "http.disconnect":
        pass

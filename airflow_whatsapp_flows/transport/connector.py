"""Connections that are safe to send on: checked addresses, and no leftover bytes of an earlier reply."""

from __future__ import annotations

import asyncio
import math
import select
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from ipaddress import ip_address
from weakref import WeakKeyDictionary, WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from airflow_whatsapp_flows.transport.network import NetworkPolicy
from airflow_whatsapp_flows.transport.reply_head import ReplyHandler

Lookup = Callable[[str, int], Sequence[str]]
"""Resolves host and port to addresses; blocks, and raises ``OSError`` if there are none."""

# Less than the 2 s after which gunicorn, and the 5 s after which Node and uvicorn, close an idle connection: it is
# unknown whether a request sent during the close was read.
_IDLE_SECONDS = 1.5
_SINGLE_USE_SECONDS, _LONGEST_SINGLE_USE = 60.0, 3600.0
_NEVER = (-math.inf, 0.0)
_LOOKUP_THREADS = 8


before_writing: ContextVar[Callable[[], None]] = ContextVar("before_writing")
"""Called in each send when its request gets the connection it will be written to; nothing was written before.

aiohttp's own signal for this, ``on_request_headers_sent``, costs a request 10 µs for the signals around it.
"""


class AddressRefusedError(Exception):
    """The network policy refuses a host; the message says why and what would allow it."""


def system_lookup(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name from the system's resolver, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class JudgingResolver(AbstractResolver):
    """Looks up a name once, checks every address, and passes the checked ones to the connector."""

    def __init__(self, network: NetworkPolicy, lookup: Lookup) -> None:
        self._network = network
        self._lookup = lookup
        # Separate threads, because asyncio.run() waits for those of the loop, and one hanging lookup would outlive
        # every deadline.
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="whatsapp-flows-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of ``host`` if all of them are allowed.

        Raises:
            AddressRefusedError: one of them is not.
            OSError: it has none.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, self._lookup, host, port)
        except UnicodeError as error:  # a label of more than 63 characters
            raise OSError("not a host name") from error
        if not found:
            raise OSError("the name has no address")
        refusal = self._network.refusal_of_resolved(host, port, [ip_address(address) for address in found])
        if refusal is not None:
            raise AddressRefusedError(refusal)
        return [_resolve_result(host, port, address) for address in found]

    async def close(self) -> None:
        """Release the threads; one in a lookup ends with it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class CleanConnector(aiohttp.TCPConnector):
    """Reuses a kept-alive connection only if nothing has arrived on it since its last reply.

    aiohttp would read bytes that a server sent in between, such as content after a 204 or a second reply, as the
    reply to the next request, and report one contact's reply as another's.

    Some servers close a kept-alive connection silently, and a request sent meanwhile is in doubt although nobody read
    it. After that happens, no connection is reused for a while, and for twice as long the next time.
    """

    def __init__(self, resolver: JudgingResolver) -> None:
        # The caller limits the number of connections; a limit here would count waiting as connecting.
        super().__init__(limit=0, resolver=resolver, keepalive_timeout=_IDLE_SECONDS)
        # aiohttp has no public way to set the protocol.
        self._factory = partial(ReplyHandler, loop=self._loop)  # type: ignore[assignment]
        self._used: WeakKeyDictionary[ResponseHandler, _Peephole] = WeakKeyDictionary()
        self._transports: WeakSet[asyncio.Transport] = WeakSet()
        self._single_use: dict[ConnectionKey, tuple[float, float]] = {}  # until when, and for how long

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a new connection, or a clean one from the pool."""
        key, on_closed = req.connection_key, None
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None:
                break
            peephole = self._used.get(protocol)
            if peephole is None:
                self._used[protocol] = _Peephole(protocol)
                if connection.transport is not None:
                    with suppress(TypeError):  # uvloop's TLS transports take no weak reference
                        self._transports.add(connection.transport)
                break
            if not (protocol.should_close or peephole.is_readable() or self._is_single_use(key)):
                on_closed = partial(self._note_closed, key)
                break
            connection.close()
        if isinstance(connection.protocol, ReplyHandler):
            connection.protocol.await_reply(req.method, on_closed)
        before_writing.get()()
        return connection

    def _is_single_use(self, key: ConnectionKey) -> bool:
        return bool(self._single_use) and self._loop.time() < self._single_use.get(key, _NEVER)[0]

    def _note_closed(self, key: ConnectionKey) -> None:
        """Record that a reused connection was closed instead of a reply."""
        now = self._loop.time()
        until, seconds = self._single_use.get(key, _NEVER)
        if now >= until:  # others that break at the same time add nothing
            seconds = min(2 * seconds, _LONGEST_SINGLE_USE) if seconds else _SINGLE_USE_SECONDS
            self._single_use[key] = now + seconds, seconds

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, without waiting to write what a server that replied early did not read."""
        await super().close(abort_ssl=abort_ssl)
        for transport in self._transports:
            transport.abort()
        self._transports.clear()


class _Peephole:
    """Checks what the kernel holds for one connection; created once for each, because a check is cheaper."""

    def __init__(self, protocol: ResponseHandler) -> None:
        transport = protocol.transport
        self._socket = transport.get_extra_info("socket") if transport is not None else None
        self._poll = select.poll()
        if self._socket is not None and self._socket.fileno() >= 0:
            self._poll.register(self._socket.fileno(), select.POLLIN)

    def is_readable(self) -> bool:
        """Whether there are bytes, or the end, that the event loop has not processed yet."""
        # The descriptor of a closed socket is soon reused.
        return self._socket is None or self._socket.fileno() < 0 or bool(self._poll.poll(0))


def _resolve_result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)

"""The connections of a session: kept for the next request to the same host, or opened."""

from __future__ import annotations

import asyncio
import math

from airflow_whatsapp_flows.transport.connection import Connection
from airflow_whatsapp_flows.transport.connector import Connector, Route
from airflow_whatsapp_flows.transport.reply_reader import ReplyReader
from airflow_whatsapp_flows.transport.request_head import Target

# Less than the 2 s after which gunicorn, and the 5 s after which Node and uvicorn, close an idle connection: it is
# unknown whether a request sent during the close was read.
_IDLE_SECONDS = 1.5
_SINGLE_USE_SECONDS, _LONGEST_SINGLE_USE = 60.0, 3600.0
_NEVER = (-math.inf, 0.0)
_CLOSING_STEPS = 3  # one, and two with TLS


class ConnectionPool:
    """Keeps a connection only if its reply ended cleanly, and reuses it only if nothing has arrived since.

    Some servers close a kept-alive connection silently, and a request sent meanwhile is in doubt although nobody read
    it. After that happens, no connection is reused for a while, and for twice as long the next time.

    One timer serves all connections: a timer for each request would cost more than the rest of the pool.
    """

    def __init__(self, connector: Connector) -> None:
        self.is_closed = False
        self.loop = asyncio.get_running_loop()
        self._connector = connector
        self._kept: dict[Route, list[Connection]] = {}  # the latest last, which is used first
        self._single_use: dict[Route, tuple[float, float]] = {}  # until when, and for how long
        self._opening: set[asyncio.Task[Connection]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def take(self, route: Route) -> Connection | None:
        """Return a clean connection from the pool."""
        kept = self._kept.get(route)
        while kept:
            connection = kept.pop()
            if connection.is_usable():
                connection.is_reused = True
                return connection
            connection.close()
        return None

    async def open(self, route: Route, target: Target, seconds: float) -> Connection:
        """Open a connection.

        Raises:
            asyncio.TimeoutError: that takes longer than ``seconds``.
            Exception: as :meth:`Connector.open`.
        """
        if self.is_closed:
            raise ConnectionAbortedError
        task = self.loop.create_task(self._connector.open(route, target))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        try:
            await asyncio.wait([task], timeout=seconds)  # wait_for() may swallow a cancellation before Python 3.12
        except BaseException:
            if not task.cancel() and task.exception() is None:
                task.result().close()
            raise
        if not task.done():
            task.cancel()
            raise asyncio.TimeoutError
        if task.cancelled():  # the session was closed
            raise ConnectionAbortedError
        connection = task.result()
        if connection.is_closed:
            raise ConnectionResetError
        self._expire_at(connection, self.loop.time() + _IDLE_SECONDS)
        return connection

    def put_back(self, route: Route, connection: Connection, reader: ReplyReader | None) -> None:
        """Keep a connection whose reply is complete, or that was not used; close any other."""
        now = self.loop.time()
        if connection.was_lost_silently and connection.is_reused:
            self._note_silent_close(route, now)
        is_clean = reader is None or (reader.is_reusable and connection.has_written_all())
        if not is_clean or connection.is_closed or now < self._single_use.get(route, _NEVER)[0]:
            connection.close()
            return
        if reader is not None:  # one that was not used has been idle since before
            self._expire_at(connection, now + _IDLE_SECONDS)
        self._kept.setdefault(route, []).append(connection)

    def _note_silent_close(self, route: Route, now: float) -> None:
        """Record that a reused connection was closed instead of a reply."""
        until, seconds = self._single_use.get(route, _NEVER)
        if now >= until:  # others that break at the same time add nothing
            seconds = min(2 * seconds, _LONGEST_SINGLE_USE) if seconds else _SINGLE_USE_SECONDS
            self._single_use[route] = now + seconds, seconds
        for connection in self._kept.pop(route, ()):
            connection.close()

    def _expire_at(self, connection: Connection, when: float) -> None:
        connection.expires_at = when
        self.wake_at(when)

    def wake_at(self, when: float) -> None:
        """See to it that what is over by then is ended then: exchanges at their deadline, and idle connections."""
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = self.loop.call_at(when, self._expire), when

    def _expire(self) -> None:
        """End every exchange and idle connection whose time is over."""
        self._timer, self._timer_at = None, math.inf
        now = self.loop.time()
        for connection in list(self._connector.connections):
            if connection.expires_at <= now:
                connection.expire()
        self._kept = {
            route: open_ones
            for route, kept in self._kept.items()
            if (open_ones := [connection for connection in kept if not connection.is_closed])
        }
        rest = [connection.expires_at for connection in self._connector.connections if not connection.is_closed]
        self.wake_at(min((when for when in rest if when > now), default=math.inf))

    async def close(self) -> None:
        """Close every connection, without waiting to write what a server that replied early did not read."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._opening):
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening)
        for connection in list(self._connector.connections):
            connection.close()
        for _ in range(_CLOSING_STEPS):
            await asyncio.sleep(0)  # the event loop closes the sockets

"""Outages of the database server: waiting for its return, and giving up after a timeout."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from airflow_whatsapp_flows.errors import LedgerError

_log = logging.getLogger(__name__)
T = TypeVar("T")

RETURN_SECONDS = 3.0
"""Seconds for an owner that lost its session to reclaim its chunks once the server is back."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0  # seconds between two attempts to reconnect
_SHORTEST_TIMEOUT = 2  # seconds to connect; libpq's minimum
# SQLSTATEs of PostgreSQL while it starts, shuts down, or has no free connections.
_AWAY = ("57P01", "57P02", "57P03", "53300")


class SessionHeldError(LedgerError):
    """The server has not yet noticed that the previous session is lost, and still holds its locks."""


def is_away(error: LedgerError) -> bool:
    """Whether the server is unreachable or has ended the session; always false for a file."""
    if isinstance(error, SessionHeldError):
        return True
    cause = error.__cause__
    if not isinstance(cause, DBAPIError):
        return False
    if cause.connection_invalidated:
        return True
    state = getattr(cause.orig, "sqlstate", None)
    if state is None:  # not an error from a server
        return isinstance(cause, OperationalError) and type(cause.orig).__module__.startswith("psycopg")
    return state.startswith("08") or state in _AWAY


class Outages:
    """Handles times when a ledger's server is unreachable.

    Attributes:
        timeout: seconds to wait for the server to return; 0 to fail at once.

    Args:
        shown: the ledger's URL without its password.
    """

    def __init__(self, shown: str) -> None:
        self.timeout = 0.0
        self._display_url = shown
        self._sessions: WeakSet[Any] = WeakSet()  # connections of the driver
        self._away = False
        self._found: dict[Hashable, float] = {}
        self._impatient = threading.Event()
        self._deadline = math.inf
        self._timer: threading.Timer | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the server is away, and waited for."""
        return self._away

    def begin(self, timeout: float) -> None:
        """From now on, wait up to this many seconds for the server to return."""
        self.timeout = timeout
        self._impatient.clear()

    def watch(self, engine: Engine) -> None:
        """Track all sessions of an engine."""
        event.listen(engine, "connect", lambda session, _: self._sessions.add(session))
        event.listen(engine, "do_connect", self._before_connecting)

    def outlast(self, work: Callable[[], T]) -> T:
        """Run an idempotent function; if the server becomes unreachable, wait for it and run the function again.

        Raises:
            LedgerError: raised by ``work``, or because the server did not return in time.
        """
        since: float | None = None
        while True:
            try:
                done = work()
            except LedgerError as error:
                since = time.monotonic() if since is None else since
                self.wait(error, since)
            else:
                self.note_back(since)
                return done

    def wait(self, error: LedgerError, since: float) -> None:
        """Wait until the next attempt to reach the server.

        Args:
            error: the error that occurred.
            since: ``time.monotonic()`` of its first occurrence.

        Raises:
            LedgerError: the error, unless the server is unreachable and there is time left.
        """
        if self.timeout <= 0 or not is_away(error):
            raise error
        away = time.monotonic() - since
        if away >= self.timeout:
            raise LedgerError(f"{error}; it did not come back within {self.timeout:g} s") from error.__cause__
        if not self._away:
            self._away = True
            text = "%s; reconnecting for up to %g s, during which nothing new is sent"
            _log.warning(text, error, self.timeout)
        if self._impatient.wait(min(_LONGEST_PAUSE, max(_FIRST_PAUSE, away / 4))):
            raise error

    def note_back(self, since: float | None) -> None:
        """Record that the server is reachable.

        Args:
            since: when it became unreachable; ``None`` if it did not.
        """
        if since is not None and self._away:
            self._away = False
            _log.warning("the ledger %s is back after %.1f s", self._display_url, time.monotonic() - since)

    def is_fresh(self, found: Hashable) -> bool:
        """Whether ``found`` was first seen less than :data:`RETURN_SECONDS` ago."""
        return self.timeout > 0 and time.monotonic() - self._found.setdefault(found, time.monotonic()) < RETURN_SECONDS

    def end_waiting(self) -> None:
        """Stop waiting for an unreachable server; waiting callers get the original error."""
        self._impatient.set()

    def give_up_in(self, seconds: float) -> None:
        """After this many seconds, end everything that waits for the server, in any thread, unless closed before."""
        if self._timer is None:
            self._deadline = time.monotonic() + seconds
            self._timer = threading.Timer(seconds, self._give_up)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Cancel the ending of sessions."""
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        self._impatient.set()
        # There is no other way to interrupt a thread that waits for a server that has stopped responding.
        for session in list(self._sessions):
            with suppress(Exception), socket.socket(fileno=os.dup(session.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    def _before_connecting(self, _dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        if self._deadline == math.inf:
            return
        if time.monotonic() + _SHORTEST_TIMEOUT > self._deadline:
            raise LedgerError(f"the ledger {self._display_url} did not answer while the run was stopped")
        parameters["connect_timeout"] = _SHORTEST_TIMEOUT

"""A database server that goes away and comes back: waiting for it, and letting go of it when time is over."""

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
"""Seconds for an owner whose session was lost to reclaim its chunks when the server is back."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0  # seconds between two attempts to reconnect
_SHORTEST_TIMEOUT = 2  # seconds to connect; libpq knows no shorter one
# What PostgreSQL says when it has no session to give, by SQLSTATE: it starts up, stops, or all its sessions are taken.
_AWAY = ("57P01", "57P02", "57P03", "53300")


class SessionHeldError(LedgerError):
    """The server has not noticed yet that the session before is gone, and still keeps its locks."""


def is_away(error: LedgerError) -> bool:
    """Whether the server cannot be reached, or ended the session; false for everything that a file does."""
    if isinstance(error, SessionHeldError):
        return True
    cause = error.__cause__
    if not isinstance(cause, DBAPIError):
        return False
    if cause.connection_invalidated:
        return True
    state = getattr(cause.orig, "sqlstate", None)
    if state is None:  # no server has said anything
        return isinstance(cause, OperationalError) and type(cause.orig).__module__.startswith("psycopg")
    return state.startswith("08") or state in _AWAY


class Outages:
    """What becomes of a ledger whose server is away.

    Attributes:
        timeout: seconds in which the server may come back; 0 to fail at once.

    Args:
        shown: the ledger's URL without its password.
    """

    def __init__(self, shown: str) -> None:
        self.timeout = 0.0
        self._display_url = shown
        self._sessions: WeakSet[Any] = WeakSet()  # the driver's connections
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
        """Let the server come back within so many seconds, from now on."""
        self.timeout = timeout
        self._impatient.clear()

    def watch(self, engine: Engine) -> None:
        """Know every session of an engine."""
        event.listen(engine, "connect", lambda session, _: self._sessions.add(session))
        event.listen(engine, "do_connect", self._before_connecting)

    def outlast(self, work: Callable[[], T]) -> T:
        """Do something that may be done twice; when the server goes away meanwhile, wait for it and do it again.

        Raises:
            LedgerError: what ``work`` raised, or the server did not come back in time.
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
        """Return when the server is to be tried again.

        Args:
            error: what was met.
            since: ``time.monotonic()`` when it was met first.

        Raises:
            LedgerError: the error, unless it says that the server is away, and there is time left.
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
        """Note that the server answers.

        Args:
            since: when it was found to be away; ``None`` if it was not.
        """
        if since is not None and self._away:
            self._away = False
            _log.warning("the ledger %s is back after %.1f s", self._display_url, time.monotonic() - since)

    def is_fresh(self, found: Hashable) -> bool:
        """Whether something was found for the first time less than :data:`RETURN_SECONDS` ago."""
        return self.timeout > 0 and time.monotonic() - self._found.setdefault(found, time.monotonic()) < RETURN_SECONDS

    def end_waiting(self) -> None:
        """Wait no longer for a server that is away; whoever waits gets the error that was met."""
        self._impatient.set()

    def give_up_in(self, seconds: float) -> None:
        """End whatever still waits for the server after so many seconds, in any thread, unless it is closed before."""
        if self._timer is None:
            self._deadline = time.monotonic() + seconds
            self._timer = threading.Timer(seconds, self._give_up)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """End no session any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        self._impatient.set()
        # A thread that waits for a server which has stopped answering cannot be interrupted in any other way.
        for session in list(self._sessions):
            with suppress(Exception), socket.socket(fileno=os.dup(session.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    def _before_connecting(self, _dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        if self._deadline == math.inf:
            return
        if time.monotonic() + _SHORTEST_TIMEOUT > self._deadline:
            raise LedgerError(f"the ledger {self._display_url} did not answer while the run was stopped")
        parameters["connect_timeout"] = _SHORTEST_TIMEOUT

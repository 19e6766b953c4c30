"""Limits of each host: requests at once, requests per second, and none while it is down."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from airflow_whatsapp_flows.flow.delivery.rate_headers import nothing_remains, reset_after
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, retry_after
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import ErrorKind
from airflow_whatsapp_flows.replay.breaker import Breaker
from airflow_whatsapp_flows.replay.gate import Gate
from airflow_whatsapp_flows.replay.rate_limit import HostRate, SlotStore
from airflow_whatsapp_flows.replay.rates import rate_for
from airflow_whatsapp_flows.replay.refusals import CREDENTIALS

_log = logging.getLogger(__name__)

ANY_HOST = ""
"""The key of the default rate among the rates by host."""

_COMMIT_SECONDS = 0.03
"""Seconds allowed for the commit of an intent between slot and send; the effective rate is that much lower."""

FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds, while no file descriptor is free
_SPARE_FILES = 16  # for the ledger's files, name lookups, and whatever else is open during a batch

# The next contact would fail alike: the host is down, or the connection's settings are wrong.
_DOWN = (ErrorKind.CONNECT, ErrorKind.TIMEOUT, ErrorKind.INTERRUPTED, ErrorKind.TLS, ErrorKind.POLICY)


class HostLimiter:
    """Limits of one host.

    Args:
        host: host and port.
        pace: requests per second.
        concurrency: requests at once.
        needs_credentials: whether a reply that refuses the credentials counts as a failure of the host.
        share: number of processes of one command that send.
    """

    def __init__(
        self, host: str, pace: HostRate, concurrency: int, *, needs_credentials: bool = True, share: int = 1
    ) -> None:
        self._needs_credentials = needs_credentials
        self.gate = Gate(concurrency)
        self.pace = pace
        self._breaker = Breaker(host, share=share)

    def watch(self, on_answered: Callable[[str], None]) -> None:
        """Call a function with the host when it answers for the first time."""
        self._breaker.on_answered = on_answered

    def note_answered(self) -> None:
        """Record that the host has answered another process of the command."""
        self._breaker.note_answered()

    async def enter(self) -> bool:
        """Wait until a send may start.

        Returns:
            Whether it is a probe of a host that was down; pass it to :meth:`leave` or :meth:`abandon`.

        Raises:
            BatchStoppedError: the host was down for too long.
            LedgerError: the slots shared by all processes cannot be read or written.
        """
        probe = await self._breaker.enter()
        try:
            await self.pace.enter()
        except BaseException:
            self._breaker.abandon(probe=probe)
            raise
        return probe

    @property
    def is_open(self) -> bool:
        """Whether a send need not wait for anything known, except those in flight."""
        return self.pace.is_open and not self._breaker.is_open

    def has_closed(self, *, was_open: bool, probe: bool) -> bool:
        """Whether a send that was let in has to wait after all.

        Args:
            was_open: what :attr:`is_open` was after :meth:`enter`.
            probe: what :meth:`enter` returned: a probe meets an open breaker.
        """
        if self.pace.is_held or (self._breaker.is_open and not probe):
            return True
        return was_open and not self.is_open

    async def settle(self, begun: float) -> None:
        """Wait for the next slot if the entered one has passed: a late send would collide with the next ones.

        Args:
            begun: ``time.monotonic()`` when its slot was known to be its own: before the commit, or before it waited.
        """
        if self.is_late(begun):
            await self.pace.enter(first=True)

    def is_late(self, begun: float) -> bool:
        """Whether the slot of a send has passed while its intent was committed.

        Args:
            begun: ``time.monotonic()`` before the commit.
        """
        return not self.pace.is_open and time.monotonic() - begun > _COMMIT_SECONDS

    def leave(self, result: ActionResult, rule: RetryRule, *, probe: bool) -> None:
        """Record the result of a send.

        Args:
            result: of the attempt.
            rule: of the action.
            probe: what :meth:`enter` returned.
        """
        error, status = result.error, result.status_code or 0
        if error is None and rule.slow_down_when is None and not nothing_remains(result.headers):
            self._breaker.note(failed=False, probe=probe)
            self.pace.note(None, too_many=False)
            return
        down = error is not None and (error.kind in _DOWN or status == 408 or status >= 500)
        down = down or (self._needs_credentials and status in CREDENTIALS)
        self._breaker.note(failed=down, problem=error.message if error else "", probe=probe)
        too_many = status == 429 or rule.asks_to_slow_down(result)
        waits = None
        if too_many or status == 503 or nothing_remains(result.headers):
            now = dt.datetime.now(dt.timezone.utc)
            asked = [wait for wait in (retry_after(result, now), reset_after(result.headers, now)) if wait is not None]
            waits = min(max(asked), rule.max_wait) if asked else None
        self.pace.note(waits, too_many=too_many)

    def abandon(self, *, probe: bool) -> None:
        """Record that a send did not start, or that its outcome is unknown."""
        self._breaker.abandon(probe=probe)


class HostLimits:
    """A limiter for every host.

    Attributes:
        on_answered: called with a host when it answers for the first time.

    Args:
        store: the slots shared by processes.
        rates: requests per second by host, and under :data:`ANY_HOST` for every other host.
        concurrency: maximum requests in flight to one host; fewer if this process cannot open as many connections.
        needs_credentials: whether a reply that refuses the credentials counts as a failure of the host.
        share: number of processes of one command that send.
    """

    def __init__(
        self,
        store: SlotStore,
        rates: Mapping[str, float],
        concurrency: int,
        *,
        needs_credentials: bool = True,
        share: int = 1,
    ) -> None:
        self._needs_credentials, self._share = needs_credentials, share
        self._store = store
        self._rates = rates
        self._concurrency = bound_concurrency(concurrency)
        self._limiters: dict[str, HostLimiter] = {}
        self._answered: set[str] = set()  # hosts that have answered other processes of the command
        self.on_answered: Callable[[str], None] = lambda _: None

    async def __aenter__(self) -> HostLimits:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(limiter.pace.close() for limiter in self._limiters.values()), return_exceptions=True)

    def of(self, host: str) -> HostLimiter:
        """Return the limiter of a host."""
        limiter = self._limiters.get(host)
        if limiter is None:
            rate = rate_for(host, self._rates, self._rates.get(ANY_HOST))
            pace = HostRate(host, self._store, asyncio.to_thread, rate=rate, lag=_COMMIT_SECONDS)
            limiter = self._limiters[host] = HostLimiter(
                host, pace, self._concurrency, needs_credentials=self._needs_credentials, share=self._share
            )
            limiter.watch(lambda answered: self.on_answered(answered))
            if host in self._answered:
                limiter.note_answered()
        return limiter

    def note_answered(self, host: str) -> None:
        """Record that a host has answered another process of the command."""
        self._answered.add(host)
        if host in self._limiters:
            self._limiters[host].note_answered()


class Shortage:
    """Waits while no file descriptor is free; other requests end meanwhile and free some."""

    def __init__(self) -> None:
        self._is_reported = False

    async def wait(self, problem: str, pause: float) -> float:
        """Wait before the next attempt; logs a warning the first time.

        Args:
            problem: text for the warning.
            pause: seconds; at first :data:`FIRST_PAUSE`.

        Returns:
            Seconds to wait next time.
        """
        if not self._is_reported:
            self._is_reported = True
            _log.warning("%s; requests wait until one is free", problem)
        await asyncio.sleep(pause)
        return min(2 * pause, _LONGEST_PAUSE)


def bound_concurrency(concurrency: int) -> int:
    """Return the concurrency, limited to the free file descriptors of this process; logs a warning if limited."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return concurrency
    room = max(1, limit - _count_open() - _SPARE_FILES)
    if room < concurrency:
        text = "concurrency reduced to %d requests instead of %d: this process can open %d files (ulimit -n)"
        _log.warning(text, room, concurrency, limit)
    return min(room, concurrency)


def _count_open() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return _SPARE_FILES

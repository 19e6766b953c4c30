"""A circuit breaker for one host: a server that is down is asked seldom, and given up after a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_MAX_INTERVAL = 60.0  # seconds
_GROWTH = 2.0  # of the interval, from one probe to the next


class BatchStoppedError(Exception):
    """The batch is to stop: nothing more is begun, and the same command goes on later.

    Attributes:
        reason: one sentence for people.
        needs_help: whether a person has to change something first: sending again later would end the same way.
    """

    def __init__(self, reason: str, *, needs_help: bool = False) -> None:
        self.reason = reason
        self.needs_help = needs_help
        super().__init__(reason)


class Breaker:
    """Lets sends to one host begin, in one process, as long as the host shows signs of life.

    It opens after ``threshold`` failures in a row. While it is open one send at a time is let through to see, the
    first after ``interval``, the next ones after twice the time before, at most a minute. The first success closes
    it. When it was open for ``patience`` without one, the batch is to stop.

    Until the first success nobody knows whether the host is there at all: then no more than ``threshold`` sends are
    under way or have failed, so that a dead host gets ``threshold`` requests whatever the concurrency is.

    Args:
        host: for the reason, such as ``"crm.example:443"``.
        threshold: failures in a row.
        interval: seconds.
        patience: seconds.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        host: str,
        *,
        threshold: int = 20,
        interval: float = 5.0,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._threshold, self._patience, self._clock = host, threshold, patience, clock
        self._first_interval = self._interval = interval
        self._failures = 0
        self._last_problem = ""
        self._alive = False  # whether it was ever seen to answer
        self._inside = 0  # sends that were let in before that, and have not ended
        self._opened_at: float | None = None
        self._probe_at = 0.0
        self._probing = False
        self._stop_reason: str | None = None
        self._changed: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the host is given up for now."""
        return self._opened_at is not None

    @property
    def stop_reason(self) -> str | None:
        """Why the batch is to stop; ``None`` while it may go on. Once given it stays."""
        if (
            self._stop_reason is None
            and self._opened_at is not None
            and self._clock() >= self._opened_at + self._patience
        ):
            last = f" (last: {self._last_problem})" if self._last_problem else ""
            times = "time" if self._failures == 1 else "times"
            self._stop_reason = (
                f"{self._host} failed {self._failures} {times} in a row{last}; stopped after {self._patience:g} s"
            )
        return self._stop_reason

    async def enter(self) -> bool:
        """Return when a send may begin; exactly one :meth:`note` or :meth:`abandon` must follow.

        Returns:
            Whether this send is the probe of an open breaker, to be said in what follows.

        Raises:
            BatchStoppedError: the host was down for too long.
        """
        if self._alive and self._opened_at is None and self._stop_reason is None:
            return False
        while True:
            reason = self.stop_reason
            if reason is not None:
                raise BatchStoppedError(reason)
            if self._opened_at is None:
                if self._alive or self._inside + self._failures < self._threshold:
                    self._inside += 1
                    return False
                await self._wait(None)
                continue
            now = self._clock()
            if not self._probing and now >= self._probe_at:
                self._probing = True
                self._interval = min(_MAX_INTERVAL, self._interval * _GROWTH)
                self._probe_at = now + self._interval
                return True
            stop_at = self._opened_at + self._patience
            await self._wait((stop_at if self._probing else min(stop_at, self._probe_at)) - now)

    def note(self, *, failed: bool, problem: str = "", probe: bool = False) -> None:
        """Say what came of a send.

        Args:
            failed: no connection, no reply in time, 408, 5xx, or credentials that are refused (401, 403). Any other
                reply, 429 included, is a sign of life.
            problem: why it failed, for people; holds nothing of the contact's.
            probe: what :meth:`enter` returned for it.
        """
        self._leave(probe=probe)
        if not failed:
            self._failures = 0
            if not self._alive or self._opened_at is not None:
                self._alive = True
                self._opened_at, self._probing, self._interval = None, False, self._first_interval
                self._wake()
            return
        self._failures += 1
        self._last_problem = problem
        if self._opened_at is None and self._failures >= self._threshold:
            self._opened_at = self._clock()
            self._probe_at = self._opened_at + self._interval
            self._wake()
        elif probe:
            self._wake()

    def abandon(self, *, probe: bool) -> None:
        """Say that a send that was let in did not begin, or that nothing is known of its end."""
        self._leave(probe=probe)
        if probe or not self._alive:
            self._wake()

    def _leave(self, *, probe: bool) -> None:
        if probe:
            self._probing = False
        else:
            self._inside = max(0, self._inside - 1)

    async def _wait(self, seconds: float | None) -> None:
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._changed], timeout=None if seconds is None else max(0.0, seconds))

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._changed = None

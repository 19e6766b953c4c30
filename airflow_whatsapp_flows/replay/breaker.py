"""A circuit breaker for one host: probes a server that is down at growing intervals, then gives up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_MAX_INTERVAL = 60.0  # seconds
_GROWTH = 2.0  # growth of the interval from one probe to the next


class BatchStoppedError(Exception):
    """The batch must stop: nothing more is started, and the same command resumes it later.

    Attributes:
        reason: one sentence for people.
        needs_help: whether a person must fix something first; otherwise resuming would fail in the same way.
    """

    def __init__(self, reason: str, *, needs_help: bool = False) -> None:
        self.reason = reason
        self.needs_help = needs_help
        super().__init__(reason)


class Breaker:
    """Admits sends to one host, in one process, as long as the host responds.

    It opens after ``threshold`` failures in a row. While it is open, one send at a time is admitted as a probe: the
    first after ``interval``, then each after twice the previous time, at most a minute. The first success closes it. If
    it is open for ``patience`` without a success, the batch must stop.

    Until the first success it is unknown whether the host is up at all: at most ``threshold`` sends are then in
    progress or failed, so that a dead host gets ``threshold`` requests regardless of the concurrency. Several processes
    of one command divide this number; once the host has responded to any of them, each counts up to ``threshold``.

    Attributes:
        on_answered: called with the host when it responds for the first time.

    Args:
        host: for the reason, such as ``"crm.example:443"``.
        threshold: consecutive failures that open it.
        interval: seconds until the first probe.
        patience: seconds after which the batch stops.
        clock: monotonic clock, in seconds.
        share: number of processes of one command that have such a breaker.
    """

    def __init__(
        self,
        host: str,
        *,
        threshold: int = 20,
        interval: float = 5.0,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        share: int = 1,
    ) -> None:
        self._host, self._patience, self._clock = host, patience, clock
        self.on_answered: Callable[[str], None] = lambda _: None
        self._whole_threshold, self._divided_threshold = threshold, max(1, threshold // share)
        self._first_interval = self._interval = interval
        self._failures = 0
        self._last_problem = ""
        self._alive = False  # whether it has ever responded
        self._inside = 0  # sends admitted before that and not ended
        self._opened_at: float | None = None
        self._probe_at = 0.0
        self._probing = False
        self._stop_reason: str | None = None
        self._changed: asyncio.Future[None] | None = None

    @property
    def _threshold(self) -> int:
        return self._whole_threshold if self._alive else self._divided_threshold

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open."""
        return self._opened_at is not None

    @property
    def stop_reason(self) -> str | None:
        """Why the batch must stop; ``None`` while it may continue. Once set, it stays."""
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
        """Wait until a send may start; exactly one :meth:`note` or :meth:`abandon` must follow.

        Returns:
            Whether this send is the probe of an open breaker; pass it on to that call.

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
        """Record the outcome of a send.

        Args:
            failed: no connection, no reply in time, 408, 5xx, or refused credentials (401, 403). Any other reply,
                including 429, shows that the host is up.
            problem: why it failed, for people; contains no data of the contact.
            probe: what :meth:`enter` returned for it.
        """
        self._leave(probe=probe)
        if not failed:
            self._failures = 0
            if not self._alive or self._opened_at is not None:
                is_first, self._alive = not self._alive, True
                self._close()
                if is_first:
                    self.on_answered(self._host)
            return
        self._failures += 1
        self._last_problem = problem
        if self._opened_at is None and self._failures >= self._threshold:
            self._opened_at = self._clock()
            self._probe_at = self._opened_at + self._interval
            self._wake()
        elif probe:
            self._wake()

    def note_answered(self) -> None:
        """Record that the host has responded to another process of the command."""
        if not self._alive:
            self._alive = True
            if self._failures < self._threshold:
                self._close()

    def abandon(self, *, probe: bool) -> None:
        """Record that an admitted send did not start, or that its outcome is unknown."""
        self._leave(probe=probe)
        if probe or not self._alive:
            self._wake()

    def _close(self) -> None:
        self._opened_at, self._probing, self._interval = None, False, self._first_interval
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

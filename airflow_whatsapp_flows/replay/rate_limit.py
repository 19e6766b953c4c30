"""Rate limits of hosts across tasks and workers, and waits requested by servers.

A limit of N a second is kept by slots (the generic cell rate algorithm). A shared store assigns them in blocks, with
(1 + margin)/N seconds between slots. A send starts less than the margin after its slot, or else does not use it. Any
second of sends then belongs to less than 1 + margin seconds of slots, so there are never more than N. The time between
admission and the first byte is part of the margin, as far as it is known.

If the store responds slowly, the exact start of the block is unknown. The process then requests a block that is longer
than its slots by the possible delay, so that its sends always fall into its own block.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from airflow_whatsapp_flows.replay.learned_rate import LearnedRate

_MARGIN = 0.025  # share of the interval, and seconds, by which a send may start after its slot
_RESOLUTION = 0.001  # seconds of the margin that are kept for the clock
_BLOCK = 0.05  # seconds of slots reserved at once if the store is fast
_LONGEST_BLOCK = 1.0  # seconds
_LOOK_EVERY = 1.0  # seconds between checks for holds of other processes
_FIRST = 1 << 62  # lower than every regular ticket
_CATCH_UP = 0.025  # seconds by which a learned rate may lag and catch up


class SlotStore(Protocol):
    """The store shared by all processes that send to a host. Every call may block."""

    def reserve(self, host: str, interval: float, count: int) -> float:
        """Reserve the next ``count`` slots, ``interval`` seconds apart; return the seconds until the first.

        The first is now, at the end of the host's hold, or ``interval`` after the last assigned slot, whichever is
        latest; the next caller gets none before ``first + count * interval``.
        """

    def hold(self, host: str, seconds: float) -> None:
        """Assign no slot before now + ``seconds``; a longer hold remains in effect."""

    def hold_seconds(self, host: str) -> float:
        """Return the seconds until the hold ends; 0 if there is none."""


Call = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a blocking function without blocking the loop, such as ``asyncio.to_thread``."""


class _Slot(NamedTuple):
    due: float
    end: float  # a send that has not started by then does not use this slot


class HostRate:
    """Admits sends to one host, in one process: in order of arrival, each not before its time.

    Args:
        host: name in the store, such as ``"crm.example:443"``.
        store: shared with the other processes.
        call: runs a store call.
        rate: sends per second in all processes together, more than 0; ``None`` for no limit. Without a limit, the rate
            of a host that refuses requests is learned from what it accepts.
        lag: maximum seconds between admission and start of a send, such as for a commit; each hundredth of a second
            costs one percent of the rate.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        host: str,
        store: SlotStore,
        call: Call,
        *,
        rate: float | None = None,
        lag: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._store, self._call, self._clock = host, store, call, clock
        self._limit = rate
        self._second = 1 + _MARGIN + lag
        self._learned = LearnedRate(rate, clock())
        self._open = False  # nothing to wait for; false until the store was read once
        self._look_at = -math.inf
        self._held_until = -math.inf
        self._slots: deque[_Slot] = deque()
        self._next_slot = -math.inf
        self._begun: deque[float] = deque(maxlen=math.ceil(rate) if rate else 1)
        self._window = (max(1.0, 1 / rate) if rate else 0.0) + lag + _RESOLUTION
        self._slowest_answer = 0.0  # recent seconds
        self._tickets = itertools.count()
        self._waiting: list[tuple[int, asyncio.Future[float]]] = []  # a heap: a late sender comes first again
        self._serving: asyncio.Task[None] | None = None
        self._reserving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether a send need not wait for anything known; always false with a rate."""
        return self._open

    @property
    def is_held(self) -> bool:
        """Whether the server has asked for a pause that is not over."""
        return self._clock() < self._held_until

    async def enter(self, *, first: bool = False) -> None:
        """Wait until a send may start; it must start immediately.

        Args:
            first: whether it goes ahead of those waiting, such as a send that missed its slot.

        Raises:
            Exception: raised by a store call; no more sends start.
        """
        now = self._clock()
        if self._open:
            if now < self._look_at:
                return
            if now < self._look_at + _LOOK_EVERY:
                self._look(now)
                return
            self._open = False  # after a pause, check first
        ticket = next(self._tickets) - (_FIRST if first else 0)
        while True:
            waiter = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (ticket, waiter))
            if self._serving is None or self._serving.done():
                self._serving = asyncio.create_task(self._serve())
            end = await waiter
            if self._clock() < end:  # the loop may have been busy since the slot was assigned
                return

    def note(self, waits: float | None, *, too_many: bool) -> None:
        """Record what a reply says about the rate; call it for every reply.

        Args:
            waits: seconds that the server asks to wait, limited to a reasonable time; ``None`` if none.
            too_many: whether it refused the request because of the rate.
        """
        now = self._clock()
        if not too_many:
            self._learned.note_accepted(now)
            if waits is None:
                return
        until = now + max(0.0, waits or 0.0)
        if too_many or self._limit is None:
            self._learned.note_refused(now, until)
        self._hold(until)
        if waits:
            self._tell()

    async def close(self) -> None:
        """Stop background tasks once the last hold is stored.

        Raises:
            Exception: raised by a store call.
        """
        for task in (self._serving, self._reserving, self._looking, *(waiter for _, waiter in self._waiting)):
            if task is not None:
                task.cancel()
        tasks = [task for task in (self._serving, self._reserving, self._looking, self._telling) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    async def _serve(self) -> None:
        try:
            if self._clock() >= self._look_at + _LOOK_EVERY:
                self._look_at = self._clock() + _LOOK_EVERY
                await self._find_hold()
            while self._anyone_waits():
                wait = await self._step(self._clock())
                if wait > 0:
                    await asyncio.sleep(min(wait, _LOOK_EVERY))
        except Exception as error:
            self._fail(error)

    async def _step(self, now: float) -> float:
        """Admit the first waiting sender, or return the seconds to wait."""
        if self._failure is not None:
            raise self._failure
        if now >= self._look_at:
            self._look(now)
        if now < self._held_until:
            return self._held_until - now
        if self._learned.rate(now) is None:
            self._open = True
            while self._anyone_waits():
                self._let_in(math.inf)
            return 0.0
        slot = self._next_learned_slot(now) if self._limit is None else await self._next_reserved_slot(now)
        if slot is None:
            return 0.0
        if slot.due <= now:
            self._let_in(slot.end)
        return slot.due - now

    def _next_learned_slot(self, now: float) -> _Slot:
        due = max(self._next_slot, now - _CATCH_UP)
        if due <= now:
            self._next_slot = due + 1 / (self._learned.rate(now) or math.inf)
        return _Slot(due, math.inf)

    def _anyone_waits(self) -> bool:
        while self._waiting and self._waiting[0][1].done():  # cancelled
            heapq.heappop(self._waiting)
        return bool(self._waiting)

    def _let_in(self, end: float) -> None:
        heapq.heappop(self._waiting)[1].set_result(end)

    async def _next_reserved_slot(self, now: float) -> _Slot | None:
        """Take the next slot if it is due; ``None`` if time has passed and everything must be checked again."""
        while self._slots and self._slots[0].end <= now:
            self._slots.popleft()
        soon = now + 2 * self._slowest_answer
        if self._reserving is None and (not self._slots or self._slots[-1].due < soon):
            self._reserving = asyncio.create_task(self._or_fail(self._reserve()))
        if not self._slots:
            if self._reserving is not None:
                await self._reserving
            return None
        # Slots limit all processes together; this process also checks its own sends.
        full = len(self._begun) == self._begun.maxlen
        due, end = self._slots[0]
        due = max(due, self._begun[0] + self._window if full else -math.inf)
        if due <= now:
            self._slots.popleft()
            self._begun.append(now)
        return _Slot(due, end)

    async def _reserve(self) -> None:
        try:
            asked = self._clock()
            interval = self._second / (self._learned.rate(asked) or math.inf)
            slack = max(0.0, 1.25 * self._slowest_answer - _MARGIN / 2)
            block = min(_LONGEST_BLOCK, max(_BLOCK, 8 * self._slowest_answer))
            count = max(1, round(block / interval))
            first_in = await self._call(partial(self._store.reserve, self._host, interval + slack / count, count))
            answered = self._clock()
        finally:
            self._reserving = None
        took = answered - asked
        self._slowest_answer = max(took, 0.8 * self._slowest_answer)
        usable = _MARGIN - _RESOLUTION - max(0.0, took - slack)
        first = answered + first_in
        if usable > 0:
            slots = (first + number * interval for number in range(count))
            self._slots.extend(_Slot(due, due + usable) for due in slots)

    def _hold(self, until: float) -> None:
        self._held_until = max(self._held_until, until)
        self._next_slot = max(self._next_slot, until)  # it continues at its pace without catching up
        self._open = False

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_EVERY
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._or_fail(self._find_hold()))

    async def _find_hold(self) -> None:
        held = float(await self._call(partial(self._store.hold_seconds, self._host)))
        now = self._clock()
        # A hold set by this process appears a little longer, by the time of the store's response.
        if held > 0 and now + held > self._held_until + 0.1:
            if self._limit is None:
                self._learned.note_refused(now, now + held)
            self._hold(now + held)

    def _tell(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._or_fail(self._put_hold()))

    async def _put_hold(self) -> None:
        reported = -math.inf
        # Refusals come in bursts: those that arrive during a store call are combined.
        while self._held_until > reported + 0.05:
            reported = self._held_until
            seconds = reported - self._clock()
            if seconds > 0:
                await self._call(partial(self._store.hold, self._host, seconds))

    async def _or_fail(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure, self._open = error, False
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(error)

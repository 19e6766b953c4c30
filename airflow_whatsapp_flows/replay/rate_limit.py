"""When a send to a host may begin: rate limits that hold across tasks and workers, and waits that servers ask for.

A limit of N a second is kept by slots (the generic cell rate algorithm). A shared store hands them out in blocks, each
slot (1 + margin)/N seconds after the one before, and a send begins less than the margin after its slot, or not in it
at all. Any second of sends then belongs to less than 1 + margin seconds of slots, so there are never more than N.
What comes between being let in and the first byte is part of the margin, as far as it is known.

When the store's answer takes long, nobody knows when exactly the block began. It is then asked for a longer block
than it has slots, by as much as the answer may be late; wherever the sends fall, they fall into their own block.
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

_MARGIN = 0.025  # of the interval, and seconds that a send may begin after its slot
_RESOLUTION = 0.001  # seconds of the margin that are kept for the clock
_BLOCK = 0.05  # seconds of slots that are reserved at once, when the store is quick
_LONGEST_BLOCK = 1.0  # seconds
_LOOK_EVERY = 1.0  # seconds between two looks at what other processes were told
_FIRST = 1 << 62  # below every ticket that is given out in turn
_CATCH_UP = 0.025  # seconds that a learned rate may lag behind and make good


class SlotStore(Protocol):
    """What the processes that send to one host share. Every call may block."""

    def reserve(self, host: str, interval: float, count: int) -> float:
        """Take the next ``count`` slots, ``interval`` seconds from one to the next; returns seconds until the first.

        The first is now, or at the end of the host's hold, or ``interval`` after the last slot that was given out,
        whichever is latest; the next one to ask gets none before ``first + count * interval``.
        """

    def hold(self, host: str, seconds: float) -> None:
        """Give out no slot before now + ``seconds``; a longer hold stays as it is."""

    def hold_seconds(self, host: str) -> float:
        """Seconds until the hold ends; 0 when there is none."""


Call = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a blocking function without blocking the loop, such as ``asyncio.to_thread``."""


class _Slot(NamedTuple):
    due: float
    end: float  # a send that has not begun by then is not in this slot


class HostRate:
    """Lets sends to one host begin, in one process: in the order in which they ask, each not before its time.

    Args:
        host: name in the store, such as ``"crm.example:443"``.
        store: shared with the other processes.
        call: runs a call of the store.
        rate: sends a second in all processes together, more than 0; ``None`` for no limit. Without one, a host that
            refuses is given a pace that is learned from what it let in.
        lag: seconds that a send begins at most after it was let in, such as the time of a commit in between; every
            hundredth of a second costs one per cent of the rate.
        clock: seconds that only grow.
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
        self._open = False  # nothing to wait for; not before the store was asked once
        self._look_at = -math.inf
        self._held_until = -math.inf
        self._slots: deque[_Slot] = deque()
        self._next_slot = -math.inf
        self._begun: deque[float] = deque(maxlen=math.ceil(rate) if rate else 1)
        self._window = (max(1.0, 1 / rate) if rate else 0.0) + lag + _RESOLUTION
        self._slowest_answer = 0.0  # of late, seconds
        self._tickets = itertools.count()
        self._waiting: list[tuple[int, asyncio.Future[float]]] = []  # a heap: who was woken too late comes first again
        self._serving: asyncio.Task[None] | None = None
        self._reserving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is known that a send would have to wait for; never where there is a rate."""
        return self._open

    async def enter(self, *, first: bool = False) -> None:
        """Return when a send may begin, and it begins at once.

        Args:
            first: whether it comes before those that wait, such as a send that missed its slot.

        Raises:
            Exception: what a call of the store raised; no send begins any more.
        """
        now = self._clock()
        if self._open:
            if now < self._look_at:
                return
            if now < self._look_at + _LOOK_EVERY:
                self._look(now)
                return
            self._open = False  # after a pause: look first
        ticket = next(self._tickets) - (_FIRST if first else 0)
        while True:
            waiter = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (ticket, waiter))
            if self._serving is None or self._serving.done():
                self._serving = asyncio.create_task(self._serve())
            end = await waiter
            if self._clock() < end:  # the loop may have been busy since the slot was given
                return

    def note(self, waits: float | None, *, too_many: bool) -> None:
        """Say what a reply said of the rate; for every reply.

        Args:
            waits: seconds that the server asks to wait, clamped to what is reasonable; ``None`` when it asks for none.
            too_many: whether it refused the request for its rate.
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
        """End what runs in the background, once the last hold is in the store.

        Raises:
            Exception: what a call of the store raised.
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
        """Let the first one in, or say how many seconds there are to wait."""
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
        """The next slot, taken if it is due; ``None`` when time passed and all is to be asked anew."""
        while self._slots and self._slots[0].end <= now:
            self._slots.popleft()
        soon = now + 2 * self._slowest_answer
        if self._reserving is None and (not self._slots or self._slots[-1].due < soon):
            self._reserving = asyncio.create_task(self._or_fail(self._reserve()))
        if not self._slots:
            if self._reserving is not None:
                await self._reserving
            return None
        # Slots bound what all processes do together; this process looks at what it did as well.
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
        self._next_slot = max(self._next_slot, until)  # it goes on at its pace, not with what it missed
        self._open = False

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_EVERY
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._or_fail(self._find_hold()))

    async def _find_hold(self) -> None:
        held = float(await self._call(partial(self._store.hold_seconds, self._host)))
        now = self._clock()
        # A hold that this process put there looks a little longer, by the time that the answer took.
        if held > 0 and now + held > self._held_until + 0.1:
            if self._limit is None:
                self._learned.note_refused(now, now + held)
            self._hold(now + held)

    def _tell(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._or_fail(self._put_hold()))

    async def _put_hold(self) -> None:
        reported = -math.inf
        # One refusal seldom comes alone: the others that arrive while the store works are told together.
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

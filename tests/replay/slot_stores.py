"""Slots in memory with the rules of every store, and slow calls to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any


class MemorySlots:
    """The slots of every host, and the calls received.

    Args:
        clock: the store's own clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        self._until: dict[str, float] = {}
        self.reserves = self.holds = self.looks = 0

    def reserve(self, host: str, interval: float, count: int) -> float:
        self.reserves += 1
        now = self._clock()
        first = max(now, self._next.get(host, now), self._until.get(host, now))
        self._next[host] = first + count * interval
        return first - now

    def hold(self, host: str, seconds: float) -> None:
        self.holds += 1
        self._until[host] = max(self._until.get(host, 0.0), self._clock() + seconds)

    def hold_seconds(self, host: str) -> float:
        self.looks += 1
        return max(0.0, self._until.get(host, 0.0) - self._clock())


class SlowCall:
    """Runs a call after a random part of a delay, and returns after another."""

    def __init__(self, slowest: float, seed: int) -> None:
        self._slowest, self._random = slowest, random.Random(seed)

    async def __call__(self, function: Callable[[], Any]) -> Any:
        await asyncio.sleep(self._random.uniform(0, self._slowest))
        answer = function()
        await asyncio.sleep(self._random.uniform(0, self._slowest))
        return answer

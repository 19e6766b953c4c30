"""An event loop with virtual time: a test of hours takes milliseconds and is repeatable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Advances the time instead of sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._selector.select, self._really = self._select, self._selector.select

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass in which the loop is blocked."""
        self._now += seconds

    def _select(self, timeout: float | None) -> Any:
        events = self._really(0)
        if not events:
            assert timeout is not None, "everybody waits, and nothing will ever happen"
            self._now += timeout
        return events


def run_virtual(main: Callable[[VirtualTimeLoop], Coroutine[Any, Any, T]]) -> T:
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()

"""The chunks that one process works on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

LOOK_AGAIN_SECONDS = 0.5
"""Seconds until a chunk that another process owns is looked at again: that process may finish it, or exit."""


class ChunkSource(Protocol):
    """Where an engine gets its chunks."""

    async def take(self) -> int | None:
        """Return the number of the next chunk; ``None`` if there is nothing left to do."""

    def give_back(self, chunk: int) -> None:
        """Return a chunk that another process owns."""


class PendingChunks:
    """The chunks of a replay that have pending contacts, each once.

    Args:
        find: returns the chunks that have pending contacts; may block.
        wanted: only these; ``None`` for all.
    """

    def __init__(self, find: Callable[[], list[int]], wanted: Collection[int] | None = None) -> None:
        self._find, self._wanted = find, wanted
        self._queue: deque[int] = deque()
        self._taken: set[int] = set()
        self._taken_before: int | None = None

    async def take(self) -> int | None:
        """Return the next chunk; wait while other processes own all that are left."""
        while not self._queue:
            if self._taken_before == len(self._taken):
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            left = [chunk for chunk in await asyncio.to_thread(self._find) if self._is_wanted(chunk)]
            if not left:
                return None
            self._queue.extend(left)
            self._taken_before = len(self._taken)
        chunk = self._queue.popleft()
        self._taken.add(chunk)
        return chunk

    def give_back(self, chunk: int) -> None:
        """Return a chunk that another process owns; it is looked at again later."""
        self._taken.discard(chunk)

    def _is_wanted(self, chunk: int) -> bool:
        return chunk not in self._taken and (self._wanted is None or chunk in self._wanted)

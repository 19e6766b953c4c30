"""Downloads: in blocks, and without a connection to the ledger once the response has ended, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, MutableMapping
from contextlib import closing
from typing import Any

from fastapi.responses import StreamingResponse

_BLOCK = 65_536  # characters
_STALLED = 60.0
"""Seconds in which a client has to take a block; a read transaction is open meanwhile."""


def blocks(lines: Generator[str, None, None]) -> Generator[str, None, None]:
    """Join lines into blocks: each block costs the server a turn of a thread and a message."""
    held: list[str] = []
    size = 0
    with closing(lines):
        for line in lines:
            held.append(line)
            size += len(line)
            if size >= _BLOCK:
                yield "".join(held)
                held, size = [], 0
    if held:
        yield "".join(held)


class Download(StreamingResponse):
    """A response that closes what it reads from when it ends: whole, with an error, or because its client left.

    Args:
        content: its blocks.
        **more: for the response.
    """

    def __init__(self, content: Generator[str, None, None], **more: Any) -> None:
        super().__init__(content, **more)
        self._content = content

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Send it.

        Raises:
            TimeoutError: the client takes nothing any more; with a current Starlette, ``ClientDisconnect``.
        """

        async def send_in_time(message: MutableMapping[str, Any]) -> None:
            await asyncio.wait_for(send(message), _STALLED)

        try:
            await super().__call__(scope, receive, send_in_time)
        finally:
            # Submitted at once, so it is closed also if this task is cancelled.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._content.close))

"""A TCP relay that delays every byte in both directions, as a network would: for a ledger on another machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what comes, each piece after the delay; pieces do not wait for each other."""
    loop = asyncio.get_running_loop()
    try:
        while data := await reader.read(65536):
            loop.call_later(delay, writer.write, data)
    finally:
        loop.call_later(delay, writer.close)


async def _serve(port: int, delay: float, started: threading.Event, ports: list[int], stop: asyncio.Event) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            await asyncio.gather(_copy(reader, before, delay), _copy(behind, writer, delay))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def delaying_relay(port: int, round_trip_ms: float) -> Iterator[int]:
    """Return the port of a relay to a local port, in a thread of its own."""
    loop, stop, started, ports = asyncio.new_event_loop(), asyncio.Event(), threading.Event(), list[int]()
    work = _serve(port, round_trip_ms / 2000, started, ports, stop)
    thread = threading.Thread(target=loop.run_until_complete, args=(work,), daemon=True)
    thread.start()
    started.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)

"""CPU and bytecodes of one send through the transport, against the bare aiohttp loop in the same run.

python benchmarks/transport.py [--requests 2000] [--rounds 5] [--concurrency 64]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from statistics import median
from types import FrameType
from typing import Any

from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse
from airflow_whatsapp_flows.transport import NetworkPolicy, Permit, SendPolicy, Session, open_session, send
from airflow_whatsapp_flows.transport.exchange import Write
from benchmarks.bare import BODY, HEADERS, Figures, bare
from benchmarks.server import running_server

Loop = Callable[[str, int, int], Figures]


def through_transport(url: str, requests: int, concurrency: int) -> Figures:
    """POST the fixed body again and again; each request has a key of its own, as a replay's."""
    return asyncio.run(_through_transport(url, requests, concurrency, None))


def with_permit(url: str, requests: int, concurrency: int) -> Figures:
    """Do the same, with a permit that is there already."""

    async def permit(_: Write) -> None:
        pass

    return asyncio.run(_through_transport(url, requests, concurrency, permit))


async def _through_transport(url: str, requests: int, concurrency: int, permit: Permit | None) -> Figures:
    async with open_session(NetworkPolicy(allowed=("127.0.0.1",))) as session:
        turns = iter(range(requests))
        wall, cpu = time.perf_counter(), time.process_time()
        workers: list[Awaitable[None]] = [_send(session, url, turns, permit) for _ in range(concurrency)]
        await asyncio.gather(*workers)
        return Figures(requests, time.perf_counter() - wall, time.process_time() - cpu)


async def _send(session: Session, url: str, turns: Iterator[int], permit: Permit | None) -> None:
    policy = SendPolicy()
    for turn in turns:
        headers = (*HEADERS.items(), ("Idempotency-Key", f"{turn:032}"))
        reply = await send(HttpRequest("POST", url, headers, BODY), policy, session=session, permit=permit)
        if not isinstance(reply, HttpResponse):
            raise RuntimeError(reply.message)


def bytecodes(loop: Loop, url: str) -> float:
    """Count the Python bytecodes of one request, which do not depend on the machine's load."""
    loop(url, 50, 8)
    few, many = 100, 400
    return (_count(loop, url, many) - _count(loop, url, few)) / (many - few)


def _count(loop: Loop, url: str, requests: int) -> int:
    counted = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        loop(url, requests, 8)
    finally:
        sys.settrace(None)
    return counted


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--requests", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--concurrency", type=int, default=64)
    chosen = options.parse_args()
    loops: dict[str, Loop] = {"bare": bare, "transport": through_transport, "with a permit": with_permit}
    with running_server(0) as url:
        for loop in loops.values():
            loop(url, 500, chosen.concurrency)
        cpu: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(chosen.rounds):
            for name, loop in loops.items():
                cpu[name].append(loop(url, chosen.requests, chosen.concurrency).cpu_us)
        counts = {name: bytecodes(loop, url) for name, loop in loops.items()}
    for name in loops:
        ratio = median(own / base for own, base in zip(cpu[name], cpu["bare"], strict=True))
        print(
            f"{name:14} {median(cpu[name]):4.0f} us CPU ({ratio:.2f} of bare), "
            f"{counts[name]:5.0f} bytecodes ({counts[name] / counts['bare']:.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The bare loop that a replay is measured against: aiohttp, one session, one fixed body, nothing else.

python benchmarks/bare.py [--requests 20000] [--concurrency 64]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from benchmarks.server import counts, running_server

# Ten leaves, about 300 bytes.
BODY = json.dumps(
    {
        "name": "Ana María Hernández",
        "phone": "+525512345678",
        "email": "ana.hernandez@example.com",
        "age": 41,
        "plan": "premium",
        "newsletter": True,
        "city": "Guadalajara",
        "comment": "Quiero saber más sobre el plan anual para empresas",
        "campaign": {"source": "whatsapp", "name": "spring-2026"},
    },
    ensure_ascii=False,
).encode()
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Figures:
    """What a run took.

    Attributes:
        requests: how many were sent and answered.
        seconds: of wall time.
        cpu_seconds: of this process, user and system.
    """

    requests: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per request."""
        return self.cpu_seconds / self.requests * 1e6


def bare(url: str, requests: int, concurrency: int = 64) -> Figures:
    """POST the fixed body again and again.

    Args:
        url: where to.
        requests: how many.
        concurrency: how many are under way at once.

    Returns:
        What it took, without the start of the event loop.

    Raises:
        RuntimeError: a reply was no 2xx.
    """
    return asyncio.run(_bare(url, requests, concurrency))


async def _bare(url: str, requests: int, concurrency: int) -> Figures:
    async with aiohttp.ClientSession() as session:
        turns = iter(range(requests))
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_send(session, url, turns) for _ in range(concurrency)))
        return Figures(requests, time.perf_counter() - wall, time.process_time() - cpu)


async def _send(session: aiohttp.ClientSession, url: str, turns: Iterator[int]) -> None:
    for _ in turns:
        async with session.post(url, data=BODY, headers=HEADERS) as response:
            await response.read()
            if not response.ok:
                raise RuntimeError(f"{url} answered {response.status}")


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--concurrency", type=int, default=64)
    chosen = options.parse_args()
    print(f"bare aiohttp loop, {chosen.requests} POSTs of {len(BODY)} bytes, {chosen.concurrency} at once")
    for delay_ms in (0, 20, 100):
        with running_server(delay_ms) as url:
            bare(url, 1_000, chosen.concurrency)
            before = counts(url)
            figures = bare(url, chosen.requests, chosen.concurrency)
            after = counts(url)
        server_us = (after["cpu_seconds"] - before["cpu_seconds"]) / (after["requests"] - before["requests"]) * 1e6
        ceiling = f", {figures.rate * delay_ms / 1000 / chosen.concurrency:.2f} of the ceiling" if delay_ms else ""
        print(
            f"  server {delay_ms:3} ms: {figures.rate:6.0f} requests/s, {figures.cpu_us:4.0f} us CPU per request"
            f" (server {server_us:3.0f}){ceiling}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The chunks that one process works on."""

from __future__ import annotations

import asyncio

import pytest

from airflow_whatsapp_flows.replay import pending_chunks
from airflow_whatsapp_flows.replay.pending_chunks import PendingChunks


async def take_all(chunks: PendingChunks) -> list[int]:
    taken = []
    while (chunk := await chunks.take()) is not None:
        taken.append(chunk)
    return taken


async def test_takes_each_chunk_once_although_some_stay_pending() -> None:
    assert await take_all(PendingChunks(lambda: [1, 2, 3])) == [1, 2, 3]


async def test_takes_only_what_is_wanted() -> None:
    assert await take_all(PendingChunks(lambda: [1, 2, 3], [3, 1, 9])) == [1, 3]


async def test_waits_while_other_processes_own_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    pending, waits = [1, 2], []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        pending.remove(2)  # its owner has done it

    chunks = PendingChunks(lambda: list(pending))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for chunk in (await chunks.take(), await chunks.take()):
        chunks.give_back(chunk or 0)

    assert await chunks.take() == 1
    assert await chunks.take() is None
    assert waits == [pending_chunks.LOOK_AGAIN_SECONDS]

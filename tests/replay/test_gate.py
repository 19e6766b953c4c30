"""A gate lets in a limited number at once, in order of arrival."""

from __future__ import annotations

import asyncio
import random

import pytest

from airflow_whatsapp_flows.replay.gate import Gate


async def test_lets_in_no_more_than_its_size_in_order() -> None:
    gate, inside, most, entered = Gate(2), 0, 0, list[int]()

    async def visit(number: int) -> None:
        nonlocal inside, most
        await gate.enter()
        entered.append(number)
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        gate.leave()

    await asyncio.wait_for(asyncio.gather(*map(visit, range(9))), 5)

    assert (most, entered) == (2, list(range(9)))


async def test_a_place_is_not_lost_when_a_task_is_cancelled() -> None:
    """Before, while, and after it is handed over."""
    gate, chance = Gate(3), random.Random(5)

    async def visit() -> None:
        await gate.enter()
        try:
            await asyncio.sleep(0)
        finally:
            gate.leave()

    for _ in range(200):
        tasks = [asyncio.create_task(visit()) for _ in range(12)]
        for _ in range(chance.randint(0, 4)):
            await asyncio.sleep(0)
        for task in chance.sample(tasks, 6):
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    for _ in range(3):
        await asyncio.wait_for(gate.enter(), 1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(gate.enter(), 0.01)


async def test_a_place_that_was_handed_over_goes_to_the_next_one() -> None:
    gate = Gate(1)
    await gate.enter()
    first, second = (asyncio.create_task(gate.enter()) for _ in range(2))
    await asyncio.sleep(0)

    gate.leave()
    first.cancel()  # it has the place, and does not know yet

    await asyncio.wait_for(second, 1)
    assert first.cancelled()

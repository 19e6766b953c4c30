"""A server that is down is probed rarely, and given up after a while."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.replay.breaker import BatchStoppedError, Breaker
from tests.replay.virtual_time import VirtualTimeLoop, run_virtual

HOST = "crm.example:443"
REFUSED = "no connection to crm.example:443: connection refused"


def open_breaker(loop: VirtualTimeLoop) -> Breaker:
    breaker = Breaker(HOST, clock=loop.time)
    for _ in range(20):
        breaker.note(failed=True, problem=REFUSED)
    return breaker


def test_opens_after_twenty_failures_in_a_row() -> None:
    breaker = Breaker(HOST)
    for _ in range(19):
        breaker.note(failed=True)
    assert not breaker.is_open
    breaker.note(failed=True)
    assert breaker.is_open


def test_processes_of_one_command_share_the_failures() -> None:
    breaker = Breaker(HOST, share=3)
    for _ in range(5):
        breaker.note(failed=True)
    assert not breaker.is_open
    breaker.note(failed=True)
    assert breaker.is_open


def test_the_failures_are_not_shared_once_the_host_has_answered() -> None:
    answered: list[str] = []
    breaker = Breaker(HOST, share=8)
    breaker.on_answered = answered.append
    breaker.note(failed=False)
    for _ in range(19):
        breaker.note(failed=True)
    assert (breaker.is_open, answered) == (False, [HOST])
    breaker.note(failed=True)
    assert breaker.is_open


def test_an_answer_to_another_process_closes_it_and_lets_all_wait_no_longer() -> None:
    breaker = Breaker(HOST, share=10)

    async def main() -> bool:
        assert not await breaker.enter()
        assert not await breaker.enter()
        for _ in range(2):
            breaker.note(failed=True)
        assert breaker.is_open
        waiting = asyncio.create_task(breaker.enter())
        await asyncio.sleep(0)
        breaker.note_answered()
        return await asyncio.wait_for(waiting, 1)

    assert asyncio.run(main()) is False
    for _ in range(17):
        breaker.note(failed=True)
    assert not breaker.is_open
    breaker.note(failed=True)
    assert breaker.is_open


def test_an_answer_to_another_process_leaves_it_open_after_all_the_failures_of_one_process() -> None:
    breaker = Breaker(HOST, share=10)
    for _ in range(20):
        breaker.note(failed=True)
    breaker.note_answered()
    assert breaker.is_open


@given(st.lists(st.booleans(), max_size=200))
def test_counts_only_consecutive_failures(failures: list[bool]) -> None:
    breaker = Breaker(HOST, threshold=5)
    for failed in failures:
        breaker.note(failed=failed)
        if breaker.is_open:
            break
    told = "".join("x" if failed else "." for failed in failures)
    assert breaker.is_open is ("xxxxx" in told)


def test_a_closed_breaker_does_not_even_yield() -> None:
    with pytest.raises(StopIteration) as stopped:
        Breaker(HOST).enter().send(None)
    assert stopped.value.value is False


def test_an_open_breaker_probes_at_growing_intervals() -> None:
    async def main(loop: VirtualTimeLoop) -> list[float]:
        breaker = open_breaker(loop)
        began, probes, inside = loop.time(), [], 0

        async def sender() -> None:
            nonlocal inside
            while True:
                assert await breaker.enter()
                inside += 1
                assert inside == 1
                probes.append(loop.time() - began)
                await asyncio.sleep(0.5)
                inside -= 1
                breaker.note(failed=True, problem=REFUSED, probe=True)

        with pytest.raises(BatchStoppedError):
            await asyncio.gather(*(sender() for _ in range(64)))
        return probes

    assert run_virtual(main) == pytest.approx([5, 15, 35])


def test_runs_one_probe_at_a_time() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        breaker = open_breaker(loop)
        assert await breaker.enter()
        await asyncio.sleep(30)
        waiting = asyncio.create_task(breaker.enter())
        await asyncio.sleep(1)
        assert not waiting.done()
        breaker.note(failed=True, probe=True)
        assert await waiting

    run_virtual(main)


def test_an_unstarted_probe_frees_its_place() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        breaker = open_breaker(loop)
        assert await breaker.enter()
        waiting = asyncio.create_task(breaker.enter())
        await asyncio.sleep(0.1)
        breaker.abandon(probe=True)
        assert await waiting

    run_virtual(main)


@pytest.mark.parametrize("probe", [True, False])
def test_the_first_success_closes_the_breaker(probe: bool) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        breaker = open_breaker(loop)
        assert await breaker.enter()
        waiting = [asyncio.create_task(breaker.enter()) for _ in range(10)]
        await asyncio.sleep(0)
        now = loop.time()
        breaker.note(failed=False, probe=probe)
        assert await asyncio.gather(*waiting) == [False] * 10
        assert loop.time() == now
        assert not breaker.is_open

    run_virtual(main)


def test_a_late_failure_does_not_end_the_probe() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        breaker = open_breaker(loop)
        assert await breaker.enter()
        await asyncio.sleep(30)
        breaker.note(failed=True, problem=REFUSED)
        waiting = asyncio.create_task(breaker.enter())
        await asyncio.sleep(1)
        assert not waiting.done()
        waiting.cancel()

    run_virtual(main)


def test_asks_to_stop_with_a_reason_after_a_minute_of_downtime() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        breaker = open_breaker(loop)
        began = loop.time()
        assert await breaker.enter()  # a probe that hangs
        with pytest.raises(BatchStoppedError) as stopped:
            await breaker.enter()
        assert loop.time() - began == pytest.approx(60)
        assert stopped.value.reason == (
            "crm.example:443 failed 20 times in a row (last: no connection to crm.example:443: connection refused); "
            "stopped after 60 s"
        )
        breaker.note(failed=False, probe=True)  # too late: the batch is stopping
        with pytest.raises(BatchStoppedError):
            await breaker.enter()

    run_virtual(main)


def test_the_reason_is_stored_for_later_readers() -> None:
    now = 0.0
    breaker = Breaker(HOST, threshold=1, patience=10, clock=lambda: now)
    breaker.note(failed=True)
    assert breaker.stop_reason is None
    now = 10.0
    assert breaker.stop_reason == "crm.example:443 failed 1 time in a row; stopped after 10 s"


def test_does_not_give_up_an_intermittent_server() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        breaker, chance, sent = Breaker(HOST, threshold=3, clock=loop.time), random.Random(7), 0

        async def sender() -> None:
            nonlocal sent
            for _ in range(50):
                probe = await breaker.enter()
                await asyncio.sleep(0.1)
                breaker.note(failed=chance.random() < 0.4, problem="x", probe=probe)
                sent += 1

        await asyncio.gather(*(sender() for _ in range(8)))
        assert sent == 400

    run_virtual(main)


def test_sends_at_most_twenty_requests_to_an_unproven_host() -> None:
    async def main(loop: VirtualTimeLoop) -> int:
        breaker, begun = Breaker(HOST, clock=loop.time), 0

        async def sender() -> None:
            nonlocal begun
            while True:
                probe = await breaker.enter()
                begun += not probe
                await asyncio.sleep(0.5)
                breaker.note(failed=True, problem=REFUSED, probe=probe)

        with pytest.raises(BatchStoppedError):
            await asyncio.gather(*(sender() for _ in range(64)))
        return begun

    assert run_virtual(main) == 20


def test_the_first_answer_allows_full_concurrency() -> None:
    async def main(loop: VirtualTimeLoop) -> list[float]:
        breaker, began = Breaker(HOST, clock=loop.time), loop.time()
        begun: list[float] = []

        async def sender() -> None:
            assert await breaker.enter() is False
            begun.append(loop.time() - began)
            await asyncio.sleep(1)
            breaker.note(failed=False)

        await asyncio.gather(*(sender() for _ in range(64)))
        return begun

    assert run_virtual(main) == [0.0] * 20 + [1.0] * 44


def test_an_unstarted_send_frees_its_place() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        breaker = Breaker(HOST, threshold=1, clock=loop.time)
        assert await breaker.enter() is False
        waiting = asyncio.create_task(breaker.enter())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        breaker.abandon(probe=False)
        assert await waiting is False

    run_virtual(main)

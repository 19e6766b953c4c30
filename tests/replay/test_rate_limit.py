"""Rate limits that hold in every second across all processes, and waits requested by servers."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.replay.rate_limit import HostRate
from tests.replay.slot_stores import MemorySlots, SlowCall
from tests.replay.virtual_time import VirtualTimeLoop, run_virtual

HOST = "crm.example:443"


async def at_once(function: Callable[[], Any]) -> Any:
    return function()


def pace(loop: VirtualTimeLoop, store: MemorySlots, call: Any = at_once, rate: float | None = None) -> HostRate:
    return HostRate(HOST, store, call, rate=rate, clock=loop.time)


def most_in(seconds: float, times: list[float]) -> int:
    times, first, most = sorted(times), 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


async def sends(
    loop: VirtualTimeLoop,
    one: HostRate,
    times: list[float],
    pauses: list[float],
    busy: Callable[[], float] | None = None,
    lag: Callable[[], float] | None = None,
) -> None:
    """One sender: after each pause it waits for a slot, sends after a lag, and keeps the process busy."""
    for pause in pauses:
        await asyncio.sleep(pause)
        await one.enter()
        if lag:
            await asyncio.sleep(lag())
        times.append(loop.time())
        if busy:
            loop.advance(busy())


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([0.4, 1, 2.5, 5, 20, 50, 100, 300.3]),
    processes=st.integers(1, 3),
    slowest=st.sampled_from([0.0, 0.002, 0.01, 0.05, 0.3]),
    delay=st.sampled_from([None, ("lag", 0.03), ("busy", 0.02), ("busy", 0.2)]),
    longest_pause=st.sampled_from([0.0, 0.01, 0.5]),
    seed=st.integers(0, 2**32),
)
@example(rate=300.3, processes=3, slowest=0.0, delay=("busy", 0.02), longest_pause=0.0, seed=1324)  # woken late
@example(rate=0.4, processes=3, slowest=0.002, delay=("busy", 0.2), longest_pause=0.0, seed=36038)  # answered late
@example(rate=5, processes=2, slowest=0.0, delay=("lag", 0.03), longest_pause=0.0, seed=2)
def test_never_exceeds_the_limit_in_any_second(
    rate: float, processes: int, slowest: float, delay: tuple[str, float] | None, longest_pause: float, seed: int
) -> None:
    chance = random.Random(seed)
    times: list[float] = []

    kind, seconds = delay or ("", 0.0)
    lag = (lambda: chance.uniform(0, seconds)) if kind == "lag" else None
    # A busy process delays its own sends, and in one loop those of all.
    busy = (lambda: chance.uniform(0, seconds) if chance.random() < 0.02 else 0.0) if kind == "busy" else None

    async def main(loop: VirtualTimeLoop) -> None:
        store = MemorySlots(loop.time)
        calls = [SlowCall(slowest, seed + n) for n in range(processes)]
        most = seconds if lag else 0.0
        paces = [HostRate(HOST, store, call, rate=rate, lag=most, clock=loop.time) for call in calls]
        pauses = [chance.uniform(0, longest_pause) for _ in range(math.ceil(rate / 3) + 2)]
        await asyncio.gather(*(sends(loop, one, times, pauses, busy, lag) for one in paces for _ in range(4)))
        for one in paces:
            await one.close()

    run_virtual(main)
    assert most_in(max(1.0, 1 / rate), times) <= math.ceil(rate)


@pytest.mark.parametrize("rate", [1, 5, 50, 500])
@pytest.mark.parametrize("slowest", [0.0, 0.003, 0.03])
@pytest.mark.parametrize("processes", [1, 3])
def test_uses_the_full_limit(rate: float, slowest: float, processes: int) -> None:
    times: list[float] = []

    async def main(loop: VirtualTimeLoop) -> None:
        store = MemorySlots(loop.time)
        paces = [pace(loop, store, SlowCall(slowest, n), rate) for n in range(processes)]
        count = max(5, round(rate * 5 / processes))
        senders = max(4, round(rate / 10))
        await asyncio.gather(
            *(sends(loop, one, times, [0.0] * math.ceil(count / senders)) for one in paces for _ in range(senders))
        )

    run_virtual(main)
    # The slowest store answers in up to 60 ms: blocks are stretched by as much.
    assert (len(times) - 1) / (max(times) - min(times)) >= rate * (0.95 if slowest < 0.03 else 0.6)


def test_without_a_limit_reads_the_store_once_a_second() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        store, times = MemorySlots(loop.time), []
        one = pace(loop, store)
        await sends(loop, one, times, [0.001] * 3000)
        await one.close()
        assert times[-1] - times[0] == pytest.approx(2.999)
        assert (store.reserves, store.holds) == (0, 0)
        assert store.looks <= 4

    run_virtual(main)


def test_an_open_pace_does_not_even_yield() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        one = pace(loop, MemorySlots(loop.time))
        await one.enter()
        with pytest.raises(StopIteration):
            one.enter().send(None)

    run_virtual(main)


def test_reads_the_store_rarely() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        store, times = MemorySlots(loop.time), []
        one = pace(loop, store, SlowCall(0.001, 1), rate=500)
        await asyncio.gather(*(sends(loop, one, times, [0.0] * 100) for _ in range(10)))
        assert store.reserves <= len(times) / 20

    run_virtual(main)


def test_an_overgenerous_store_does_not_exceed_the_limit() -> None:
    class Generous(MemorySlots):
        def reserve(self, host: str, interval: float, count: int) -> float:
            return 0.0

    async def main(loop: VirtualTimeLoop) -> None:
        one, times = pace(loop, Generous(loop.time), rate=50), []
        await asyncio.gather(*(sends(loop, one, times, [0.003] * 50) for _ in range(10)))
        assert most_in(1.0, times) <= 50

    run_virtual(main)


def test_senders_enter_in_the_order_of_their_requests() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        one, order = pace(loop, MemorySlots(loop.time), rate=300), []

        async def sender(number: int) -> None:
            await one.enter()
            order.append(number)
            loop.advance(0.03)  # who is let in together with this one is woken too late

        await asyncio.gather(*(sender(number) for number in range(30)))
        assert order == list(range(30))

    run_virtual(main)


def test_a_cancelled_sender_takes_no_slot() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        one = pace(loop, MemorySlots(loop.time), rate=1)
        await one.enter()
        began = loop.time()
        waiting = [asyncio.create_task(one.enter()) for _ in range(50)]
        await asyncio.sleep(0.1)
        for task in waiting[:-1]:
            task.cancel()
        await waiting[-1]
        assert loop.time() - began < 1.2

    run_virtual(main)


@pytest.mark.parametrize("rate", [None, 100.0])
def test_a_hold_of_one_process_stops_others_within_a_second(rate: float | None) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        store = MemorySlots(loop.time)
        told, other = (pace(loop, store, SlowCall(0.003, n), rate) for n in range(2))
        both = ((told, mine := []), (other, others := []))
        tasks = [asyncio.create_task(sends(loop, one, times, [0.005] * 2000)) for one, times in both]
        await asyncio.sleep(3)
        told.note(30.0, too_many=True)
        refused = loop.time()
        await asyncio.sleep(40)
        assert [task.cancel() for task in tasks]
        assert not [moment for moment in mine if refused < moment < refused + 30]
        assert not [moment for moment in others if refused + 1.1 < moment < refused + 30]
        assert [moment for moment in others if refused + 30 <= moment < refused + 32]
        await told.close()
        await other.close()

    run_virtual(main)


def test_a_process_that_starts_during_a_hold_waits_for_its_end() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        store = MemorySlots(loop.time)
        store.hold(HOST, 7)
        began = loop.time()
        await pace(loop, store).enter()
        assert loop.time() - began == pytest.approx(7)

    run_virtual(main)


def test_a_paused_process_reads_the_store_before_it_resumes() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        store = MemorySlots(loop.time)
        one = pace(loop, store)
        await one.enter()
        await asyncio.sleep(60)
        store.hold(HOST, 7)
        began = loop.time()
        await one.enter()
        assert loop.time() - began == pytest.approx(7)

    run_virtual(main)


def test_after_a_refusal_the_host_gets_its_accepted_rate_without_bursts() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        one = pace(loop, MemorySlots(loop.time))
        times: list[float] = []
        for _ in range(200):  # 100 a second
            await one.enter()
            one.note(None, too_many=False)
            await asyncio.sleep(0.01)
        for _ in range(64):  # refusals come together, and count as one
            one.note(5.0, too_many=True)
        refused = loop.time()
        await asyncio.gather(*(sends(loop, one, times, [0.0] * 10) for _ in range(64)))
        assert min(times) >= refused + 5
        assert 80 <= most_in(1.0, [moment for moment in times if moment < refused + 6]) <= 95
        assert most_in(0.1, [moment for moment in times if moment < refused + 6]) <= 10
        await one.close()

    run_virtual(main)


@pytest.mark.parametrize("waits", [2.0, None])
@pytest.mark.parametrize(("limit", "period"), [(400, 1.0), (100, 60.0), (5, 1.0)])
def test_finds_an_undeclared_limit(limit: int, period: float, waits: float | None) -> None:
    async def main(loop: VirtualTimeLoop) -> tuple[int, int, float]:
        one = pace(loop, MemorySlots(loop.time), SlowCall(0.002, 1))
        accepted = [0] * 1000
        refused = 0
        began = loop.time()

        async def sender() -> None:
            nonlocal refused
            while sum(accepted) < limit * 10:
                await one.enter()
                await asyncio.sleep(0.02)
                window = int((loop.time() - began) / period)
                if accepted[window] < limit:
                    accepted[window] += 1
                    one.note(None, too_many=False)
                else:
                    refused += 1
                    one.note(waits, too_many=True)

        await asyncio.gather(*(sender() for _ in range(32)))
        await one.close()
        return sum(accepted), refused, loop.time() - began

    accepted, refused, seconds = run_virtual(main)
    assert accepted / seconds >= 0.5 * limit / period
    assert refused <= accepted  # without any pace it is ten times as many


def test_does_not_depend_on_the_machine_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: pytest.fail("the clock of the machine was read"))
    test_reads_the_store_rarely()
    test_after_a_refusal_the_host_gets_its_accepted_rate_without_bursts()


class BrokenStoreError(Exception):
    pass


@pytest.mark.parametrize("broken", ["reserve", "hold_seconds", "hold"])
def test_sends_nothing_after_the_store_fails(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        store = MemorySlots(loop.time)
        one = pace(loop, store, rate=10)
        await one.enter()

        def fail(*_: Any) -> Any:
            raise BrokenStoreError

        monkeypatch.setattr(store, broken, fail)
        one.note(0.1, too_many=True)
        with pytest.raises(BrokenStoreError):
            await asyncio.gather(*(sends(loop, one, [], [0.0] * 30) for _ in range(5)))
        with pytest.raises(BrokenStoreError):
            await one.enter()
        with pytest.raises(BrokenStoreError):
            await one.close()

    run_virtual(main)


def test_closing_stores_the_last_hold_and_releases_all_waiters() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        store = MemorySlots(loop.time)
        one = pace(loop, store, SlowCall(0.01, 1))
        await one.enter()
        one.note(1.0, too_many=True)
        await asyncio.sleep(0)
        one.note(20.0, too_many=True)  # while the first is being stored
        waiting = asyncio.create_task(one.enter())
        await asyncio.sleep(0)
        await one.close()
        assert store.hold_seconds(HOST) == pytest.approx(20, abs=0.1)
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run_virtual(main)


async def test_works_with_threads_and_the_real_clock() -> None:
    one = HostRate(HOST, MemorySlots(time.monotonic), asyncio.to_thread, rate=100)
    times: list[float] = []

    async def sender() -> None:
        for _ in range(4):
            await one.enter()
            times.append(time.monotonic())

    await asyncio.gather(*(sender() for _ in range(8)))
    await one.close()
    assert most_in(0.1, times) <= 13

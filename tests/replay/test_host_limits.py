"""When a host may be sent to, across processes and while it is down."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest

from airflow_whatsapp_flows.flow.delivery.rule import RetryRule
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.replay.breaker import BatchStoppedError, Breaker
from airflow_whatsapp_flows.replay.host_limits import ANY_HOST, HostLimiter, HostLimits
from tests.replay.runs import Run, sqlite_url
from tests.replay.slot_stores import MemorySlots
from tests.servers.crm_log import running_crm

RULE = RetryRule.of(Delivery.AT_MOST_ONCE)
OK = HttpResponse(201, "Created", (), b"{}", 1)
REFUSED = TransportFailure(ErrorKind.CONNECT, "refused", Sent.NO)


def _result(reply: Reply) -> ActionResult:
    return classify(reply, SentRequest(HttpRequest("POST", "http://crm.example/")))


@pytest.mark.alone
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_processes_share_the_rate(tmp_path: Path, request: pytest.FixtureRequest, database: str) -> None:
    ledger = sqlite_url(tmp_path)
    if database == "postgresql":
        ledger = request.getfixturevalue("postgres").create_database()
    with running_crm(tmp_path / "crm.log") as crm:
        run = Run(tmp_path, crm, ledger, total=200, begin={"chunk_size": 25}, settings={"rates": {"": 50}})
        with run.start(chunks=[0, 1, 2, 3]) as one, run.start(chunks=[4, 5, 6, 7]) as other:
            ended = [one.wait(), other.wait()]

        assert all("ended" in process.told for process in ended), [process.told for process in ended]
        assert [process.told["ended"] for process in ended] == [{"completed": 100}] * 2
        assert run.states() == {"completed": 200}
        # test_rate_limit.py shows in virtual time, independent of the machine, that the full rate is used.
        assert run.broken_promises(kills=0, rate=50) == []


async def _limiter(**breaker: float) -> HostLimiter:
    limiter = HostLimits(MemorySlots(time.monotonic), {}, 2).of("crm.example:443")
    limiter._breaker = Breaker("crm.example:443", **breaker)  # type: ignore[arg-type]
    return limiter


async def _probe(limiter: HostLimiter, result: ActionResult, probes: list[float]) -> None:
    while True:
        probe = await limiter.enter()
        probes.append(asyncio.get_running_loop().time())
        assert probe is True
        limiter.leave(result, RULE, probe=probe)


@pytest.mark.parametrize(
    "reply",
    [REFUSED, TransportFailure(ErrorKind.TIMEOUT, "late", Sent.UNKNOWN), HttpResponse(503, "", (), b"", 1)],
)
async def test_a_host_that_is_down_is_probed_once_an_interval_and_given_up(reply: Reply) -> None:
    limiter = await _limiter(threshold=3, interval=0.1, patience=0.5)
    for _ in range(3):
        assert await limiter.enter() is False
        limiter.leave(_result(reply), RULE, probe=False)

    probes: list[float] = []
    with pytest.raises(BatchStoppedError, match=r"^crm\.example:443 failed \d times in a row"):
        await _probe(limiter, _result(reply), probes)

    assert 1 <= len(probes) <= 3
    assert all(after - before >= 0.15 for before, after in itertools.pairwise(probes))


@pytest.mark.parametrize("reply", [OK, HttpResponse(404, "", (), b"", 1), HttpResponse(429, "", (), b"", 1)])
async def test_any_answer_shows_that_the_host_is_up(reply: HttpResponse) -> None:
    limiter = await _limiter(threshold=2, interval=60, patience=60)
    for one in (REFUSED, reply, REFUSED):
        probe = await limiter.enter()
        limiter.leave(_result(one), RULE, probe=probe)

    assert limiter._breaker.is_open is False


async def test_an_abandoned_probe_frees_its_place() -> None:
    limiter = await _limiter(threshold=1, interval=0.01, patience=60)
    limiter.leave(_result(REFUSED), RULE, probe=await limiter.enter())

    limiter.abandon(probe=await limiter.enter())

    assert await asyncio.wait_for(limiter.enter(), 5) is True


async def test_a_requested_wait_applies_to_the_whole_host() -> None:
    store = MemorySlots(time.monotonic)
    limiter = HostLimits(store, {}, 2).of("crm.example:443")
    await limiter.enter()

    limiter.leave(_result(HttpResponse(429, "", (("Retry-After", "30"),), b"", 1)), RULE, probe=False)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(limiter.enter(), 0.1)
    await limiter.pace.close()
    assert store.hold_seconds("crm.example:443") > 25


async def test_limits_a_wait_to_the_flows_maximum() -> None:
    store = MemorySlots(time.monotonic)
    limiter = HostLimits(store, {}, 2).of("crm.example:443")
    await limiter.enter()

    rule = RetryRule.of(Delivery.AT_MOST_ONCE, max_wait=5)
    limiter.leave(_result(HttpResponse(429, "", (("Retry-After", "99999999999"),), b"", 1)), rule, probe=False)
    await limiter.pace.close()

    assert store.hold_seconds("crm.example:443") <= 5


@pytest.mark.parametrize("rates", [{}, {ANY_HOST: 1000}], ids=["no rate", "rate"])
async def test_a_host_that_closes_after_a_send_was_let_in_holds_it(rates: dict[str, float]) -> None:
    async with HostLimits(MemorySlots(time.monotonic), rates, 2) as limits:
        limiter = limits.of("crm.example:443")
        limiter._breaker = Breaker("crm.example:443", threshold=1, interval=0.01)
        probe, was_open = await limiter.enter(), limiter.is_open
        assert limiter.has_closed(was_open=was_open, probe=probe) is False

        limiter.leave(_result(HttpResponse(429, "", (("Retry-After", "30"),), b"", 1)), RULE, probe=False)
        assert limiter.has_closed(was_open=was_open, probe=probe) is True

        other = limits.of("other.example:443")
        other._breaker = Breaker("other.example:443", threshold=1, interval=0.01)
        probe, was_open = await other.enter(), other.is_open
        other.leave(_result(REFUSED), RULE, probe=False)
        assert other.has_closed(was_open=was_open, probe=probe) is True
        probe, was_open = await other.enter(), other.is_open  # a probe of a host that is down is sent
        assert (probe, other.has_closed(was_open=was_open, probe=probe)) == (True, False)


async def test_each_host_has_its_own_limiter() -> None:
    async with HostLimits(MemorySlots(time.monotonic), {ANY_HOST: 1000, "b.example": 5}, 2) as limits:
        assert limits.of("a.example:80") is limits.of("a.example:80")
        assert limits.of("a.example:80") is not limits.of("b.example:80")


async def test_processes_report_the_first_answer_of_a_host_to_each_other() -> None:
    answered: list[str] = []
    async with HostLimits(MemorySlots(time.monotonic), {}, 2, share=20) as limits:
        limits.on_answered = answered.append
        limits.note_answered("known.example:80")
        for host in ("known.example:80", "answers.example:80", "silent.example:80"):
            limits.of(host)._breaker.note(failed=host != "answers.example:80")
            limits.of(host)._breaker.note(failed=host != "answers.example:80")
        assert answered == ["answers.example:80"]
        assert [limits.of(f"{name}.example:80")._breaker.is_open for name in ("known", "silent")] == [False, True]
        limits.note_answered("silent.example:80")
        assert not limits.of("silent.example:80")._breaker.is_open


def test_a_dead_server_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", shares={"reset_before": 1}) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=200, concurrency=64)
        ended = run.finish(breaker={"threshold": 20, "interval": 0.3, "patience": 2.0})

        assert ended.status == 4, ended
        assert "times in a row" in ended.told["stopped"]
        # Intents without a request when the host was given up are withdrawn, not in doubt.
        assert {attempt["fate"] for attempt in run.attempts()} <= {"unknown", "not_sent"}
        doubtful = run.states()["in_doubt"]
        assert 20 <= doubtful <= 20 + 3  # and probes after 0.3, 0.9 and 2.1 seconds

        crm.configure()
        assert run.finish().status == 0
        assert run.states() == {"completed": 200 - doubtful, "in_doubt": doubtful}
        assert run.broken_promises(kills=None) == []

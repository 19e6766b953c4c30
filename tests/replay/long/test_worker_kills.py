"""Kills of workers, of their command, and of all of them, with both databases."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from airflow_whatsapp_flows.cli import INTERRUPTED
from airflow_whatsapp_flows.replay.workers.supervisor import MOST_DEATHS
from tests.replay.runs import Run, await_true
from tests.replay.workers.commands import Command, command, has_ended, kill
from tests.servers.crm_faults import FEW_FAULTS
from tests.servers.crm_log import CrmProcess, running_crm

pytestmark = pytest.mark.long

WORKERS, SHARE = 3, 8
LATENCY = 100  # ms: 240 requests per second, so that a run does not end while a loaded machine looks away


def a_run(tmp_path: Path, crm: CrmProcess, ledger_url: str, shape: str = "post", total: int = 600) -> Run:
    keys = {"replay": {"chunk_size": 15, "stop_when_refused": False}}
    return Run(tmp_path, crm, ledger_url, shape, total=total, concurrency=WORKERS * SHARE, flow_keys=keys)


def await_more_requests(crm: CrmProcess, running: Command, count: int) -> None:
    """Wait until the CRM has received so many more requests, or the command has ended."""
    due = crm.counts()["requests"] + count
    await_true(lambda: crm.counts()["requests"] >= due or running.process.poll() is not None)


def await_silence(crm: CrmProcess) -> int:
    """Wait until no request comes; return how many have come."""
    counts = [-1, 0]
    while counts[-1] != counts[-2]:
        time.sleep(0.5)
        counts.append(len(crm.requests()))
    return counts[-1]


@pytest.mark.parametrize("shape", ["post", "keyed", "two_steps", "loop"])
def test_kills_of_workers_keep_every_guarantee(tmp_path: Path, ledger_url: str, shape: str) -> None:
    chance = random.Random(f"{shape} {ledger_url[:6]}")
    with running_crm(tmp_path / "crm.log", latency_ms=LATENCY, dedupe=True, shares=FEW_FAULTS) as crm:
        run = a_run(tmp_path, crm, ledger_url, shape)
        for _ in range(2):
            with command(run, workers=WORKERS) as running:
                for _ in range(MOST_DEATHS - 1):
                    await_more_requests(crm, running, chance.randrange(10, 60))
                    time.sleep(chance.uniform(0, 0.02))
                    run.kills += any(kill(pid) for pid in running.workers()[:1])
                running.process.send_signal(signal.SIGTERM)
                assert running.wait() in (0, 3, 4, INTERRUPTED)
        with command(run, workers=WORKERS) as last:
            assert last.wait() in (0, 3)

        assert run.kills >= MOST_DEATHS - 1
        run.concurrency = SHARE
        assert run.broken_promises() == []


@pytest.mark.parametrize("shape", ["post", "keyed"])
def test_kills_of_commands_leave_nothing_in_doubt(tmp_path: Path, ledger_url: str, shape: str) -> None:
    chance = random.Random(f"{shape} {ledger_url[:6]}")
    with running_crm(tmp_path / "crm.log", latency_ms=LATENCY, dedupe=True) as crm:
        run = a_run(tmp_path, crm, ledger_url, shape, total=300)
        for _ in range(3):
            with command(run, workers=WORKERS) as running:
                await_more_requests(crm, running, chance.randrange(1, 60))
                workers = running.workers()
                running.process.kill()
                # The next command starts while these workers still end.
                with command(run, workers=WORKERS) as following:
                    await_more_requests(crm, following, chance.randrange(1, 20))
                    following.process.send_signal(signal.SIGTERM)
                    assert following.wait() in (0, 4, INTERRUPTED, -signal.SIGTERM)  # or it had not started yet
                await_true(lambda pids=tuple(workers): all(map(has_ended, pids)))
        with command(run, workers=WORKERS) as last:
            assert last.wait() == 0

        assert run.broken_promises(kills=0) == []


def test_kills_of_all_processes_leave_at_most_the_concurrency_in_doubt(tmp_path: Path, ledger_url: str) -> None:
    chance = random.Random(ledger_url[:6])
    with running_crm(tmp_path / "crm.log", latency_ms=LATENCY, shares=FEW_FAULTS) as crm:
        run = a_run(tmp_path, crm, ledger_url)
        for _ in range(4):
            with command(run, workers=WORKERS) as running:
                await_more_requests(crm, running, chance.randrange(10, 100))
                running.signal_all(signal.SIGKILL)
                run.kills += running.wait() == -signal.SIGKILL
        with command(run, workers=WORKERS) as last:
            assert last.wait() in (0, 3)

        assert run.kills == 4
        assert run.broken_promises() == []


def test_suspended_processes_continue(tmp_path: Path, ledger_url: str) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=LATENCY) as crm:
        run = a_run(tmp_path, crm, ledger_url)
        with command(run, workers=WORKERS) as running:
            await_more_requests(crm, running, 60)
            running.signal_all(signal.SIGSTOP)
            assert await_silence(crm) < run.total
            running.signal_all(signal.SIGCONT)
            await_more_requests(crm, running, 60)
            suspended = running.workers()[:2]
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in suspended:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                time.sleep(0.5)
            assert running.wait() == 0

        assert run.broken_promises(kills=0) == []


def test_two_commands_with_workers_and_kills_keep_every_guarantee(tmp_path: Path, ledger_url: str) -> None:
    chance = random.Random(ledger_url[:6])
    with running_crm(tmp_path / "crm.log", latency_ms=1_000, dedupe=True) as crm:
        run = a_run(tmp_path, crm, ledger_url, total=900)
        with command(run, workers=WORKERS) as one:
            await_more_requests(crm, one, 5)
            with command(run, workers=WORKERS) as two:
                assert len(two.await_workers(WORKERS)) == WORKERS
                crm.configure(latency_ms=LATENCY, dedupe=True, shares=FEW_FAULTS)
                for running in (one, two, one, two):
                    await_more_requests(crm, running, chance.randrange(20, 60))
                    run.kills += any(kill(pid) for pid in running.workers()[:1])
                assert one.wait() in (0, 3)
                assert two.wait() in (0, 3)

        run.concurrency = SHARE
        assert run.broken_promises() == []

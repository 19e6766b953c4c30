"""Several worker processes of one command: what happens when one of them, or the command, ends or is stopped."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.workers.supervisor import MOST_DEATHS, share_of
from tests.replay.runs import Run, await_requests, await_true, sqlite_url, suspend_between_commits
from tests.replay.workers.commands import command, has_ended, kill
from tests.servers.crm_log import CrmProcess, running_crm
from tests.servers.postgres import PostgresServer

SMALL_CHUNKS = {"replay": {"chunk_size": 10}}
SHARE = 4  # of each of two workers in the concurrency


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CrmProcess]:
    with running_crm(tmp_path / "crm.log", latency_ms=50) as server:
        yield server


@pytest.fixture
def slow_crm(tmp_path: Path) -> Iterator[CrmProcess]:
    """A CRM with which a run lasts until a test on a loaded machine has done something to it; then ``configure()``."""
    with running_crm(tmp_path / "crm.log", latency_ms=500) as server:
        yield server


def run_of(tmp_path: Path, crm: CrmProcess, total: int = 200, **keys: object) -> Run:
    return Run(tmp_path, crm, sqlite_url(tmp_path), total=total, concurrency=8, flow_keys={**SMALL_CHUNKS, **keys})


def test_workers_divide_a_replay_and_report_it_together(tmp_path: Path, crm: CrmProcess) -> None:
    run = run_of(tmp_path, crm)
    with command(run) as running:
        assert len(running.await_workers(2)) == 2
        status = running.wait()
        summary = running.summary()

    assert (status, summary["completed"], summary["pending"], summary["stopped"]) == (0, 200, 0, None)
    assert run.broken_promises(kills=0) == []


def test_a_killed_worker_is_replaced(tmp_path: Path, slow_crm: CrmProcess) -> None:
    run = run_of(tmp_path, slow_crm)
    with command(run) as running:
        await_requests(slow_crm, 10)
        before = running.workers()
        assert kill(before[0])
        await_true(lambda: not set(running.workers()) <= set(before))
        slow_crm.configure()
        status = running.wait()
        summary = running.summary()

    assert status in (0, 3)
    assert (summary["pending"], summary["stopped"]) == (0, None)
    run.concurrency = SHARE
    assert run.broken_promises(kills=1) == []


@pytest.mark.long
def test_a_run_stops_when_workers_keep_dying(tmp_path: Path, crm: CrmProcess) -> None:
    run = run_of(tmp_path, crm, total=240)
    killed: set[int] = set()
    with command(run, "--rate", 20) as running:
        await_requests(crm, 1)
        while running.process.poll() is None and len(killed) < MOST_DEATHS:
            killed.update(pid for pid in running.workers()[:1] if pid not in killed and kill(pid))
            time.sleep(0.05)
        status = running.wait()
        summary = running.summary()

    assert status == 4
    assert summary["stopped"].startswith(f"worker processes died {MOST_DEATHS} times, the last one by signal 9")
    assert summary["pending"] > 0


def test_workers_stop_when_their_command_is_killed(tmp_path: Path, slow_crm: CrmProcess) -> None:
    run = run_of(tmp_path, slow_crm, total=240)
    with command(run) as running:
        await_requests(slow_crm, 10)
        workers = running.workers()
        running.process.kill()
        running.wait()
        sent = len(slow_crm.requests())
        assert workers
        await_true(lambda: all(map(has_ended, workers)))
        assert len(slow_crm.requests()) - sent <= 2 * run.concurrency  # of 230; they notice it at once
        assert "Traceback" not in running.errors()
    slow_crm.configure()
    with command(run) as resumed:
        assert resumed.wait() == 0

    assert run.broken_promises(kills=0) == []


@pytest.mark.long
def test_a_replay_whose_processes_are_all_killed_can_resume(tmp_path: Path, slow_crm: CrmProcess) -> None:
    run = run_of(tmp_path, slow_crm)
    with command(run) as running:
        await_requests(slow_crm, 10)
        running.signal_all(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    slow_crm.configure()
    with command(run) as resumed:
        assert resumed.wait() in (0, 3)

    assert run.broken_promises(kills=1) == []


@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        pytest.param(signal.SIGTERM, False, id="one", marks=pytest.mark.long),
        pytest.param(signal.SIGINT, True, id="ctrl-c"),
    ],
)
def test_a_signal_stops_all_workers_with_nothing_in_doubt(
    tmp_path: Path, slow_crm: CrmProcess, number: signal.Signals, to_all: bool
) -> None:
    run = run_of(tmp_path, slow_crm, total=240)
    with command(run) as running:
        await_requests(slow_crm, 10)
        workers, began = running.workers(), time.monotonic()
        if to_all:
            running.signal_all(number)
        else:
            running.process.send_signal(number)
        status = running.wait()
        took, summary = time.monotonic() - began, running.summary()
        assert all(map(has_ended, workers))
        assert "Traceback" not in running.errors()

    assert (status, summary["stopped"], summary["in_doubt"], took < 10) == (4, f"stopped by {number.name}", 0, True)
    assert 0 < summary["pending"] < 240
    slow_crm.configure()
    with command(run) as resumed:
        assert resumed.wait() == 0
    assert run.broken_promises(kills=0) == []


@pytest.mark.long
def test_a_suspended_worker_does_not_delay_a_stop(tmp_path: Path, slow_crm: CrmProcess) -> None:
    run = run_of(tmp_path, slow_crm, total=240)
    with command(run) as running:
        await_requests(slow_crm, 10)
        suspend_between_commits(running.workers()[0], tmp_path / "ledger.db")
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        status = running.wait()
        took = time.monotonic() - began

    # It is killed after 9.2 seconds; without that, the command would wait for another 5.
    assert (status, took < 13) == (4, True)
    slow_crm.configure()
    with command(run) as resumed:
        assert resumed.wait() in (0, 3)
    run.concurrency = SHARE
    assert run.broken_promises(kills=1) == []


@pytest.mark.long
def test_two_commands_share_a_replay(tmp_path: Path, crm: CrmProcess) -> None:
    run = run_of(tmp_path, crm, total=200)
    with command(run) as first:
        await_requests(crm, 10)
        with command(run) as second:
            second.await_workers(1)
            assert (first.wait(), second.wait()) == (0, 0)
            assert second.summary()["completed"] == 200

    assert Counter(Counter(request.contact for request in crm.requests()).values()) == {1: 200}
    assert run.broken_promises(kills=0) == []


@pytest.mark.alone
def test_workers_share_one_rate(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log") as crm:
        run = run_of(tmp_path, crm, total=120)
        with command(run, "--rate", 40) as running:
            assert running.wait() == 0

        assert run.broken_promises(kills=0, rate=40) == []


def test_a_limit_on_failures_is_for_all_workers(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=250, status=422) as crm:
        limits = {"chunk_size": 10, "max_failures": 30, "stop_when_refused": False}
        run = run_of(tmp_path, crm, total=600, replay=limits)
        with command(run) as running:
            status = running.wait()
            summary = running.summary()

    assert status == 4
    assert "failed, and max_failures allows 30" in summary["stopped"]
    assert 30 < summary["failed"] <= 30 + 3 * run.concurrency  # in flight, and while the workers are told


def test_no_secret_is_visible_to_other_users(tmp_path: Path, crm: CrmProcess) -> None:
    run = run_of(tmp_path, crm)
    shown: dict[int, bytes] = {}  # by process, which has the words of its parent until it executes Python
    with command(run) as running:

        def are_workers() -> bool:
            for pid in running.workers():
                with suppress(FileNotFoundError):
                    shown[pid] = Path(f"/proc/{pid}/cmdline").read_bytes() or shown.get(pid, b"")
            return len(shown) == 2 and all(b"whatsapp-flows replay worker" in words for words in shown.values())

        await_true(are_workers)
        assert running.wait() == 0

    assert all(run.ledger.encode() not in words for words in shown.values())


def test_the_shares_of_workers_add_up_to_the_concurrency() -> None:
    settings = RunSettings(concurrency=64, workers=3, max_failures=5, max_handled_errors=6)

    shares = [share_of(settings, number) for number in range(3)]

    assert [share.concurrency for share in shares] == [22, 21, 21]
    assert {(share.max_failures, share.max_handled_errors, share.workers) for share in shares} == {(None, None, 3)}


def test_refused_credentials_stop_all_workers_and_leave_every_contact_pending(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20, status=401) as crm:
        run = run_of(tmp_path, crm)
        with command(run) as running:
            status = running.wait()
            summary = running.summary()
        sent = len(crm.requests())

    assert (status, summary["pending"], summary["failed"]) == (4, 200, 0)
    assert summary["stopped"].startswith(f"{crm.host} rejected requests without a connection ")
    assert 10 <= sent <= 20 + run.concurrency  # 10 if one worker has taken all chunks before the other one starts


@pytest.mark.long
def test_refusals_of_single_contacts_do_not_stop_workers(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", seed=3, shares={"forbidden": 0.25}) as crm:
        run = run_of(tmp_path, crm, total=400)
        with command(run, workers=8) as running:
            status = running.wait()
            summary = running.summary()

    assert (status, summary["stopped"], summary["pending"]) == (3, None, 0)


@pytest.mark.long
def test_a_ledger_that_is_moved_away_stops_all_workers(tmp_path: Path, slow_crm: CrmProcess) -> None:
    run = run_of(tmp_path, slow_crm)
    with command(run) as running:
        await_requests(slow_crm, 20)
        (tmp_path / "ledger.db").rename(tmp_path / "moved.db")
        status, errors = running.wait(), running.errors()

    assert status == 4
    assert "was deleted or moved while it was in use; nothing more is sent. All of it was saved" in errors
    assert "rerun the same command" in errors
    assert len(slow_crm.requests()) < 200
    assert not (tmp_path / "ledger.db").exists()
    restored = re.findall(r"`mv (\S+) (\S+)` restores the saved copy", errors)[-1]
    Path(restored[0]).rename(restored[1])
    slow_crm.configure()
    with command(run) as resumed:
        assert resumed.wait() in (0, 3)  # a request in flight may be in doubt
    assert run.broken_promises(kills=1) == []


@pytest.mark.long
def test_workers_survive_a_restart_of_the_database_server(
    tmp_path: Path, slow_crm: CrmProcess, private: PostgresServer
) -> None:
    run = run_of(tmp_path, slow_crm)
    run.ledger = private.create_database()
    with command(run) as running:
        await_requests(slow_crm, 20)
        with private.outage():
            time.sleep(1.5)
        slow_crm.configure()
        status, summary = running.wait(), running.summary()

    assert (status, summary["completed"]) == (0, 200)
    assert run.broken_promises(kills=0) == []


@pytest.mark.long
def test_a_signal_stops_workers_while_the_database_server_is_away(
    tmp_path: Path, slow_crm: CrmProcess, private: PostgresServer
) -> None:
    run = run_of(tmp_path, slow_crm)
    run.ledger = private.create_database()
    with command(run) as running:
        await_requests(slow_crm, 20)
        with private.outage():
            time.sleep(1)
            began = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            status = running.wait()
            took = time.monotonic() - began
        assert "Traceback" not in running.errors()
    slow_crm.configure()
    with command(run) as resumed:
        assert resumed.wait() in (0, 3)

    assert (status, took < 13) == (4, True)  # the workers that wait for it are killed after 9.2 seconds
    assert run.broken_promises(kills=1) == []

"""Failures of the ledger, the server, and the clock leave every contact in the correct state."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.replay.crashing import PENDING
from tests.replay.runs import Run, await_requests, await_true, sqlite_url
from tests.replay.shapes import SHAPES
from tests.servers.crm_faults import SHARES
from tests.servers.crm_log import Logged, running_crm
from tests.servers.postgres import PostgresServer, running_postgres

SECOND = 1_000_000_000
DAY = 86_400.0
KNOWN_RATE = {"": 300}
"""A 429 then lowers the rate by a tenth; without a known rate it would be learned from the first ones, and be low."""
SPREAD = {name: 0.05 for name in SHARES if name != "slow"}


def test_sends_nothing_while_the_database_server_is_unreachable(tmp_path: Path, postgres: PostgresServer) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm, running_postgres() as own:
        run = Run(tmp_path, crm, own.create_database(), total=400)
        with run.start(reconnect_timeout=1) as running:
            await_requests(crm, 50)
            crm.configure(latency_ms=500)  # contacts are left when the database server has stopped
            own.stop("immediate")
            gone = len(crm.requests())
            ended = running.wait()

        assert ended.status == 1, ended
        assert "LedgerError: the ledger postgresql://" in ended.errors
        assert "Traceback" not in ended.errors
        assert len(crm.requests()) - gone <= run.concurrency  # what was intended before

        own.start()
        crm.configure()
        assert run.finish().status == 0
        assert set(run.states()) <= {"completed", "in_doubt"}
        assert run.broken_promises(kills=1) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, timeout=10
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_stops_the_sending_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=5) as crm:
        run = Run(tmp_path, crm, sqlite_url(small_disk), total=900)
        full = run.finish()
        sent = len(crm.requests())

        assert full.status == 1, full
        assert "LedgerError" in full.errors
        assert "full" in full.errors
        assert 0 < sent < 900
        assert run.broken_promises(finished=False, kills=1) == []

        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True, timeout=10)
        assert run.finish().status == 0
        assert run.broken_promises(kills=1) == []


def test_waits_for_a_locked_ledger(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=200)
        with run.start() as running:
            await_requests(crm, 20)
            crm.configure(latency_ms=500)  # contacts are left when the ledger is locked
            locker = sqlite3.connect(tmp_path / "ledger.db", timeout=10, isolation_level=None)
            locker.execute("BEGIN EXCLUSIVE")
            locked = len(crm.requests())
            time.sleep(3)
            freed = len(crm.requests())
            locker.execute("ROLLBACK")
            locker.close()
            crm.configure()
            ended = running.wait()

        assert ended.status == 0, ended
        assert freed - locked <= run.concurrency  # what was intended before
        assert run.states() == {"completed": 200}
        assert run.broken_promises(kills=0) == []


def _expected_state(shape: str, log: list[Logged]) -> str:
    """The state of a contact with one step, according to the last complete request."""
    last = log[-1] if log else None
    if last is None:
        return "in_doubt"
    if last.reply == "sent" and 200 <= last.status < 300:
        return "completed"
    doubtful = [entry for entry in log if entry.reply == "dropped" or entry.status >= 500]
    return "in_doubt" if doubtful else "failed"


@pytest.mark.parametrize("shape", ["post", "keyed", "idempotent"])
def test_states_match_the_servers_log_under_faults(tmp_path: Path, shape: str) -> None:
    shares = {name: share for name, share in SPREAD.items() if name != "reset_before"}
    with running_crm(tmp_path / "crm.log", shares=shares, dedupe=True, retry_after=["0", "soon", "", "-5"]) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), shape, total=200, settings={"rates": KNOWN_RATE})
        ended = run.finish()

        assert ended.status == 0, ended
        assert run.broken_promises(kills=0) == []
        by_phone: dict[str, list[Logged]] = {}
        for entry in crm.requests():
            by_phone.setdefault(str(entry.contact), []).append(entry)
        expected = Counter(_expected_state(shape, by_phone.get(str(one["phone"]), [])) for one in run.contacts())
        assert run.states() == expected
        assert len(expected) >= 2


@pytest.mark.parametrize("shape", SHAPES)
def test_faults_keep_every_guarantee(tmp_path: Path, shape: str) -> None:
    with running_crm(tmp_path / "crm.log", shares=SPREAD, dedupe=True, retry_after=["0", "date+0", "soon"]) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), shape, total=100, settings={"rates": KNOWN_RATE})
        ended = run.finish()

        assert ended.status == 0, ended
        assert run.states().total() == 100
        assert run.broken_promises(kills=None) == []


def test_a_low_file_limit_reduces_concurrency(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=50) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=200, concurrency=64)
        ended = run.finish(files=64)

        assert ended.status == 0, ended
        assert ended.errors.count("instead of 64: this process can open 64 files") == 1
        assert run.states() == {"completed": 200}
        assert len(run.attempts()) == len(crm.requests()) == 200
        assert run.broken_promises(kills=0) == []


def test_requests_wait_while_no_file_descriptor_is_free(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=100, concurrency=16)
        ended = run.finish(files=96, hog=2)

        assert ended.status == 0, ended
        assert ended.errors.count("requests wait until one is free") == 1
        assert run.states() == {"completed": 100}
        assert len(run.attempts()) == len(crm.requests()) == 100
        assert run.broken_promises(kills=0) == []


def test_a_reply_after_the_deadline_leaves_doubt(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", shares={"slow": 0.2}, slow_seconds=10) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=30)
        run.change_flow('"timeout": 5', '"timeout": 2')
        assert run.finish().status == 0

        slow = sum(entry.fault == "slow" for entry in crm.requests())
        assert slow
        assert run.states() == {"completed": 30 - slow, "in_doubt": slow}
        assert run.broken_promises(kills=0) == []


@pytest.mark.parametrize("clock", [3 * DAY, -3 * DAY])
def test_a_key_whose_age_is_unknown_is_not_sent_again(tmp_path: Path, clock: float) -> None:
    with running_crm(tmp_path / "crm.log", dedupe=True) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), "keyed", total=6, concurrency=1)
        run.finish(point="after the reply", passing=3)
        before = len(crm.requests())

        assert run.finish(clock=clock).status == 0

        states = {contact["id"]: contact["state"] for contact in run.contacts()}
        doubtful = [identity for identity, state in states.items() if state == "in_doubt"]
        assert "r-00002" in doubtful
        assert len(doubtful) <= 2  # the next one may have been intended
        assert before == 3
        assert len({entry.key for entry in crm.requests()}) == len(crm.requests())
        assert run.broken_promises(kills=1) == []


def is_held(ledger: Path) -> bool:
    with closing(sqlite3.connect(ledger)) as connection:
        return bool(connection.execute("SELECT 1 FROM whatsapp_flows_slots WHERE held_until > 0").fetchall())


def is_noted(ledger: Path) -> bool:
    with closing(sqlite3.connect(ledger)) as connection:
        return bool(connection.execute("SELECT 1 FROM whatsapp_flows_attempts WHERE status_code = 429").fetchall())


@pytest.mark.parametrize("clock", [3 * DAY, -3 * DAY])
def test_a_hold_survives_a_death_and_a_clock_change(tmp_path: Path, clock: float) -> None:
    with running_crm(tmp_path / "crm.log", shares={"too_many": 1}, retry_after=["4"]) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=1)
        run.change_flow('"max_wait": 1', '"max_wait": 60')
        with run.start() as running:
            await_requests(crm, 1)
            # Each is stored in a commit of its own, in either order.
            await_true(lambda: is_held(tmp_path / "ledger.db") and is_noted(tmp_path / "ledger.db"))
            running.kill()
        crm.configure()

        assert run.finish(clock=clock).status == 0

        first, second = crm.requests()
        assert second.t - first.t > 3.9 * SECOND
        assert run.states() == {"completed": 1}


def test_two_processes_with_different_clocks_send_every_contact_once(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=10) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=200, begin={"chunk_size": 50})
        with run.start() as one, run.start(clock=3 * DAY) as other:
            ended = [one.wait(), other.wait()]

        assert [process.status for process in ended] == [0, 0], ended
        assert run.states() == {"completed": 200}
        assert len(crm.requests()) == 200


def test_too_many_failures_stop_the_batch(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", status=404) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=300)
        ended = run.finish(max_failures=10)

        assert ended.status == PENDING, ended
        assert "max_failures" in ended.told["stopped"]
        assert 11 <= run.states()["failed"] <= 11 + 2 * 8

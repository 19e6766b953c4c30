"""How a run ends when it is stopped, and how it works with other processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import ContactState, Journal, Ledger
from airflow_whatsapp_flows.ledger.rows import Entry, NextRound
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.engine import Engine
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings
from airflow_whatsapp_flows.transport.connection import Connection
from tests.replay.crashing import PENDING
from tests.replay.runs import Run, await_requests, await_true, response, sqlite_url, suspend_between_commits
from tests.servers.crm_log import CrmProcess, running_crm
from tests.servers.hostile import HostileServer, Peer, Script, reply
from tests.servers.postgres import PostgresServer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_nothing_in_doubt(tmp_path: Path, number: signal.Signals) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=50) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=200)
        stopped = run.interrupt(number, after=20, timeout=10)

        assert stopped.status == PENDING, stopped
        assert stopped.told["stopped"] == f"stopped by {number.name}"
        assert stopped.seconds < 5
        assert set(run.states()) == {"completed", "pending"}
        assert sum(stopped.told["ended"].values()) == run.states()["completed"]
        assert run.broken_promises(finished=False, kills=0) == []

        assert run.finish().status == 0
        assert run.states() == {"completed": 200}
        assert run.broken_promises(kills=0) == []


def test_sigterm_ends_it_within_10_seconds_while_requests_hang(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", shares={"slow": 1}, slow_seconds=30) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=40)
        run.change_flow('"timeout": 5', '"timeout": 60')
        stopped = run.interrupt(signal.SIGTERM, after=8, timeout=20)

        assert stopped.status == PENDING, stopped
        assert stopped.seconds < 10
        assert len(crm.requests()) == 8
        crm.configure()
        assert run.finish().status == 0
        assert run.states() == {"completed": 32, "in_doubt": 8}
        assert run.broken_promises(kills=1) == []


def _trickle(peer: Peer) -> None:
    peer.receive()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    peer.trickle(itertools.repeat(b"x"))


def _send_xml(peer: Peer) -> None:
    attributes = " ".join(f'a{number}="1"' for number in range(60_000))
    content = f"<r {attributes}>{'<c/>' * 50_000}</r>".encode()
    while peer.receive() is not None:
        peer.send(reply(content, "500 Internal Server Error", "Content-Type: application/xml"))


@pytest.mark.parametrize("script", [_trickle, _send_xml], ids=["a body byte by byte", "large XML"])
def test_sigterm_ends_it_within_10_seconds_for_any_reply(tmp_path: Path, script: Script) -> None:
    with running_crm(tmp_path / "crm.log") as crm, closing(HostileServer(script)) as hostile:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=100)
        run.change_flow(crm.url, hostile.url("").rstrip("/"))
        run.change_flow('"timeout": 5', '"timeout": 60')
        with run.start() as running:
            await_true(lambda: len(hostile.requests) >= 8)
            running.signal(signal.SIGTERM)
            stopped = running.wait(20)

        assert stopped.status == PENDING, stopped
        assert stopped.seconds < 10


@pytest.mark.long
def test_sigterm_ends_it_within_10_seconds_during_large_replies(tmp_path: Path) -> None:
    content, number = b"<r>" + b"<a/>" * 49_990 + b"</r>", itertools.count()
    together, calm = threading.Event(), threading.Event()

    def send_late(peer: Peer) -> None:
        while peer.receive() is not None:
            if next(number) < 80 or calm.is_set():  # a server that has never replied gets fewer requests at a time
                peer.send(reply(b"{}", "200 OK", "Content-Type: application/json"))
                continue
            together.wait(30)
            peer.send(reply(content, "200 OK", "Content-Type: application/xml"))

    with running_crm(tmp_path / "crm.log") as crm, closing(HostileServer(send_late)) as hostile:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=300, concurrency=64)
        run.change_flow(crm.url, hostile.url("").rstrip("/"))
        run.change_flow('"timeout": 5', '"timeout": 60')
        with run.start() as running:
            await_true(lambda: len(hostile.requests) >= 144)
            running.signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(6)  # the grace is 7 seconds
            together.set()
            stopped = running.wait(60)

        assert stopped.status == PENDING, stopped
        assert stopped.seconds < 10
        calm.set()
        assert run.finish().status == 0
        states = run.states()
        assert states["completed"] + states["in_doubt"] == 300
        assert 0 < states["in_doubt"] <= 64
        assert len(hostile.requests) == 300


def test_sigterm_ends_it_while_retries_wait(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", shares={"too_many": 1}, retry_after=["4"]) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=6)
        run.change_flow('"max_wait": 1', '"max_wait": 60')
        stopped = run.interrupt(signal.SIGTERM, after=1, timeout=10)

        assert stopped.status == PENDING, stopped
        assert stopped.seconds < 3
        assert run.states() == {"pending": 6}
        crm.configure()
        assert run.finish().status == 0
        assert run.states() == {"completed": 6}
        assert run.broken_promises(kills=0) == []


def test_a_stopped_owner_keeps_its_chunk_from_a_second_process(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=200) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=60)
        run.change_flow('"timeout": 5', '"timeout": 60')
        with run.start() as owner:
            await_requests(crm, 10)
            suspend_between_commits(owner.process.pid, tmp_path / "ledger.db")
            with run.start() as second:
                second.await_running()
                before = len(crm.requests())
                assert second.process.poll() is None
                owner.signal(signal.SIGCONT)
                first, other = owner.wait(30), second.wait(30)

        assert (first.status, other.status) == (0, 0), (first, other)
        assert before < 60
        assert other.told["ended"] == {}
        assert run.states() == {"completed": 60}
        assert run.broken_promises(kills=0) == []


@pytest.mark.parametrize("shape", ["post", "keyed", "loop"])
def test_a_replaced_owner_commits_nothing(tmp_path: Path, postgres: PostgresServer, shape: str) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=200, dedupe=True) as crm:
        run = Run(tmp_path, crm, postgres.create_database(), shape, total=60)
        with run.start() as zombie:
            await_requests(crm, 20)
            zombie.signal(signal.SIGSTOP)
            postgres.terminate_sessions()
            successor = run.finish()
            settled, seen = run.attempts(), len(crm.requests())
            zombie.signal(signal.SIGCONT)
            ended = zombie.wait(30)

        assert successor.status == 0, successor
        assert ended.status == 1, ended
        assert "LedgerError" in ended.errors or "OwnershipLostError" in ended.errors
        assert run.attempts() == settled
        assert len(crm.requests()) - seen <= 8  # what it had intended before it was stopped
        assert run.broken_promises(kills=1) == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_processes_on_one_replay_send_every_contact_once(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    ledger = sqlite_url(tmp_path)
    if database == "postgresql":
        ledger = request.getfixturevalue("postgres").create_database()
    with running_crm(tmp_path / "crm.log", latency_ms=10) as crm:
        run = Run(tmp_path, crm, ledger, total=300, begin={"chunk_size": 50})
        with run.start() as one, run.start() as other:
            ended = [one.wait(), other.wait()]

        assert [process.status for process in ended] == [0, 0], ended
        assert sum(process.told["ended"].get("completed", 0) for process in ended) == 300
        assert run.states() == {"completed": 300}
        assert len(crm.requests()) == 300
        assert run.broken_promises(kills=0) == []


def test_the_fence_refuses_an_owner_without_its_lock(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=200) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=60)
        with run.start() as zombie:
            await_requests(crm, 16)
            suspend_between_commits(zombie.process.pid, tmp_path / "ledger.db")
            shutil.rmtree(tmp_path / "ledger.db-locks")  # as a clean-up by hand would
            successor = run.finish()
            settled = run.attempts()
            zombie.signal(signal.SIGCONT)
            ended = zombie.wait(30)

        assert successor.status == 0, successor
        assert ended.status == 1, ended
        assert ended.errors.startswith("OwnershipLostError: another worker has taken over")
        assert run.attempts() == settled
        assert run.broken_promises(kills=1) == []


async def test_a_request_is_written_when_its_intent_is_on_the_disk(
    tmp_path: Path, crm: CrmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, crm, sqlite_url(tmp_path), total=60)
    on_disk, written = set(), []
    sync, exchange = os.fdatasync, Connection.exchange

    def watched_sync(file: int) -> None:
        committed = {attempt["response_id"] for attempt in run.attempts()}
        time.sleep(0.005)  # a disk that takes its time
        sync(file)
        on_disk.update(committed)

    def watched_exchange(self: Connection, head: bytes, content: bytes, *more: Any) -> Any:
        number = int(re.findall(rb"\+5255(\d{8})", content)[0])
        written.append(f"r-{number:05}" in on_disk)
        return exchange(self, head, content, *more)

    monkeypatch.setattr(os, "fdatasync", watched_sync)
    monkeypatch.setattr(Connection, "exchange", watched_exchange)
    flow = load_flow(json.loads(run.flow.read_text(encoding="utf-8")))
    with Ledger(run.ledger) as ledger:
        source = open_source(SourceSpec(str(run.responses)), flow)
        replay = create_or_resume_replay(ledger, ReplayRequest(flow=flow, source=source, replay_id=run.replay_id))
        sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), cast("Any", None))
        await run_replay(ledger, replay, flow, sender, RunSettings(concurrency=8))

    assert written == [True] * 60
    assert run.broken_promises(kills=0) == []


SKIPPED = {"name": "Send", "type": "action", "url": "http://127.0.0.1:9/", "body": {}}


def _hold_write_lock(file: Path, seconds: float) -> None:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        other.execute("ROLLBACK")


async def test_ends_do_not_pile_up_while_a_commit_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backlogs, note = [0], Journal.note

    def watched_note(self: Journal, entry: Entry) -> None:
        note(self, entry)
        backlogs.append(self.backlog)

    monkeypatch.setattr(Journal, "note", watched_note)
    lines = (json.dumps(response(number, created_on="2020-01-01T00:00:00Z")) + "\n" for number in range(3_000))
    (tmp_path / "r.jsonl").write_text("".join(lines), encoding="utf-8")
    flow = load_flow({"flow_format": 1, "id": "late", "replay": {"max_age": 86_400}, "steps": [SKIPPED]})
    with Ledger(sqlite_url(tmp_path)) as ledger:
        source = open_source(SourceSpec(str(tmp_path / "r.jsonl")), flow)
        replay = create_or_resume_replay(ledger, ReplayRequest(flow=flow, source=source))
        sender = RequestSender(Settings(), cast("Any", None))
        running = asyncio.create_task(run_replay(ledger, replay, flow, sender, RunSettings(concurrency=8)))
        await asyncio.to_thread(_hold_write_lock, tmp_path / "ledger.db", 1.0)
        progress = await running

    assert progress.ended[ContactState.SKIPPED] == 3_000
    assert 16 <= max(backlogs) <= 64


async def test_commits_that_fail_after_the_engine_has_ended_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(self: Engine) -> Progress:
        self._journal.note(NextRound(1))
        return Progress()

    def fail(*_: Any) -> None:
        raise LedgerError("the disk is full")

    (tmp_path / "r.jsonl").write_text(json.dumps(response(1)) + "\n", encoding="utf-8")
    flow = load_flow({"flow_format": 1, "id": "full", "steps": [SKIPPED]})
    with Ledger(sqlite_url(tmp_path)) as ledger:
        source = open_source(SourceSpec(str(tmp_path / "r.jsonl")), flow)
        replay = create_or_resume_replay(ledger, ReplayRequest(flow=flow, source=source))
        monkeypatch.setattr(Engine, "run", end)
        monkeypatch.setattr(Journal, "_write", fail)

        with pytest.raises(LedgerError, match="the disk is full"):
            await run_replay(ledger, replay, flow, RequestSender(Settings(), cast("Any", None)), RunSettings())

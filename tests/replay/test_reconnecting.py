"""PostgreSQL becomes unavailable during a replay, and returns in time, late, or never."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.replay.breaker import BatchStoppedError
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.engine import Engine
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings
from tests.replay.crashing import PENDING
from tests.replay.runs import Run, await_requests
from tests.servers.crm_log import running_crm
from tests.servers.postgres import PostgresServer


def test_a_restart_of_the_database_server_puts_no_contact_in_doubt(tmp_path: Path, private: PostgresServer) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, private.create_database(), total=600)
        with run.start() as running:
            await_requests(crm, 100)
            crm.configure(latency_ms=500)  # contacts are left when the database server has stopped
            with private.outage():
                gone = len(crm.requests())
                time.sleep(1.5)  # it is away for a while
                back = len(crm.requests())
            crm.configure()
            ended = running.wait()

        assert ended.status == 0, ended
        assert "during which nothing new is sent" in ended.errors
        assert back - gone <= run.concurrency  # what was intended before
        assert run.states() == {"completed": 600}
        assert run.broken_promises(kills=0) == []


@pytest.mark.parametrize("settings", [{}, {"rates": {"": 200}}], ids=["no rate", "rate"])
def test_repeatedly_ended_sessions_put_no_contact_in_doubt(
    tmp_path: Path, private: PostgresServer, settings: dict[str, dict[str, float]]
) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, private.create_database(), total=400, begin={"chunk_size": 50}, settings=settings)
        with run.start() as running:
            for seen in (40, 90, 140, 190, 240):
                await_requests(crm, seen)
                private.terminate_sessions()
            ended = running.wait()

        assert ended.status == 0, ended
        assert run.states() == {"completed": 400}
        assert len(crm.requests()) == 400
        assert run.broken_promises(kills=0) == []


def test_two_processes_survive_a_restart_without_duplicates(tmp_path: Path, private: PostgresServer) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, private.create_database(), total=400, begin={"chunk_size": 50})
        with run.start() as first, run.start() as second:
            await_requests(crm, 80)
            with private.outage():
                pass
            ended = [first.wait(), second.wait()]

        assert [one.status for one in ended] == [0, 0], ended
        assert run.states() == {"completed": 400}
        assert len(crm.requests()) == 400
        assert run.broken_promises(kills=0) == []


def test_a_server_that_stays_away_too_long_ends_the_run(tmp_path: Path, private: PostgresServer) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, private.create_database(), total=400)
        with run.start(reconnect_timeout=2) as running:
            await_requests(crm, 50)
            crm.configure(latency_ms=500)  # contacts are left when the database server has stopped
            running.mark()
            private.stop("immediate")
            ended = running.wait()

        assert ended.status == 1, ended
        assert "it did not come back within 2 s" in ended.errors
        assert "Traceback" not in ended.errors
        assert 2 <= ended.seconds < 10
        private.start()
        crm.configure()
        assert run.finish().status == 0
        assert set(run.states()) <= {"completed", "in_doubt"}
        assert run.broken_promises(kills=1) == []


async def test_a_stopping_replay_keeps_outcomes_until_the_server_is_back(
    tmp_path: Path, private: PostgresServer
) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=300) as crm:
        run = Run(tmp_path, crm, private.create_database(), total=60)
        flow = load_flow(json.loads(run.flow.read_text(encoding="utf-8")))
        request_sender = RequestSender(
            Settings(allowed_hosts=("127.0.0.1",)), lambda _: pytest.fail("no connection is used")
        )
        with Ledger(run.ledger) as ledger:
            source = open_source(SourceSpec(str(run.responses)), flow)
            replay = create_or_resume_replay(
                ledger, ReplayRequest(flow=flow, source=source, replay_id=run.replay_id, on_changed="reject")
            )
            engines: list[Engine] = []
            settings = RunSettings(concurrency=8, grace=1.0)
            running = asyncio.create_task(run_replay(ledger, replay, flow, request_sender, settings, engines.append))
            await asyncio.to_thread(await_requests, crm, 8)
            await asyncio.to_thread(private.stop, "immediate")
            engines[0]._give_up(BatchStoppedError("the host is down"))
            await asyncio.wait({running}, timeout=4)  # which is more than the grace
            assert not running.done()
            await asyncio.to_thread(private.start)
            progress = await running

        assert progress.stopped == "the host is down"
        assert run.states() == {"completed": len(crm.requests()), "pending": 60 - len(crm.requests())}
        assert run.broken_promises(finished=False, kills=0) == []


@contextmanager
def suspend_server(server: PostgresServer) -> Iterator[None]:
    """Suspend all its processes; the kernel still accepts connections."""
    os.kill(server.pid, signal.SIGSTOP)  # first: it makes no more processes
    sessions = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii").split()
    for session in sessions:
        os.kill(int(session), signal.SIGSTOP)
    try:
        yield
    finally:
        for process in (*map(int, sessions), server.pid):
            os.kill(process, signal.SIGCONT)


@pytest.mark.long
@pytest.mark.parametrize("away", [PostgresServer.outage, suspend_server])
def test_sigterm_ends_it_within_10_seconds_without_a_database(
    tmp_path: Path, private: PostgresServer, away: Callable[[PostgresServer], AbstractContextManager[None]]
) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, private.create_database(), total=400)
        with run.start() as running:
            await_requests(crm, 50)
            crm.configure(latency_ms=500)  # contacts are left when the database is away
            with away(private):
                running.signal(signal.SIGTERM)
                ended = running.wait(20)

        assert ended.status in (1, PENDING), ended
        assert "Traceback" not in ended.errors
        assert ended.seconds < 10
        assert run.finish().status == 0
        assert run.broken_promises(kills=1) == []

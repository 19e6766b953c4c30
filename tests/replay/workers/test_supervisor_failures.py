"""What workers and their command do when the ledger fails, or the system refuses a process."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from airflow_whatsapp_flows.errors import LedgerError, ReplayError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.replay.workers import process, supervisor
from airflow_whatsapp_flows.replay.workers.messages import Assignment, plain_settings
from airflow_whatsapp_flows.replay.workers.supervisor import Supervisor
from airflow_whatsapp_flows.settings import Settings
from tests.replay.runs import PATIENCE, Run, await_true, response, sqlite_url
from tests.replay.workers.commands import command
from tests.servers.crm_log import running_crm

FAKE = """
import os, socket, sys
import msgspec
from airflow_whatsapp_flows.replay.workers.messages import (
    ChunkBusy, ChunkGiven, ChunkWanted, Ended, Report, Stop, ToWorker, frame, read_assignment, _read
)

channel = socket.socket(fileno=os.dup(0))
def receive():
    length = _read(channel, 4)
    if length is None:
        sys.exit()
    return msgspec.msgpack.decode(_read(channel, int.from_bytes(length, "big")), type=ToWorker)

def end(*why):
    channel.sendall(frame(Ended(Report(), *why)))
    sys.exit()

assignment = read_assignment(channel)
"""
"""A worker that sends nothing, and treats chunks as the test says."""

ALL_BUSY = """
while True:
    channel.sendall(frame(ChunkWanted()))
    match receive():
        case ChunkGiven(None) | Stop():
            end()
        case ChunkGiven(chunk):
            channel.sendall(frame(ChunkBusy(chunk)))
"""
TAKES_ALL = """
while True:
    channel.sendall(frame(ChunkWanted()))
    if not isinstance(message := receive(), ChunkGiven) or message.chunk is None:
        end()
"""
DIES_ONCE = """
try:
    os.close(os.open(assignment.flow, os.O_CREAT | os.O_EXCL))
except FileExistsError:
    pass
else:
    os.kill(os.getpid(), 9)
"""


@dataclass
class Setting:
    """A ledger with one replay.

    Attributes:
        marker: a file that doesn't exist.
    """

    ledger: Ledger
    replay: Any
    marker: Path

    def workers(self, code: str, **settings: Any) -> Supervisor:
        """Return workers that run this code."""

        def assign(share: RunSettings) -> Assignment:
            return Assignment("", "r", str(self.marker), {}, Settings(), plain_settings(share))

        chosen = RunSettings(workers=2, reconnect_timeout=20, **settings)
        return Supervisor(self.ledger, self.replay, chosen, assign, ["-c", FAKE + code])


@pytest.fixture
def setting(tmp_path: Path, ledger: Ledger) -> Setting:
    step = {"name": "Create", "type": "action", "url": "http://127.0.0.1:9/"}
    flow = load_flow({"flow_format": 1, "id": "f", "steps": [step], "replay": {"chunk_size": 5}})
    run = [response(number) for number in range(20)]
    source = tmp_path / "responses.jsonl"
    source.write_text("".join(f"{json.dumps(one)}\n" for one in run), encoding="utf-8")
    spec = SourceSpec(str(source))
    request = ReplayRequest(flow=flow, source=open_source(spec, flow), replay_id="r")
    return Setting(ledger, create_or_resume_replay(ledger, request), tmp_path / "marker")


def away() -> LedgerError:
    error = LedgerError("the server is away")
    error.__cause__ = OperationalError("SELECT", {}, Exception(), connection_invalidated=True)
    return error


def fail(
    monkeypatch: pytest.MonkeyPatch, name: str, error: LedgerError, calls: range, then: list[int] | None = None
) -> list[int]:
    """Let calls of a function of the supervisor fail, and later ones return something; return the list of its calls."""
    real: Callable[..., Any] = getattr(supervisor, name)
    made: list[int] = []

    def call(*arguments: Any) -> Any:
        made.append(len(made))
        if made[-1] in calls:
            raise error
        return then if then is not None and made[-1] > calls[-1] else real(*arguments)

    monkeypatch.setattr(supervisor, name, call)
    return made


async def run(workers: Supervisor) -> None:
    await asyncio.wait_for(workers.run(), PATIENCE)


async def test_a_ledger_that_fails_while_all_workers_wait_ends_the_run(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, "find_sendable_chunks", LedgerError("the disk is gone"), range(1, 100))
    workers = setting.workers(ALL_BUSY)

    with pytest.raises(LedgerError, match="the disk is gone"):
        await run(workers)

    assert workers.progress.stopped == "the disk is gone"


async def test_workers_wait_for_a_server_that_is_away_while_chunks_are_busy(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fail(monkeypatch, "find_sendable_chunks", away(), range(1, 3), then=[])

    await run(setting.workers(ALL_BUSY))

    assert len(calls) > 3


async def test_a_death_while_the_server_is_away_does_not_end_the_run(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fail(monkeypatch, "tally", away(), range(0, 3, 2))  # first at the start, then at the death
    started = setting.workers(DIES_ONCE + TAKES_ALL)

    await run(started)

    assert (started.progress.stopped, len(calls) >= 4, setting.marker.exists()) == (None, True, True)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")])
async def test_a_run_without_any_worker_says_why(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(process, "_spawn", refuse)

    with pytest.raises(ReplayError, match=r"could not be started: .*(files|thread); the rest stays pending"):
        await run(setting.workers(TAKES_ALL))


async def test_a_run_continues_with_the_workers_that_start(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = process._spawn, [OSError(11, "Resource temporarily unavailable")]

    def refuse_once(*arguments: Any) -> Any:
        if refused:
            raise refused.pop()
        return real(*arguments)

    monkeypatch.setattr(process, "_spawn", refuse_once)
    workers = setting.workers(TAKES_ALL)

    await run(workers)

    assert workers.progress.stopped is None


async def test_an_unknown_error_of_a_worker_is_reported(setting: Setting) -> None:
    with pytest.raises(ReplayError, match="a worker failed: SurpriseError: oh"):
        await run(setting.workers('end("oh", "SurpriseError")'))


def test_a_command_that_may_not_open_enough_files_prints_its_summary(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log") as crm:
        short = Run(tmp_path, crm, sqlite_url(tmp_path), flow_keys={"replay": {"chunk_size": 5}})
        with command(short, files=14) as running:
            status, summary, errors = running.wait(), running.summary(), running.errors()

    assert (status, summary["pending"], "Traceback" in errors) == (4, 20, False)
    assert summary["stopped"].startswith("a worker process could not be started: [Errno 24] Too many open files")


def catches_sigint(pid: int) -> bool:
    """Whether a process has Python's own handler of SIGINT, as from its start until it ignores the signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) & 1 << (signal.SIGINT - 1))


def test_ctrl_c_while_workers_start_prints_no_traceback(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=50) as crm:
        early = Run(tmp_path, crm, sqlite_url(tmp_path), total=200, flow_keys={"replay": {"chunk_size": 5}})
        with command(early) as running:
            workers = running.await_workers(2)
            await_true(lambda: any(map(catches_sigint, workers)))
            running.signal_all(signal.SIGINT)
            status, errors = running.wait(), running.errors()

    assert (status, "Traceback" in errors) == (4, False)

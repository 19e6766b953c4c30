"""A worker process of ``whatsapp-flows replay run``; started by that command, not by people."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import traceback
from dataclasses import replace

import msgspec

from airflow_whatsapp_flows.cli.replay.settings import GivenConnections, Prepared
from airflow_whatsapp_flows.cli.terminal import harmless_output
from airflow_whatsapp_flows.errors import FlowsError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.status import get_replay
from airflow_whatsapp_flows.replay.workers.link import WorkerLink
from airflow_whatsapp_flows.replay.workers.messages import (
    Assignment,
    Channel,
    ToWorker,
    plain_settings,
    read_assignment,
)
from airflow_whatsapp_flows.replay.workers.supervisor import Supervisor
from airflow_whatsapp_flows.sender import RequestSender

_START = "import sys; sys.path[:] = {path!r}; from airflow_whatsapp_flows.cli.replay.worker import main; main()"


_FEW_CONTACTS = 2_000
"""With fewer contacts than this, starting other processes takes longer than they save."""
_LEAST_CONCURRENCY = 8
"""A worker with less would commit a few rows at a time."""


def count_workers(prepared: Prepared, pending: int, chunks: int) -> int:
    """Return the number of processes that send.

    Args:
        prepared: how to send.
        pending: number of pending contacts.
        chunks: number of chunks that have any; a chunk has one owner.
    """
    count, concurrency = prepared.workers, prepared.run.concurrency
    if isinstance(count, str):
        count = 1 if pending < _FEW_CONTACTS else min(_count_processors(), concurrency // _LEAST_CONCURRENCY)
    return max(1, min(count, chunks, concurrency))


def _count_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_of(ledger: Ledger, replay: Replay, flow: Flow, prepared: Prepared, settings: RunSettings) -> Supervisor:
    """Return the workers of a command.

    Args:
        replay: a sealed replay.
        prepared: how to send.
        settings: settings of the whole run.
    """
    sending = prepared.request_sender.settings
    if settings.reconnect_timeout is None:
        settings = replace(settings, reconnect_timeout=sending.ledger_reconnect_timeout)

    def assign(share: RunSettings) -> Assignment:
        text = json.dumps(flow.source, ensure_ascii=False)
        return Assignment(ledger.url, replay.id, text, dict(prepared.connections), sending, plain_settings(share))

    # With -m or a file, a folder that the user did not choose would come first in the path.
    return Supervisor(ledger, replay, settings, assign, ["-c", _START.format(path=sys.path)])


def main() -> None:
    """Do what the command that started this process says on its standard input, which is one end of a socket pair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the command, too, which stops its workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel = socket.socket(fileno=os.dup(0))
    assignment = read_assignment(channel)
    if assignment is not None:
        with harmless_output():
            asyncio.run(_work(channel, assignment))


async def _work(end: socket.socket, assignment: Assignment) -> None:
    channel = await Channel.open(end, msgspec.msgpack.Decoder(ToWorker))
    link = WorkerLink(channel)
    following = asyncio.create_task(link.run())
    error: Exception | None = None
    try:
        await _run(link, assignment)
    except FlowsError as problem:
        error = problem
    except Exception as problem:
        traceback.print_exc()
        error = problem
    following.cancel()
    (found,) = await asyncio.gather(following, return_exceptions=True)
    if isinstance(found, Exception):
        error = error or found
    link.end(error)
    await channel.close()


async def _run(link: WorkerLink, assignment: Assignment) -> None:
    flow = load_flow(assignment.flow, f"the flow of the replay {assignment.replay_id}")
    request_sender = RequestSender(assignment.settings, GivenConnections(assignment.connections).find)
    with Ledger(assignment.ledger_url) as ledger:
        replay = get_replay(ledger, assignment.replay_id)
        settings = RunSettings(**assignment.run)
        await run_replay(ledger, replay, flow, request_sender, settings, lambda engine: link.attach(engine, ledger))

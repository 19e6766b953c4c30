"""A worker process of ``whatsapp-flows replay run``; started by that command, not by people."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import traceback

import msgspec

from airflow_whatsapp_flows.cli.replay.settings import GivenConnections
from airflow_whatsapp_flows.cli.terminal import harmless_output
from airflow_whatsapp_flows.errors import FlowsError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.status import get_replay
from airflow_whatsapp_flows.replay.workers.link import WorkerLink
from airflow_whatsapp_flows.replay.workers.messages import Assignment, Channel, ToWorker, read_assignment
from airflow_whatsapp_flows.sender import RequestSender


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

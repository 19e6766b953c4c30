"""What a command and its workers tell each other arrives complete, and ends with either process."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from pathlib import Path

import msgspec
import pytest

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.refusals import Refusal
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.workers.messages import (
    Assignment,
    Channel,
    ChunkGiven,
    ChunkWanted,
    CredentialsAccepted,
    Ended,
    FromWorker,
    Refused,
    Report,
    Stop,
    ToWorker,
    frame,
    merge,
    plain_settings,
    read_assignment,
)
from airflow_whatsapp_flows.settings import Settings

NIGHT = dt.datetime(2026, 11, 30, 6, tzinfo=dt.timezone.utc)
REPORT = Report(
    ended={ContactState.FAILED: 2, ContactState.IN_DOUBT: 1, ContactState.COMPLETED: 5},
    postponed={"quiet_hours": 3},
    until=[(NIGHT, 3)],
    cut_off={Delivery.KEYED: 1},
    in_flight=4,
)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_an_assignment_arrives_as_it_was_sent(tmp_path: Path, size: int) -> None:
    run = RunSettings(concurrency=3, rates={"": 5.0}, max_handled_errors="20%", chunks=[1, 2], workers=2)
    sent = Assignment(
        "sqlite:///l.db", "r", "x" * size, {"crm": "https://u:p@crm"}, Settings(("10.0.0.1",)), plain_settings(run)
    )
    ours, theirs = socket.socketpair()
    (tmp_path / "sent").write_bytes(frame(sent))
    with ours, theirs, (tmp_path / "sent").open("rb") as content:
        sending = threading.Thread(target=lambda: ours.sendfile(content))
        sending.start()
        found = read_assignment(theirs)
        sending.join()

    assert found is not None
    assert (found.flow, found.connections, found.settings) == (sent.flow, sent.connections, sent.settings)
    assert RunSettings(**found.run) == run


def test_there_is_no_assignment_if_the_command_has_ended() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\x00\x00\x01\x00half")
        ours.close()

        assert read_assignment(theirs) is None


async def test_messages_arrive_in_order_until_the_other_end_closes() -> None:
    ours, theirs = socket.socketpair()
    command = await Channel.open(ours, msgspec.msgpack.Decoder(FromWorker))
    worker = await Channel.open(theirs, msgspec.msgpack.Decoder(ToWorker))
    worker.send(ChunkWanted())
    worker.send(REPORT)
    worker.send(Refused(Refusal("crm:443", None, "Create", 422, "422 No")))
    worker.send(CredentialsAccepted(("crm:443", "crm")))
    worker.send(Ended(REPORT, "the disk is full", "LedgerError"))
    command.send(ChunkGiven(7))
    command.send(Stop("stopped by SIGTERM", hurried=True, refused=("crm:443", None)))

    assert [await command.receive() for _ in range(5)] == [
        ChunkWanted(), REPORT, Refused(Refusal("crm:443", None, "Create", 422, "422 No")),
        CredentialsAccepted(("crm:443", "crm")), Ended(REPORT, "the disk is full", "LedgerError")
    ]  # fmt: skip
    assert await worker.receive() == ChunkGiven(7)
    assert await worker.receive() == Stop("stopped by SIGTERM", hurried=True, refused=("crm:443", None))
    await worker.close()
    assert await command.receive() is None
    command.send(ChunkGiven(8))  # nobody receives it
    await command.close()


def test_reports_add_up() -> None:
    progress = merge([REPORT, REPORT.without_pending(), Report()])

    assert REPORT.failures == 3
    assert (progress.ended_count, progress.ended[ContactState.FAILED]) == (16, 4)
    assert (progress.postponed, progress.until) == ({"quiet_hours": 3}, {NIGHT: 3})
    assert progress.cut_off == {Delivery.KEYED: 2}

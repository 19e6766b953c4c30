"""The batch continues after any reply, in both databases."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.reply.result import ActionResult, classify
from airflow_whatsapp_flows.flow.request.messages import Reply
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings
from tests.replay.ledger_history import read_states
from tests.replay.runs import response, sqlite_url

JSON = b"Content-Type: application/json\r\n"


def _reply(body: bytes, status: bytes = b"201 Created", header: bytes = JSON) -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, header, len(body), body)


REPLIES = {
    "a surrogate": _reply(rb'{"id": "\ud800", "\udfff": 1}'),
    "a NUL": _reply(rb'{"id": "a\u0000b"}'),
    "a big number": _reply(b'{"id": ' + b"9" * 400 + b"}"),
    "too many digits": _reply(b'{"id": ' + b"9" * 5000 + b"}"),
    "an endless number": _reply(b'{"id": 1e999}'),
    "no number": _reply(b'{"id": NaN}'),
    "deep": _reply(b'{"id": ' + b"[" * 60 + b"]" * 60 + b"}"),
    "too deep": _reply(b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "no UTF-8": _reply(b'{"id": "\xff\xfe"}'),
    "text that is no UTF-8": _reply(b"\xff\x00\xfe", header=b"Content-Type: text/plain\r\n"),
    "a reason that is no UTF-8": _reply(b"{}", b"404 Caf\xe9 \xff"),
    "a header that is no UTF-8": _reply(b"{}", b"404 No", JSON + b"X-Odd: Caf\xe9 \xff\r\n"),
    "a header of a success": _reply(b"{}", header=JSON + b"X-Odd: Caf\xe9 \xff\r\nRetry-After: \xff\r\n"),
    "no HTTP": b"\x00\xff\xfe not HTTP\r\n\r\n",
    "an odd type": _reply(b"{}", header=b"Content-Type: application/\xff; charset=\xfe\r\n"),
}


@asynccontextmanager
async def _server(reply: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _no_connection(conn_id: str) -> ActionConnection:
    raise AssertionError(conn_id)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("kind", REPLIES)
async def test_any_reply_ends_only_its_contact(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, database: str
) -> None:
    url = sqlite_url(tmp_path)
    if database == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(response(number)) + "\n" for number in range(3)))
    async with _server(REPLIES[kind]) as port:
        steps = [
            {"name": "Create", "type": "action", "url": f"http://127.0.0.1:{port}/", "body": {"a": 1},
             "on_success": "Say", "on_error": "Stop"},
            {"name": "Say", "type": "message", "body": "{{ step.Create.response.id }} {{ step.Create.headers }}"},
            {"name": "Stop", "type": "end", "state": "failed", "reason": "{{ step.Create.error.message }}"},
        ]  # fmt: skip
        flow = load_flow({"flow_format": 1, "id": "crm_flow", "missing": "null", "steps": steps})
        request_sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), _no_connection)
        with Ledger(url) as ledger:
            source = open_source(SourceSpec(str(tmp_path / "r.jsonl")), flow)
            replay = create_or_resume_replay(ledger, ReplayRequest(flow=flow, source=source, replay_id="one"))
            progress = await run_replay(ledger, replay, flow, request_sender, RunSettings(concurrency=2))

    states = read_states(url, "one")
    assert sum(progress.ended.values()) == 3
    assert len(states) == 1
    assert set(states) <= {"completed", "failed", "in_doubt"}
    assert Counter(states) == {next(iter(states)): 3}


async def test_reading_a_large_reply_does_not_block_other_contacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, went_on = asyncio.get_running_loop(), []

    def judge(reply: Reply, *more: Any) -> ActionResult:
        moved = threading.Event()
        loop.call_soon_threadsafe(moved.set)
        went_on.append(moved.wait(10))
        return classify(reply, *more)

    monkeypatch.setattr("airflow_whatsapp_flows.flow.walk.deliver.classify", judge)
    (tmp_path / "r.jsonl").write_text(json.dumps(response(1)) + "\n")
    async with _server(_reply(b'"' + b"x" * 100_000 + b'"')) as port:
        step = {"name": "Create", "type": "action", "url": f"http://127.0.0.1:{port}/", "body": {"a": 1}}
        flow = load_flow({"flow_format": 1, "id": "crm_flow", "steps": [step]})
        request_sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), _no_connection)
        with Ledger(sqlite_url(tmp_path)) as ledger:
            source = open_source(SourceSpec(str(tmp_path / "r.jsonl")), flow)
            replay = create_or_resume_replay(ledger, ReplayRequest(flow=flow, source=source, replay_id="one"))
            await run_replay(ledger, replay, flow, request_sender, RunSettings(concurrency=2))

    assert went_on == [True]
    assert read_states(sqlite_url(tmp_path), "one") == {"completed": 1}

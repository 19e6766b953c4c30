"""A connection first, then the committed intent, then the request."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.flow.walk.deliver import Intend
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.records import ResponseRecord
from airflow_whatsapp_flows.ledger.rows import OnceClaim, Subject
from airflow_whatsapp_flows.replay.contact_run import ContactRun
from airflow_whatsapp_flows.replay.request_attempt import RequestAttempt
from airflow_whatsapp_flows.replay.send import ContactSender
from tests.replay.runs import PATIENCE, Run, sqlite_url
from tests.servers.hostile import HostileServer, Peer
from tests.servers.recording import Answer, Received, RecordingServer

NOON = 1_800_014_400.0
SEND = {"name": "Send", "type": "action", "url": "http://crm.example/", "body": {"a": 1}}


def test_nothing_is_sent_before_its_intent_is_durable(tmp_path: Path) -> None:
    early: list[str] = []

    def answer(request: Received) -> Answer:
        phone = json.loads(request.content)["phone"]
        intended = {attempt["response_id"] for attempt in run.attempts()}
        if f"r-{int(phone[-8:]):05}" not in intended:
            early.append(phone)
        return Answer.json({}, 201)

    server = RecordingServer(answer)
    try:
        run = Run(tmp_path, cast("Any", server), sqlite_url(tmp_path), total=150, concurrency=64)
        ended = run.finish()
    finally:
        server.close()

    assert ended.status == 0, ended
    assert len(server.received) == 150
    assert early == []


def test_no_intent_is_committed_while_its_connection_is_being_opened(tmp_path: Path) -> None:
    """A process that is killed meanwhile leaves nobody in doubt."""
    came = threading.Semaphore(0)

    def never_shake_hands(peer: Peer) -> None:
        came.release()
        peer.wait_for_client_to_close()

    server = HostileServer(never_shake_hands)
    try:
        run = Run(
            tmp_path,
            cast("Any", SimpleNamespace(url=f"https://127.0.0.1:{server.port}")),
            sqlite_url(tmp_path),
            total=40,
            concurrency=8,
        )
        with run.start() as running:
            end = time.monotonic() + PATIENCE
            for _ in range(8):
                assert came.acquire(timeout=max(0.1, end - time.monotonic()))
            intended = run.attempts()
            assert running.kill()
    finally:
        server.close()

    assert intended == []


async def test_a_request_under_only_once_claims_what_its_step_was_known_by() -> None:
    flow = load_flow({"flow_format": 1, "id": "scans", "steps": [SEND]})
    added: list[Any] = []

    async def add(entry: Any, _: Any) -> None:
        added.append(entry)

    limiter = SimpleNamespace(is_open=True)
    parts = cast("Any", SimpleNamespace(add=add, of=lambda _: limiter))
    sender = ContactSender(parts, parts, parts, parts, frozenset(), steps=StepIdentities.of(flow, {"Old": "Send"}))
    run = ContactRun(Subject("scans", "r-1"), 1, 1, NOON, ResponseRecord(), NOON, once=("phone:+1",))
    effect = SimpleNamespace(step=flow.steps["Send"], visit=1, idempotency_key="k", step_id=None)
    route = SimpleNamespace(host="crm.example:80")

    intend = Intend(cast("Any", effect), HttpRequest("POST", "http://crm.example/"), "digest", 1)
    delivering = cast("Any", SimpleNamespace(send=lambda _: None))
    await RequestAttempt(sender, run, cast("Any", route), delivering, intend, is_probe=False)._commit()

    assert added[0].once == OnceClaim("Send", ("phone:+1",), ("Old",))


async def test_a_slot_that_passed_while_no_file_was_free_is_not_used() -> None:
    settled: list[float] = []

    async def settle(begun: float) -> None:
        settled.append(time.monotonic() - begun)

    async def send(*_: Any) -> Reply:
        return replies.pop(0)

    async def wait(*_: Any) -> float:
        await asyncio.sleep(0.2)
        return 0.0

    short = TransportFailure(ErrorKind.CONNECT, "no file is free", Sent.NO, is_local=True)
    replies: list[Reply] = [short, short, HttpResponse(200)]
    limiter = SimpleNamespace(is_open=False, settle=settle)
    sender = SimpleNamespace(
        limits=SimpleNamespace(of=lambda _: limiter),
        clock=time.time,
        stopped=False,
        shortage=SimpleNamespace(wait=wait),
    )
    intend = SimpleNamespace(request=HttpRequest("POST", "http://crm.example/"))
    run, route = SimpleNamespace(), SimpleNamespace(host="crm.example:80", send=send)
    parts = cast("tuple[Any, Any, Any, Any, Any]", (sender, run, route, None, intend))

    await RequestAttempt(*parts, is_probe=False)._exchange()

    assert [0.15 < seconds < 1 for seconds in settled] == [True, True]

"""How a replay carries out the effects of a contact's walk."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from airflow_whatsapp_flows.flow.body import FileContent, FileSource
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, Sent, TransportFailure
from airflow_whatsapp_flows.ledger.records import PendingContact, ResponseRecord
from airflow_whatsapp_flows.replay.contact import ContactWalker
from airflow_whatsapp_flows.replay.guards import GuardRules, Guards
from airflow_whatsapp_flows.replay.send import ContactSender

NOON = 1_800_014_400.0
SEND = {
    "name": "Send", "type": "action", "url": "http://crm.example/", "body_type": "multipart", "max_visits": 3,
    "body": [{"name": "scan", "file": "scan.pdf"}], "on_error": "Pause", "on_max_visits": "Give up",
}  # fmt: skip
PAUSE = {"name": "Pause", "type": "delay", "amount": 1, "unit": "HOUR", "next": "Send"}
GIVE_UP = {"name": "Give up", "type": "end"}


async def test_a_file_that_a_loop_waits_for_is_fetched_after_each_delay() -> None:
    clock = SimpleNamespace(now=NOON)
    fetched: list[float] = []

    def fetch(*_: Any) -> TransportFailure:
        fetched.append(clock.now - NOON)
        return TransportFailure(ErrorKind.FILE, "the file does not exist in files_folder", Sent.NO)

    async def rest(seconds: float) -> None:
        clock.now += seconds

    flow = load_flow({"flow_format": 1, "id": "scans", "steps": [SEND, PAUSE, GIVE_UP]})
    parts = cast("Any", SimpleNamespace(fetch=fetch))
    sender = ContactSender(parts, parts, parts, parts, frozenset(), clock=lambda: clock.now, rest=rest)
    walker = ContactWalker(flow, 1, sender, Guards(GuardRules()), clock=lambda: clock.now)

    await walker.walk(PendingContact(7, "r.jsonl:1", "r-1", None, '{"id": "r-1"}', 1, ResponseRecord()))

    assert fetched == [0, 3_600, 7_200]


@pytest.mark.parametrize("source", ["https://crm.example/scan", "scan.pdf"], ids=["address", "file"])
async def test_a_file_is_fetched_when_a_descriptor_is_free_again(source: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the file's server nor the contact is at fault."""
    replies: list[Any] = [TransportFailure(ErrorKind.CONNECT, "too many open files", Sent.NO, is_local=True)] * 2
    replies.append(FileContent(b"scan", None, None))

    def fetch(*_: Any) -> Any:
        return replies.pop(0)

    async def download(*_: Any) -> Any:
        return replies.pop(0)

    parts = cast("Any", SimpleNamespace(fetch=fetch, download=download))
    sender = ContactSender(parts, parts, parts, parts, frozenset())
    effect = SimpleNamespace(source=FileSource("body.file", source, None), step=SimpleNamespace(timeout=1))

    assert await sender._fetch(cast("Any", effect)) == FileContent(b"scan", None, None)
    assert caplog.text.count("requests wait until one is free") == 1

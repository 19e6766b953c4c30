"""What is unknown stays unknown, until a complete 2xx settles it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.loading import load_flow
from airflow_whatsapp_flows.flow.response import read_response
from airflow_whatsapp_flows.flow.walk import State, drive, walk
from airflow_whatsapp_flows.gateway import environment_gateway
from airflow_whatsapp_flows.operators.attempts import Attempts
from tests.operators.one_action import run_action
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


class Notes(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Notes that outlive a run, as those of a task do that is cleared."""
    kept, original = Notes(), Attempts.__init__

    def init(self: Attempts, *arguments: Any) -> None:
        original(self, *arguments)
        self._store = kept

    monkeypatch.setattr(Attempts, "__init__", init)
    return kept


def test_other_bytes_are_refused_also_when_a_try_between_was_answered(server: RecordingServer) -> None:
    server.queued += [Answer(drop=True), Answer(429, headers={"Retry-After": "0"})]
    done = run_action(
        delivery="keyed",
        retry={"attempts": 3, "wait": 0.01},
        body={"a": "{{ 1 if ti.try_number < 3 else 2 }}"},
    )
    assert [request.content for request in server.received] == [b'{"a":1}', b'{"a":1}']
    assert done.result["error"]["sent"] == "unknown"


@pytest.mark.parametrize("delivery", ["keyed", "idempotent"])
def test_a_walk_is_in_doubt_when_an_earlier_attempt_is(server: RecordingServer, delivery: str) -> None:
    server.queued += [Answer(drop=True), Answer(401)]
    action = {"name": "A", "type": "action", "connection": "crm", "url": "/a", "body": {"x": 1}, "delivery": delivery}
    flow = load_flow({"flow_format": 1, "id": "f", "steps": [{**action, "retry": {"attempts": 2, "wait": 0.01}}]})
    now = dt.datetime.now(dt.timezone.utc)
    record = drive(walk(flow, read_response({"id": "1"}), now=now), environment_gateway().do)
    assert len(server.received) == 2
    assert record.state is State.IN_DOUBT


def test_a_recorded_success_needs_no_file(
    server: RecordingServer, notes: Notes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__FILES_FOLDER", str(tmp_path))
    (tmp_path / "a.txt").write_text("hi", encoding="utf-8")
    arguments = {"body": [{"name": "doc", "file": "a.txt"}], "body_type": "multipart"}
    assert run_action(**arguments).result["outcome"] == "success"
    (tmp_path / "a.txt").unlink()
    assert run_action(**arguments).result["outcome"] == "success"
    assert len(server.received) == 1


def test_a_try_that_may_have_been_sent_is_not_called_unsent_for_want_of_its_file(
    server: RecordingServer, notes: Notes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__FILES_FOLDER", str(tmp_path))
    notes["whatsapp_flows_attempt"] = {"fate": "unknown", "attempts": 1, "digest": "x"}
    done = run_action(body=[{"name": "doc", "file": "gone.txt"}], body_type="multipart")
    assert (done.result["error"]["kind"], done.result["error"]["sent"]) == ("interrupted", "unknown")
    assert server.received == []


def test_a_filter_that_raises_does_not_let_a_cleared_task_send_again(server: RecordingServer, notes: Notes) -> None:
    def raises(response: object) -> None:
        raise KeyError("id")

    for _ in range(2):
        run_action(response_filter=raises)
    assert len(server.received) == 1

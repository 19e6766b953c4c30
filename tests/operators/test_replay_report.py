"""The report of a replay's DAG shows errors with the server's replies."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows import build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow, write_responses
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def flow_source(source: Path, **keys: Any) -> dict[str, Any]:
    create = action("Create", body="{{ contact }}")
    return flow(create, replay={"chunk_size": 5, "source": str(source), **keys})


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 12)


def replay(source: dict[str, Any]) -> FinishedRun:
    return run_dag(build_replay_dag(load_flow(source)), {})


def test_the_report_shows_errors_with_server_replies(
    server: RecordingServer, responses: Path, task_log: TaskLog
) -> None:
    said = Answer.json({"error": "no such list", "by": "ana@example.com"}, 422)
    server._script = lambda request: said if b'"+525550000007"' in request.content else Answer.json({"id": 1})
    run = replay(flow_source(responses))

    assert run.states["report"] == "failed"
    (error,) = run.result("report")["errors"]
    assert (error["count"], error["handled"], error["in_doubt"], error["sample"]) == (1, 0, 0, "r-7")
    assert error["reply"] == '{"error":"no such list","by":"a…@example.com"}'
    assert "422" in error["label"]
    assert any(f"  reply: {error['reply']}" in line for line in task_log.warnings)


def test_large_replies_do_not_enlarge_the_report(server: RecordingServer, responses: Path) -> None:
    server._script = lambda request: Answer(400 + int(json.loads(request.content)["phone"][-2:]), b"no " * 100_000)
    run = replay(flow_source(responses))

    value = run.result("report")
    assert len(value["errors"]) == 10
    assert len(json.dumps(value)) < 16_000


def test_a_report_of_an_outage_handled_by_error_exits_is_red(server: RecordingServer, responses: Path) -> None:
    server._script = lambda _: Answer(422)
    flow = flow_source(responses)
    flow["steps"] = [{**flow["steps"][0], "on_error": "Sorry"}, {"name": "Sorry", "type": "message", "body": "Sorry"}]
    run = replay(flow)

    chunks = Counter(state for task, state in run.states.items() if task.startswith("replay["))
    assert chunks["failed"] == 1, "the last one to end counts the handled errors of all"
    assert (chunks.total() > 1, run.states["report"], run.state) == (True, "failed", "failed")
    assert run.result("report")["handled"] == 12
    assert run.result("report")["errors"][0]["handled"] == 12

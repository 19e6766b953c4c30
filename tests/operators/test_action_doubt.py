"""An unknown outcome stays unknown until a complete 2xx settles it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_whatsapp_flows import WhatsAppActionOperator
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import State, drive, walk
from airflow_whatsapp_flows.sender import sender_from_environment
from tests.airflow_runs import run_dag
from tests.operators.clearing import run_again, run_killed
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def test_refuses_changed_bytes_after_an_answered_try(server: RecordingServer) -> None:
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
    record = drive(walk(flow, read_response({"id": "1"}), now=now), sender_from_environment().do)
    assert len(server.received) == 2
    assert record.state is State.IN_DOUBT


def _file_action(**others: Any) -> DAG:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(
            task_id="act", url="/x", http_conn_id="crm", on_error="fail",
            body=[{"name": "doc", "file": "a.txt"}], body_type="multipart", **others,
        )  # fmt: skip
    return dag


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__FILES_FOLDER", str(tmp_path))
    file = tmp_path / "a.txt"
    file.write_text("hi", encoding="utf-8")
    return file


def test_a_recorded_success_needs_no_file(server: RecordingServer, file: Path) -> None:
    dag = _file_action()
    run = run_dag(dag)
    file.unlink()
    assert run_again(dag, run.run_id)["outcome"] == "success"
    assert len(server.received) == 1


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "dropped"])
def test_a_missing_file_does_not_hide_an_earlier_doubt(
    server: RecordingServer, file: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    dag = _file_action()
    if killed:
        run_id = run_killed(dag, monkeypatch)
    else:
        server.queued = [Answer(drop=True)]
        run_id = run_dag(dag).run_id
    file.unlink()
    error = run_again(dag, run_id)["error"]
    assert (error["kind"], error["sent"]) == ("interrupted", "unknown")
    assert len(server.received) == 1


def test_a_failed_filter_does_not_allow_a_resend_after_clearing(server: RecordingServer) -> None:
    def raises(response: object) -> None:
        raise KeyError("id")

    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail", response_filter=raises)
    run = run_dag(dag)
    assert run_again(dag, run.run_id)["error"]["kind"] == "response_check"
    assert len(server.received) == 1


@pytest.mark.parametrize("error", [AirflowSkipException, AirflowFailException])
def test_a_failed_check_does_not_allow_a_resend_after_clearing(server: RecordingServer, error: type[Exception]) -> None:
    def ends(response: object) -> None:
        raise error("enough")

    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail", response_check=ends)
    run = run_dag(dag)
    assert "enough" in run_again(dag, run.run_id)["error"]["message"]
    assert len(server.received) == 1

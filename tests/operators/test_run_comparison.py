"""With ``send_when: changed``, a DAG run that would send the same as the last time sends nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_dag
from airflow_whatsapp_flows.cli import main
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_again
from tests.operators.flows import action, flow, message
from tests.operators.one_action import new_dag_id
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

CHANGED = {"on_changed": "update", "send_when": "changed"}
SAVE = action("Save", body={"name": "{{ contact.first_name }}"}, on_success="Note")
NOTE = action("Note", body={"lead": "{{ step.Save.response.id }}"}, on_success="Bye")


def a_flow(**more: Any) -> dict[str, Any]:
    return flow(SAVE, NOTE, message("Bye"), replay={**CHANGED, **more})


def person(name: str, version: int, id_: str = "S1") -> dict[str, Any]:
    return {"id": id_, "contact": {"phone": "+525550000001", "first_name": name, "version": version}}


def replay(source: dict[str, Any], folder: Path, *rows: dict[str, Any], **arguments: Any) -> FinishedRun:
    file = folder / f"{new_dag_id()}.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(task_id="replay", flow=source, source=str(file), **{"fail_when": "never", **arguments})
    return run_dag(dag)


def names(server: RecordingServer) -> list[str]:
    bodies = [json.loads(request.content) for request in server.received]
    return [str(body.get("name", body.get("lead"))) for body in bodies]


def reasons(ledger: Path) -> list[str]:
    with closing(sqlite3.connect(ledger)) as connection:
        return [row[0] for row in connection.execute("SELECT reason FROM whatsapp_flows_contacts ORDER BY id")]


def test_a_run_returns_the_recorded_results_and_says_so(
    server: RecordingServer, task_log: pytest.LogCaptureFixture
) -> None:
    dag = build_dag(a_flow())
    first = run_dag(dag, person("Ana", 1))

    second = run_dag(dag, person("Ana", 2))

    assert (first.state, second.state) == ("success", "success")
    assert names(server) == ["Ana", "1"]
    assert second.result("save") == first.result("save")
    assert second.result("note") == first.result("note")
    assert f"nothing is sent: unchanged: the DAG run {first.run_id} sent the same at 20" in task_log.text
    third = run_dag(dag, person("Eva", 3))
    assert third.state == "success"
    assert names(server) == ["Ana", "1", "Eva", "3"]


def test_a_replay_and_a_run_are_compared_with_each_other(
    server: RecordingServer, tmp_path: Path, ledger_file: Path
) -> None:
    source = a_flow()
    dag = build_dag(source)
    run = run_dag(dag, person("Ana", 1))
    status = replay(source, tmp_path, person("Ana", 2)).result("replay")
    assert (status["skipped"], status["requests"]) == (1, 0)
    assert reasons(ledger_file)[-1].startswith(f"unchanged: the DAG run {run.run_id} sent the same")

    replay(source, tmp_path, person("Eva", 3))
    assert run_dag(dag, person("Eva", 4)).state == "success"
    assert names(server) == ["Ana", "1", "Eva", "3"]


def test_a_run_is_not_compared_with_the_replies_to_another_response(server: RecordingServer) -> None:
    dag = build_dag(a_flow())
    run_dag(dag, person("Ana", 1))
    assert run_dag(dag, person("Ana", 1, "S2")).state == "success"
    assert names(server) == ["Ana", "1", "Ana", "3"]

    unread = build_dag(flow(action("Save", body={"name": "{{ contact.first_name }}"}), replay=CHANGED))
    first = run_dag(unread, person("Ana", 1))
    second = run_dag(unread, person("Ana", 1, "S2"))
    assert len(server.received) == 5
    assert (first.result("save")["response"], second.result("save")["response"]) == ({"id": 5}, None)
    assert second.result("save")["status_code"] == 200


def test_a_cleared_older_run_does_not_bring_its_content_back(server: RecordingServer) -> None:
    dag = build_dag(a_flow())
    run_dag(dag, person("Ana", 1))
    server.queued.append(Answer(422))
    refused = run_dag(dag, person("Eva", 2))
    assert (refused.state, run_dag(dag, person("Ana", 3)).state) == ("failed", "success")

    run_again(dag, refused.run_id, "save")
    assert names(server) == ["Ana", "1", "Eva"]


@pytest.mark.parametrize("newest", ["run", "replay"])
def test_older_content_is_not_sent_after_newer_content_that_was_unchanged(
    server: RecordingServer, tmp_path: Path, ledger_file: Path, newest: str
) -> None:
    source = a_flow()
    dag = build_dag(source)
    run_dag(dag, person("Ana", 1))
    server.queued.append(Answer(422))
    assert replay(source, tmp_path, person("Eva", 2), replay_id="older").result("replay")["failed"] == 1
    if newest == "run":
        assert run_dag(dag, person("Ana", 3)).state == "success"
    else:
        replay(source, tmp_path, person("Ana", 3))

    assert main(["replay", "retry", "older", "--ledger", f"sqlite:///{ledger_file}"]) == 0
    assert any(reason.startswith("superseded: ") for reason in reasons(ledger_file))
    assert names(server) == ["Ana", "1", "Eva"]

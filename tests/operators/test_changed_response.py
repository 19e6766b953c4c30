"""DAG runs and replays detect each other's changed responses."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_dag
from airflow_whatsapp_flows.operators import send as sending
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_again
from tests.operators.flows import action, flow, message, question
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

BODY = {"name": "{{ contact.first_name }}"}
UPDATE = {"on_changed": "update"}


def a_flow(**keys: Any) -> dict[str, Any]:
    return flow(question("Ask", next="Create"), action("Create", body=BODY, on_success="Bye"), message("Bye"), **keys)


def response_with_name(name: str, **more: Any) -> dict[str, Any]:
    return {"id": "S1", "contact": {"phone": "+525550000001", "first_name": name}, "step": {"Ask": "x"}, **more}


def replay(source: dict[str, Any], folder: Path, *names: str, **arguments: Any) -> FinishedRun:
    file = folder / f"{new_dag_id()}.jsonl"
    file.write_text("\n".join(json.dumps(response_with_name(name)) for name in names), encoding="utf-8")
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(task_id="replay", flow=source, source=str(file), **{"fail_when": "never", **arguments})
    return run_dag(dag)


@pytest.fixture
def failures() -> Failures:
    return Failures()


def build(source: dict[str, Any], failures: Failures) -> DAG:
    dag = build_dag(source)
    for task in dag.tasks:
        task.on_failure_callback = [failures.note]  # type: ignore[attr-defined]
        task.retry_delay = timedelta(0)  # type: ignore[attr-defined]
    return dag


def sent_names(server: RecordingServer) -> list[str]:
    return [json.loads(request.content)["name"] for request in server.received]


def test_refuses_a_changed_response_without_sending(server: RecordingServer, failures: Failures) -> None:
    dag = build(a_flow(), failures)
    first, same, changed = (run_dag(dag, response_with_name(name)) for name in ("Ana", "Ana", "Eva"))

    assert (first.state, same.state, changed.state) == ("success", "success", "failed")
    assert sent_names(server) == ["Ana"]
    assert f"id_reused: the DAG run {first.run_id} has the response id 'S1' with different content" in str(
        failures.errors[-1]
    )
    assert "replay.on_changed" in str(failures.errors[-1])


def test_update_sends_a_changed_response(server: RecordingServer) -> None:
    dag = build_dag(a_flow(replay=UPDATE))

    states = [run_dag(dag, response_with_name(name)).state for name in ("Ana", "Eva", "Eva", "Ana")]

    assert states == ["success"] * 4
    assert sent_names(server) == ["Ana", "Eva", "Ana"]


def test_a_replay_rejects_a_changed_response_after_a_dag_run(
    server: RecordingServer, tmp_path: Path, ledger_file: Path
) -> None:
    source = a_flow()
    run_dag(build_dag(source), response_with_name("Ana"))

    changed, same = replay(source, tmp_path, "Eva"), replay(source, tmp_path, "Ana")

    assert changed.result("replay")["rejected"] == 1
    assert same.result("replay")["completed"] == 1
    assert sent_names(server) == ["Ana"]
    assert "id_reused: the DAG run " in reasons(ledger_file)[0]


def test_a_replay_updates_what_a_dag_run_has_sent(server: RecordingServer, tmp_path: Path) -> None:
    source = a_flow()
    run_dag(build_dag(source), response_with_name("Ana"))

    status = replay(source, tmp_path, "Eva", on_changed="update").result("replay")

    assert (status["completed"], status["requests"]) == (1, 1)
    assert sent_names(server) == ["Ana", "Eva"]


def test_dag_runs_and_replays_share_the_newest_content(server: RecordingServer, tmp_path: Path) -> None:
    source = a_flow(replay=UPDATE)
    replay(source, tmp_path, "Ana")
    run = run_dag(build_dag(source), response_with_name("Eva"))

    status = replay(source, tmp_path, "Eva").result("replay")
    back = replay(source, tmp_path, "Ana").result("replay")

    assert run.state == "success"
    assert (status["requests"], back["requests"]) == (0, 1)
    assert sent_names(server) == ["Ana", "Eva", "Ana"]


def test_fails_while_the_old_content_is_in_doubt(server: RecordingServer, failures: Failures) -> None:
    dag = build(a_flow(replay=UPDATE), failures)
    server.queued.append(Answer(drop=True))
    first, changed = run_dag(dag, response_with_name("Ana")), run_dag(dag, response_with_name("Eva"))

    assert (first.state, changed.state) == ("failed", "failed")
    assert sent_names(server) == ["Ana"]
    assert f"in doubt: the DAG run {first.run_id} may have sent earlier content of the response 'S1'" in str(
        failures.errors[-1]
    )


def test_a_waiting_replay_can_resolve_a_dag_runs_doubt(
    server: RecordingServer, tmp_path: Path, ledger_file: Path
) -> None:
    from airflow_whatsapp_flows.cli import main

    source = a_flow()
    server.queued.append(Answer(drop=True))
    run_dag(build_dag(source), response_with_name("Ana"))
    status = replay(source, tmp_path, "Eva", on_changed="update", replay_id="sync").result("replay")
    ledger = ["--ledger", f"sqlite:///{ledger_file}"]

    assert (status["in_doubt"], sent_names(server)) == (1, ["Ana"])
    assert "in doubt: the DAG run " in reasons(ledger_file)[0]
    assert "resolve it with `replay resolve sync`" in reasons(ledger_file)[0]
    assert main(["replay", "resolve", "sync", "S1", "--as", "sent", *ledger]) == 0
    assert main(["replay", "retry", "sync", *ledger]) == 0
    assert sent_names(server) == ["Ana", "Eva"]


def test_a_cleared_run_does_not_restore_old_content(server: RecordingServer, failures: Failures) -> None:
    dag = build(a_flow(replay=UPDATE), failures)
    old, idle, _ = (run_dag(dag, response_with_name(name)) for name in ("Ana", "Ana", "Eva"))

    again = run_again(dag, old.run_id, "create")  # what it has sent is known
    run_again(dag, idle.run_id, "create")  # it has sent nothing

    assert again["status_code"] == 200
    assert sent_names(server) == ["Ana", "Eva"]
    assert "superseded: " in str(failures.errors[-1])
    assert "this run was cleared; trigger a new run to send it again" in str(failures.errors[-1])


def test_does_not_resume_after_newer_content_was_sent(server: RecordingServer, failures: Failures) -> None:
    two = flow(
        question("Ask", next="Create"),
        action("Create", body=BODY, on_success="Note"),
        action("Note", body=BODY),
        replay=UPDATE,
    )
    dag, runs = build(two, failures), []
    original: Callable[..., Any] = sending.check_newest

    def overtaken(transaction: Any, recipient: Any) -> None:
        # Between the two actions of the first run another one sends newer content.
        if len(server.received) == 1 and not runs:
            values = {**_attempt_of(transaction, recipient), "epoch": 2, "content": "other", "key": "another"}
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            transaction._execute(f"INSERT INTO whatsapp_flows_attempts ({names}) VALUES ({marks})", values)
            runs.append(1)
        original(transaction, recipient)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "check_newest", overtaken)
        run = run_dag(dag, response_with_name("Ana"))

    assert run.states["create"] == "success"
    assert run.states["note"] == "failed"
    assert len(server.received) == 1
    assert "superseded: the DAG run " in str(failures.errors[-1])


def test_waits_for_content_pending_in_a_replay(
    server: RecordingServer, tmp_path: Path, ledger_file: Path, failures: Failures
) -> None:
    source = a_flow(replay=UPDATE)
    replay(source, tmp_path, "Ana", replay_id="sync")
    with closing(sqlite3.connect(ledger_file)) as ledger:
        ledger.execute("UPDATE whatsapp_flows_contacts SET state = 'pending'")
        ledger.commit()

    run = run_dag(build(source, failures), response_with_name("Eva"))

    assert run.state == "failed"
    assert sent_names(server) == ["Ana"]
    assert "earlier content of the response 'S1' is pending in the replay sync" in str(failures.errors[-1])


def test_attempts_without_content_count_as_the_same_content(server: RecordingServer, ledger_file: Path) -> None:
    dag = build_dag(a_flow())
    run_dag(dag, response_with_name("Ana"))
    with closing(sqlite3.connect(ledger_file)) as ledger:
        ledger.execute("UPDATE whatsapp_flows_attempts SET content = NULL")
        ledger.commit()

    assert run_dag(dag, response_with_name("Ana")).state == "success"
    assert sent_names(server) == ["Ana"]


def reasons(ledger_file: Path) -> list[str]:
    with closing(sqlite3.connect(ledger_file)) as ledger:
        return [row[0] for row in ledger.execute("SELECT reason FROM whatsapp_flows_contacts ORDER BY id")]


def _attempt_of(transaction: Any, recipient: Any) -> dict[str, Any]:
    row = transaction.attempts(recipient.subject)[0]
    kept = {name: getattr(row, name) for name in ("step", "visit", "number", "digest", "method", "moment", "fate")}
    names = {"flow_id": recipient.subject.flow_id, "response_id": recipient.subject.response_id}
    return {**kept, **names, "host": "x", "begun_at": 1.0, "round": 1, "origin": json.dumps({"run_id": "newer"})}


def test_form_defaults_are_not_content_and_hide_no_conf_value(server: RecordingServer, tmp_path: Path) -> None:
    declared = {"campaign": {"default": "spring"}, "count": {"type": "number", "default": 1}}
    body = {"campaign": "{{ flow_execution_variables.campaign }}", "count": "{{ flow_execution_variables.count }}"}
    made = flow(action("Create", body=body), variables=declared, replay={})
    assert replay(made, tmp_path, "Ana").result("replay")["completed"] == 1
    form = {"flow_execution_variables.campaign": "spring", "flow_execution_variables.count": 1}
    response = response_with_name("Ana")
    dag = build_dag(made)

    again = run_dag(dag, {**response, **form})
    blank = run_dag(dag, {**response, "flow_execution_variables.campaign": None})
    other = run_dag(dag, {**response_with_name("Eva"), "id": "S2", "flow_execution_variables": {"campaign": "summer"}})

    assert (again.state, blank.state, other.state) == ("success", "success", "success")
    assert [json.loads(request.content) for request in server.received] == [
        {"campaign": "spring", "count": 1},
        {"campaign": "summer", "count": 1},
    ]

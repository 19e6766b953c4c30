"""A reply too large for XCom stays in the ledger, where later steps read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppBranchOperator, build_dag
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_again
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

LIMIT = 65_536
LARGE = {"id": 7, "text": "é" * 500_000}


@pytest.fixture(autouse=True)
def _large_replies(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__RESPONSE_MAX_BYTES", "4000000")
    server.queued = [Answer.json(LARGE)]


def stored_bytes(run: FinishedRun) -> int:
    return max(len(json.dumps(value)) for value in run.xcoms.values())


def test_the_xcom_of_a_large_reply_is_a_small_reference(server: RecordingServer) -> None:
    run = run_action(body={"a": 1}).run
    result = run.result("act")
    assert stored_bytes(run) <= LIMIT
    assert (result["outcome"], result["status_code"], result["response"]) == ("success", 200, None)
    assert set(result["in_ledger"]) == {"flow_id", "response_id", "key", "number"}


def test_a_result_that_fits_stays_in_the_xcom(server: RecordingServer) -> None:
    server.queued = [Answer.json({"text": "x" * 60_000})]
    result = run_action(body={"a": 1}).result
    assert len(result["response"]["text"]) == 60_000
    assert "in_ledger" not in result


def test_the_limit_is_a_setting(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__XCOM_MAX_BYTES", "2000000000")
    assert run_action(body={"a": 1}).result["response"] == LARGE


def _two(variables: Any, **arguments: Any) -> tuple[DAG, FinishedRun]:
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/a", http_conn_id="crm", on_error="fail")
        then = WhatsAppActionOperator(
            task_id="then", url="/b", http_conn_id="crm", on_error="fail",
            variables=variables(act), body={"id": "{{ step.act.response.id }}"}, **arguments,
        )  # fmt: skip
        act >> then
    return dag, run_dag(dag)


def test_later_tasks_read_the_whole_reply(server: RecordingServer) -> None:
    _two(lambda act: {"step": {"act": act.output}})
    assert server.received[1].content == b'{"id":7}'


def test_references_in_answers_and_replies_are_plain_text(server: RecordingServer) -> None:
    _, run = _two(lambda act: {"step": {"act": act.output}})
    place = run.result("act")["in_ledger"]
    # The same text inside a reply, or in another run, is not a reference.
    server.queued = [Answer.json({"outcome": "success", "response": {"id": 8}, "in_ledger": place, "id": 9})]
    _two(lambda act: {"step": {"act": act.output}})
    assert len(server.received) == 4
    assert server.received[3].content == b'{"id":9}'
    stolen = {"outcome": "success", "response": None, "in_ledger": place}
    done = run_action(variables={"step": {"x": stolen}}, body={"id": "{{ step.x.response.id }}"})
    assert done.state == "failed"
    assert "no longer in the ledger" in done.message


def test_a_branch_follows_a_small_result(server: RecordingServer) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/", http_conn_id="crm")
        good = EmptyOperator(task_id="good")
        act >> WhatsAppBranchOperator(task_id="exit", action="act", on_success="good") >> good
    assert run_dag(dag).states["good"] == "success"


def test_steps_of_a_flow_read_the_whole_reply(server: RecordingServer) -> None:
    ask = {"name": "Ask", "type": "action", "connection": "crm", "url": "/a", "on_success": "Say"}
    say = {"name": "Say", "type": "message", "body": "{{ step.Ask.response.text }}", "next": "Tell"}
    tell = {"name": "Tell", "type": "action", "connection": "crm", "url": "/b", "body": "{{ step.Ask.response.id }}"}
    run = run_dag(build_dag({"flow_format": 1, "id": "large", "steps": [ask, say, tell]}), {"id": "1"})
    assert run.state == "success"
    assert server.received[1].content == b"7"
    assert stored_bytes(run) <= LIMIT


def test_clearing_returns_a_large_recorded_success(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail")
    run = run_dag(dag)
    assert run_again(dag, run.run_id) == run.result("act")
    assert len(server.received) == 1


def test_a_purged_reply_is_reported_as_gone(server: RecordingServer, ledger_file: Path) -> None:
    import contextlib
    import sqlite3

    def purge(_: Any) -> None:
        with contextlib.closing(sqlite3.connect(ledger_file)) as ledger:
            ledger.execute("UPDATE whatsapp_flows_attempts SET result = NULL")
            ledger.commit()

    _, run = _two(lambda act: {"step": {"act": act.output}}, pre_execute=purge)
    assert run.states["then"] == "failed"
    assert len(server.received) == 1

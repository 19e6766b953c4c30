"""A refused action logs the server's reply."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppBranchOperator, build_dag
from tests.airflow_runs import run_dag
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow, message, polling_flow, question
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

REFUSED = Answer.json({"error": "email is taken", "by": "ana@example.com"}, 422)
WORDS = 'reply: {"error":"email is taken","by":"a…@example.com"}'


def test_the_error_of_a_task_shows_the_servers_reply(server: RecordingServer) -> None:
    server.queued = [REFUSED]
    assert WORDS in run_action().message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(REFUSED, ("answered 422 Unprocessable Entity", WORDS), id="422"),
        pytest.param(Answer(503, b"down for an hour"), ("answered 503", "reply: down for an hour"), id="503"),
        pytest.param(Answer(drop=True), ("sent: unknown",), id="dropped"),
    ],
)
def test_an_action_that_takes_its_error_exit_warns(
    server: RecordingServer, task_log: TaskLog, answer: Answer, words: tuple[str, ...]
) -> None:
    server.queued = [answer]
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/", http_conn_id="crm", body={"a": 1})
        branch = WhatsAppBranchOperator(task_id="exit", action="act", on_error="sorry")
        act >> branch >> EmptyOperator(task_id="sorry")

    assert run_dag(dag).state == "success"
    (warning,) = [line for line in task_log.warnings if "error exit" in line]
    assert all(part in warning for part in words), warning


def make_flow(**keys: Any) -> dict[str, Any]:
    steps = (question("Ask pin", next="Save"), action("Save", on_error="Sorry"), message("Sorry"))
    return flow(*steps, **keys)


def test_a_flow_warns_and_hides_sensitive_values(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer.json({"why": "blue horse is no pin"}, 422)]
    done = run_dag(build_dag(make_flow(sensitive=["step.Ask pin"])), {"step": {"Ask pin": "Blue horse"}})

    assert done.state == "success"
    (warning,) = [line for line in task_log.warnings if "error exit" in line]
    assert 'reply: {"why":"*** is no pin"}' in warning


def test_a_loop_warns_too(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer.json({"id": 7}), Answer.json({"state": "gone"}, 404)]
    run_dag(build_dag(polling_flow()))

    (warning,) = [line for line in task_log.warnings if "error exit" in line]
    assert "Get reply, visit 1" in warning
    assert 'reply: {"state":"gone"}' in warning

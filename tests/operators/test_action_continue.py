"""``on_error="continue"``: the result is returned, and a later task decides."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from airflow_whatsapp_flows import WhatsAppActionOperator
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.conftest import TaskLog
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def _run_branch() -> FinishedRun:
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="continue")

        @task.branch
        def choose(result: dict[str, Any]) -> str:
            return "thanks" if result["ok"] else "sorry"

        choose(act.output) >> [EmptyOperator(task_id="thanks"), EmptyOperator(task_id="sorry")]
    return run_dag(dag)


@pytest.mark.parametrize(
    ("answer", "taken", "skipped"),
    [
        pytest.param(Answer(201), "thanks", "sorry", id="success"),
        pytest.param(Answer(422), "sorry", "thanks", id="error"),
        pytest.param(Answer(drop=True), "sorry", "thanks", id="in-doubt"),
    ],
)
def test_a_task_branch_chooses_by_the_output(server: RecordingServer, answer: Answer, taken: str, skipped: str) -> None:
    server.queued = [answer]
    run = _run_branch()
    assert run.state == "success"
    assert (run.states[taken], run.states[skipped]) == ("success", "skipped")
    assert len(server.received) == 1


def test_an_error_is_returned_and_logged_as_a_warning(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer(422)]
    done = run_action(on_error="continue")
    assert done.state == "success"
    assert (done.result["outcome"], done.result["status_code"]) == ("error", 422)
    assert "422" in "".join(task_log.warnings)


def test_result_and_log_report_requests_in_doubt(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer(drop=True)]
    done = run_action(on_error="continue")
    assert done.state == "success"
    assert done.result["error"]["sent"] == "unknown"
    assert "outcome unknown" in "".join(task_log.warnings)


def test_a_request_that_cannot_be_built_still_fails(server: RecordingServer) -> None:
    assert run_action(on_error="continue", body={"a": "{{ contact.nothing }}"}).state == "failed"
    assert server.received == []


def test_another_word_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"'continued'.*did you mean.*continue"):
        WhatsAppActionOperator(task_id="act", url="http://a/", on_error="continued")  # type: ignore[arg-type]

"""How a failed task's log reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
from airflow.sdk import DAG, BaseOperator

from airflow_whatsapp_flows import WhatsAppReplayOperator
from airflow_whatsapp_flows.dag_factory import build_dag
from airflow_whatsapp_flows.errors import LedgerError, RenderError
from airflow_whatsapp_flows.operators import failures
from airflow_whatsapp_flows.operators.failures import TaskFailureError, TaskRetryError, task_errors
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator
from tests.airflow_runs import run_dag
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow, write_responses
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

STACK_TRACE = "'exc_info': True"


def failures_in(log: TaskLog) -> list[str]:
    return [entry for entry in log.entries if "Task failed" in entry]


def test_an_action_that_failed_is_one_line_without_a_stack_trace(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued += [Answer(422, b'{"error": "no such city"}')]
    done = run_action()
    [line] = failures_in(task_log)
    assert done.state == "failed"
    assert "'event': 'Task failed: act: POST" in line
    assert "no such city" in line
    assert STACK_TRACE not in line


def test_a_try_before_a_retry_is_one_line(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued += [Answer(429), Answer(201)]
    done = run_action(retry={"attempts": 2, "wait": 0})
    [line] = failures_in(task_log)
    assert done.state == "success"
    assert "429" in line
    assert "retrying in" in line
    assert STACK_TRACE not in line


def test_a_mistake_in_a_template_is_one_line(server: RecordingServer, task_log: TaskLog) -> None:
    run_action(body={"a": "{{ contact.nope }}"})
    [line] = failures_in(task_log)
    assert "body.a" in line
    assert STACK_TRACE not in line


def test_the_faults_of_a_flow_are_shown_without_a_stack_trace(task_log: TaskLog) -> None:
    with DAG(new_dag_id()) as dag:
        FlowFaultOperator(task_id="faulty", faults="leads.json:3:4: unknown key")
    run_dag(dag)
    [line] = failures_in(task_log)
    assert "leads.json:3:4: unknown key" in line
    assert STACK_TRACE not in line


def test_a_replay_with_failed_contacts_is_one_line(server: RecordingServer, tmp_path: Path, task_log: TaskLog) -> None:
    server.queued += [Answer(422)]
    source = write_responses(tmp_path, 1)
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(task_id="replay", flow=flow(action("A")), source=str(source))
    run_dag(dag)
    [line] = failures_in(task_log)
    assert "1 failed" in line
    assert STACK_TRACE not in line


def test_a_step_that_fails_the_walk_is_one_line(task_log: TaskLog) -> None:
    run_dag(build_dag(flow({"name": "Stop", "type": "end", "state": "failed", "reason": "no stock"})))
    [line] = failures_in(task_log)
    assert "Task failed: no stock" in line
    assert STACK_TRACE not in line


class Buggy(BaseOperator):
    def execute(self, context: Any) -> None:
        try:
            raise TaskFailureError("handled before")
        except TaskFailureError:
            pass
        raise KeyError("a bug")


def test_a_bug_keeps_its_stack_trace(task_log: TaskLog) -> None:
    with DAG(new_dag_id()) as dag:
        Buggy(task_id="buggy")
    run_dag(dag)
    [line] = failures_in(task_log)
    assert STACK_TRACE in line


SAVE = "act: POST https://crm.example.com/v1/contacts: the server answered 422 Unprocessable Entity (status; sent: yes)"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param("act: no stock; nothing was sent", "Task failed: act: no stock; nothing was sent", id="short"),
        pytest.param(
            f'{SAVE}; reply: {{"error": "x"}}; not repeated: 422 is not in retry.statuses (429)',
            "Task failed: act: POST https://crm.example.com/v1/contacts: the server answered 422\n"
            "  Unprocessable Entity (status; sent: yes)\n"
            '  reply: {"error": "x"}\n'
            "  not repeated: 422 is not in retry.statuses (429)",
            id="long",
        ),
        pytest.param("x" * 200, f"Task failed:\n  {'x' * 200}", id="one-word"),
        pytest.param(
            "faults:\nleads.json:3:4: x\n    ^", "Task failed: faults:\n  leads.json:3:4: x\n      ^", id="lines"
        ),
    ],
)
def test_a_long_message_is_broken_between_its_parts(message: str, shown: str) -> None:
    try:
        raise TaskFailureError(message)
    except TaskFailureError:
        event = failures._omit_stack_trace(None, "error", {"exc_info": True, "event": "Task failed with exception"})
    assert event == {"event": shown}


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(LedgerError("the disk is full"), TaskRetryError, id="the-ledger"),
        pytest.param(RenderError("has no value", "body.a"), TaskFailureError, id="the-request"),
    ],
)
def test_only_the_ledgers_errors_are_retried(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised, match="act: "), task_errors("act"):
        raise error


def test_logs_that_are_configured_otherwise_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import structlog

    processors = (structlog.processors.JSONRenderer(),)
    given = {"processors": processors}
    monkeypatch.setattr(structlog, "get_config", lambda: given)
    assert str(TaskFailureError("gone")) == "gone"
    assert given == {"processors": processors}


def test_another_text_in_the_log_keeps_its_stack_trace(task_log: TaskLog) -> None:
    try:
        raise TaskFailureError("act: the CRM refused it")
    except TaskFailureError:
        structlog.get_logger().exception("could not release the lock")

    [line] = [entry for entry in task_log.entries if "could not release the lock" in entry]
    assert STACK_TRACE in line

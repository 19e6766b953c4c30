"""Requests are retried only if their delivery mode allows it."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppBranchOperator, build_dag
from airflow_whatsapp_flows.operators import retry as retrying
from airflow_whatsapp_flows.operators.retry import ActionRetryError
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_again, run_killed
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow, message, polling_flow, step
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, Received, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

RETRY = {"attempts": 3, "wait": 0.01}


def _run_branch(**arguments: Any) -> FinishedRun:
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", **{"retry": RETRY, **arguments})
        good, bad = EmptyOperator(task_id="good"), EmptyOperator(task_id="bad")
        act >> WhatsAppBranchOperator(task_id="exit", action="act", on_success="good", on_error="bad") >> [good, bad]
    return run_dag(dag)


def _exit(run: FinishedRun) -> str:
    assert run.state == "success"
    [taken] = [name for name in ("good", "bad") if run.states[name] == "success"]
    return taken


def test_retries_a_get_until_it_succeeds(server: RecordingServer) -> None:
    server.queued = [Answer(503), Answer(503)]
    run = _run_branch(method="GET")
    assert _exit(run) == "good"
    assert len(server.received) == 3
    assert run.result("act")["attempts"] == 3


def test_the_tasks_retries_have_the_same_effect(server: RecordingServer) -> None:
    server.queued = [Answer(503, headers={"Retry-After": "0"})] * 2
    # Airflow 3.2 waits as long as retry_delay says.
    assert _exit(_run_branch(method="GET", retry=None, retries=2, retry_delay=dt.timedelta(0))) == "good"
    assert len(server.received) == 3


def test_a_first_success_is_sent_once(server: RecordingServer) -> None:
    assert _exit(_run_branch()) == "good"
    assert len(server.received) == 1


@pytest.mark.parametrize("answer", [Answer(500), Answer(503), Answer(408), Answer(drop=True)], ids=str)
def test_a_post_of_unknown_fate_takes_the_error_exit_without_a_retry(server: RecordingServer, answer: Answer) -> None:
    server.queued = [answer]
    run = _run_branch(body={"a": 1})
    assert _exit(run) == "bad"
    assert len(server.received) == 1
    assert run.result("act")["attempts"] == 1


@pytest.mark.parametrize("delivery", ["at_most_once", "keyed", "idempotent"])
def test_resends_a_rate_limited_post_with_the_same_bytes(server: RecordingServer, delivery: str) -> None:
    server.queued = [Answer(429), Answer(429), Answer(201)]
    run = _run_branch(body={"at": "{{ global.Datetime }}"}, delivery=delivery)
    assert _exit(run) == "good"
    assert len(server.received) == 3
    assert len({request.content for request in server.received}) == 1
    keys = {request.header("Idempotency-Key") for request in server.received}
    assert keys == ({run.result("act")["idempotency_key"]} if delivery == "keyed" else {None})


@pytest.mark.parametrize("first", [Answer(503), Answer(drop=True)], ids=["503", "dropped"])
def test_a_keyed_post_of_unknown_fate_is_sent_again_with_its_key(server: RecordingServer, first: Answer) -> None:
    server.queued = [first, Answer(201)]
    run = _run_branch(delivery="keyed", body={"a": 1}, idempotency_header="X-Key")
    assert _exit(run) == "good"
    keys = [request.header("X-Key") for request in server.received]
    assert keys == [run.result("act")["idempotency_key"]] * 2


def test_mapped_tasks_have_keys_of_their_own(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator.partial(
            task_id="act", url="/x", http_conn_id="crm", on_error="fail", delivery="keyed"
        ).expand(body=[{"a": 1}, {"a": 2}])
    run_dag(dag)
    run_dag(dag)
    assert len({request.header("Idempotency-Key") for request in server.received}) == 4


def test_retries_what_was_not_sent_even_at_most_once(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = RecordingServer()
    gone.close()
    monkeypatch.setenv("AIRFLOW_CONN_CRM", gone.url)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", f"{server.host},{gone.host}")

    def restore_connection(_: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_CRM", server.url)

    run = _run_branch(body={"a": 1}, on_retry_callback=restore_connection)
    assert _exit(run) == "good"
    assert len(server.received) == 1


def test_exhausted_tries_take_the_error_exit(server: RecordingServer) -> None:
    server.queued = [Answer(503)] * 3
    run = _run_branch(method="GET")
    assert _exit(run) == "bad"
    assert len(server.received) == 3
    assert run.result("act")["status_code"] == 503


def test_the_servers_wait_is_limited_and_passed_to_airflow(server: RecordingServer) -> None:
    server.queued = [Answer(429, headers={"Retry-After": "7"})]
    done = run_action(method="GET", retry={"attempts": 2, "wait": 0.01, "max_wait": 0.05})
    assert done.state == "success"
    [error] = done.errors
    assert isinstance(error, ActionRetryError)
    assert error.wait == 0.05


@pytest.mark.skipif(retrying.RetryPolicy is None, reason="Airflow 3.2 has no retry policies")
def test_the_exception_carries_the_wait_before_the_next_try() -> None:
    policy = WhatsAppActionOperator(task_id="a", url="/", retries=3).retry_policy
    assert isinstance(policy, retrying.ActionRetryPolicy)
    assert policy.evaluate(ActionRetryError("429", 12.5), 1, 3).retry_delay == dt.timedelta(seconds=12.5)
    assert policy.evaluate(ValueError("x"), 1, 3).action.value == "default"


def test_a_fault_of_the_task_is_not_treated_as_a_reply(server: RecordingServer) -> None:
    done = run_action(retries=2, http_conn_id="nope")
    assert len(done.errors) == 1


# A worker that dies: the first try sends, and its process state is lost before it records the outcome.


def _dag(**arguments: Any) -> DAG:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail", **arguments)
    return dag


def test_does_not_resend_a_post_after_a_kill(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    dag = _dag(body={"a": 1})
    run_id = run_killed(dag, monkeypatch)
    assert len(server.received) == 1
    result = run_again(dag, run_id)
    assert len(server.received) == 1
    assert result["outcome"] == "error"
    assert (result["error"]["kind"], result["error"]["sent"]) == ("interrupted", "unknown")
    assert "may have reached the server" in result["error"]["message"]
    assert result["url"] == f"{server.url}/x"


@pytest.mark.parametrize(
    "arguments",
    [{"method": "GET"}, {"delivery": "keyed"}, {"delivery": "idempotent"}],
    ids=["get", "keyed", "declared"],
)
def test_resends_a_repeatable_request_after_a_kill(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    dag = _dag(**arguments)
    run_id = run_killed(dag, monkeypatch)
    assert len(server.received) == 1
    result = run_again(dag, run_id)
    assert len(server.received) == 2
    assert result["outcome"] == "success"
    assert result["attempts"] == 2
    assert len({request.header("Idempotency-Key") for request in server.received}) == 1


def test_clearing_a_success_returns_the_recorded_result(server: RecordingServer) -> None:
    dag = _dag(body={"a": 1})
    run = run_dag(dag)
    result = run_again(dag, run.run_id)
    assert result == run.result("act")
    assert len(server.received) == 1


def test_clearing_a_refusal_sends_again(server: RecordingServer) -> None:
    server.queued = [Answer(422)]
    dag = _dag(body={"a": 1})
    run = run_dag(dag)
    assert run_again(dag, run.run_id)["outcome"] == "success"
    assert len(server.received) == 2


def test_clearing_a_handled_server_error_does_not_resend(server: RecordingServer) -> None:
    server.queued = [Answer(504)]
    failed = step("end", "Failed", state="failed")
    dag = build_dag(flow(action("Create", on_error="Failed"), failed))
    run = run_dag(dag, {"id": "r-1", "contact": {"phone": "+525512345678"}})
    assert run.result("create")["error"]["sent"] == "yes"
    assert run_again(dag, run.run_id, "create")["status_code"] == 504
    assert len(server.received) == 1


def test_clearing_after_a_connection_was_fixed_sends(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    dag = _dag(body={"a": 1})
    monkeypatch.setenv("AIRFLOW_CONN_CRM", "ftp://crm.example")
    run = run_dag(dag)
    assert run.states["act"] == "failed"
    monkeypatch.setenv("AIRFLOW_CONN_CRM", server.url)
    assert run_again(dag, run.run_id)["outcome"] == "success"


def test_a_cleared_task_has_all_its_tries_again(server: RecordingServer) -> None:
    server.queued = [Answer(503)] * 5
    dag = _dag(method="GET", retry=RETRY)
    run = run_dag(dag)
    assert len(server.received) == 3
    result = run_again(dag, run.run_id)
    assert len(server.received) == 6
    assert result["outcome"] == "success"


def test_the_intent_is_committed_before_the_first_byte(server: RecordingServer, ledger_file: Path) -> None:
    seen: list[Any] = []

    def script(request: Received) -> Answer:
        with contextlib.closing(sqlite3.connect(ledger_file)) as ledger:
            seen.append(ledger.execute("SELECT step, fate FROM whatsapp_flows_attempts").fetchall())
        return Answer()

    server._script = script
    run_action(body={"a": 1})
    assert seen == [[("act", None)]]


@pytest.mark.parametrize(
    ("answer", "arguments", "why"),
    [
        pytest.param(
            Answer(503),
            {"method": "POST"},
            "not repeated: delivery is at_most_once, and the server may have applied the request before it answered "
            "503; set delivery to keyed or idempotent if the server accepts repeats, or list 503 in retry.statuses",
            id="post-503",
        ),
        pytest.param(
            Answer(drop=True),
            {"method": "POST"},
            "not repeated: delivery is at_most_once, and the server may have applied the request; set delivery",
            id="post-no-answer",
        ),
        pytest.param(
            Answer(422), {"method": "PUT"}, "not repeated: 422 is not in retry.statuses (408, 425, 429", id="put-422"
        ),
        pytest.param(
            Answer(200, b"{", {"Content-Type": "application/json"}),
            {"method": "PUT"},
            "not repeated: the server answered 200",
            id="put-unreadable",
        ),
    ],
)
def test_logs_why_a_try_is_not_repeated(
    server: RecordingServer, task_log: TaskLog, answer: Answer, arguments: dict[str, Any], why: str
) -> None:
    server.queued = [answer]
    done = run_action(retries=3, retry_delay=dt.timedelta(0), **arguments)
    assert done.state == "failed"
    assert len(server.received) == 1
    assert why in done.message
    server.queued = [answer]
    run_action(retries=3, retry_delay=dt.timedelta(0), on_error="continue", **arguments)
    assert why in "".join(task_log.warnings)


def test_does_not_mention_retries_if_none_are_set_or_left(server: RecordingServer) -> None:
    server.queued = [Answer(503)]
    assert "not repeated" not in run_action(method="POST").message
    server.queued = [Answer(503)] * 2
    done = run_action(method="PUT", retries=1, retry_delay=dt.timedelta(0), retry={"attempts": 2, "wait": 0.01})
    assert len(server.received) == 3
    assert "not repeated" not in str(done.errors[-1])


def test_an_action_of_a_flow_logs_why_it_is_not_repeated(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer(503)]
    dag = build_dag(flow(action("Create", retry={"attempts": 3}, on_error="Sorry"), message("Sorry")))
    assert run_dag(dag).state == "success"
    assert "leaves by the error exit: POST" in "".join(task_log.warnings)
    assert "not repeated: delivery is at_most_once" in "".join(task_log.warnings)


def test_an_action_in_a_loop_logs_why_it_is_not_repeated(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer.json({"id": 1}), Answer(404)]
    run_dag(build_dag(polling_flow(retry={"attempts": 3, "wait": 0})))
    assert "Get reply, visit 1" in "".join(task_log.warnings)
    assert "not repeated: 404 is not in retry.statuses" in "".join(task_log.warnings)

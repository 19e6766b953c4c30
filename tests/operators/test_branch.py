"""The branch follows the exit of the action."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppBranchOperator
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def _run(join: bool = False, **exits: Any) -> FinishedRun:
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/", http_conn_id="crm")
        tasks = [EmptyOperator(task_id=name) for name in ("a", "b", "c")]
        act >> WhatsAppBranchOperator(task_id="exit", action="act", **exits) >> tasks
        if join:
            tasks >> EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    return run_dag(dag)


def _taken_branches(run: FinishedRun) -> list[str]:
    return [name for name in ("a", "b", "c") if run.states[name] == "success"]


@pytest.mark.parametrize(
    ("status", "exits", "taken"),
    [
        pytest.param(200, {"on_success": "a", "on_error": "b"}, ["a"], id="success"),
        pytest.param(500, {"on_success": "a", "on_error": "b"}, ["b"], id="error"),
        pytest.param(200, {"on_success": ["a", "b"], "on_error": "c"}, ["a", "b"], id="list"),
        pytest.param(500, {"on_success": "c", "on_error": ("a", "b")}, ["a", "b"], id="tuple"),
        pytest.param(200, {"on_error": "b"}, [], id="success-to-nothing"),
        pytest.param(500, {"on_success": "a"}, [], id="error-to-nothing"),
        pytest.param(500, {"on_success": "a", "on_error": "a"}, ["a"], id="both-to-one"),
    ],
)
def test_follows_the_exit_of_the_action(
    server: RecordingServer, status: int, exits: dict[str, Any], taken: list[str]
) -> None:
    server.queued = [Answer(status)]
    run = _run(**exits)
    assert run.state == "success"
    assert _taken_branches(run) == taken
    assert all(run.states[name] == "skipped" for name in {"a", "b", "c"} - set(taken))


@pytest.mark.parametrize("status", [200, 500])
def test_a_join_after_both_branches_runs(server: RecordingServer, status: int) -> None:
    server.queued = [Answer(status)]
    run = _run(join=True, on_success="a", on_error="b")
    assert run.states["join"] == "success"


def test_without_a_result_it_fails_and_names_the_task(server: RecordingServer) -> None:
    failures = Failures()
    with DAG(new_dag_id()) as dag:
        EmptyOperator(task_id="act") >> WhatsAppBranchOperator(task_id="exit", action="act", **failures.callbacks)
    run = run_dag(dag)
    assert run.states["exit"] == "failed"
    assert "'act' has no action result" in str(failures.errors[0])


def test_a_mapped_action_has_a_branch_for_each_of_its_results(server: RecordingServer) -> None:
    from airflow.sdk import task_group

    server._script = lambda request: Answer(500 if request.content == b"2" else 200)
    with DAG(new_dag_id()) as dag:

        @task_group
        def one(number: Any) -> None:
            act = WhatsAppActionOperator(task_id="act", url="/", http_conn_id="crm", body=number, body_type="json")
            good, bad = EmptyOperator(task_id="good"), EmptyOperator(task_id="bad")
            exits = {"on_success": "one.good", "on_error": "one.bad"}
            act >> WhatsAppBranchOperator(task_id="exit", action="one.act", **exits) >> [good, bad]

        one.expand(number=[1, 2, 3])
    run = run_dag(dag)
    # dag.test() does not ask Airflow's scheduler, which skips the mapped tasks that were not chosen.
    assert [run.result("one.exit", index) for index in range(3)] == ["one.good", "one.bad", "one.good"]


def test_a_branch_after_a_mapped_action_fails_with_the_reason(server: RecordingServer) -> None:
    failures = Failures()
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator.partial(task_id="act", url="/", http_conn_id="crm").expand(body=[1, 2])
        act >> WhatsAppBranchOperator(task_id="exit", action="act", **failures.callbacks)
    run = run_dag(dag)
    assert run.states["exit"] == "failed"
    assert "mapped" in str(failures.errors[0])

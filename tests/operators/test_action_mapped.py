"""A mapped action's fields are readable by labels and callbacks, and never rendered or stored by Airflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_whatsapp_flows import WhatsAppActionOperator
from tests.airflow_runs import run_dag
from tests.operators.conftest import TaskLog
from tests.operators.one_action import new_dag_id, rendered_fields
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

COMMON: dict[str, Any] = {"task_id": "act", "url": "/x", "http_conn_id": "crm", "on_error": "fail"}
BODIES = [{"phone": "+525510000001", "name": "{{ 7*7 }}"}, {"phone": "+525510000002", "name": "Bo"}]


def _labels(dag: DAG, run_id: str, task_id: str = "act") -> list[str | None]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    where = (TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
    with create_session() as session:
        return list(
            session.scalars(select(TaskInstance.rendered_map_index).where(*where).order_by(TaskInstance.map_index))
        )


def test_a_map_index_template_reads_the_mapped_body(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        template = "{{ task.body['phone'] }} {{ task.body['name'] }}"
        WhatsAppActionOperator.partial(**COMMON, map_index_template=template).expand(body=BODIES)
    run = run_dag(dag)
    assert [run.states[f"act[{index}]"] for index in (0, 1)] == ["success", "success"]
    assert _labels(dag, run.run_id) == ["+525510000001 {{ 7*7 }}", "+525510000002 Bo"]


def test_callbacks_read_the_mapped_fields_of_their_task(server: RecordingServer) -> None:
    seen: list[Any] = []
    server.queued = [Answer(200), Answer(422)]

    def note(context: Any) -> None:
        seen.append((context["task"].body, context["task"].variables))

    with DAG(new_dag_id()) as dag:

        @task
        def rows() -> list[Any]:
            return [{"body": body, "variables": {"contact": {"name": "Ana"}}} for body in BODIES]

        WhatsAppActionOperator.partial(**COMMON, on_success_callback=note, on_failure_callback=note).expand_kwargs(
            rows()
        )
    run_dag(dag)
    assert sorted(seen, key=str) == [(body, {"contact": {"name": "Ana"}}) for body in BODIES]


def test_airflow_does_not_store_mapped_fields(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator.partial(**COMMON, headers={"X-Day": "{{ ds }}"}).expand(body=BODIES)
    run = run_dag(dag)
    stored = rendered_fields(dag.dag_id, run.run_id, map_index=0)
    assert "52551000" not in json.dumps(stored)
    assert stored["headers"] == {"X-Day": "{{ ds }}"}
    assert sorted((json.loads(request.content) for request in server.received), key=str) == BODIES


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{{ task.body['nothing'].deep }}", id="undefined"),
        pytest.param("{{ task.body['phone'] + 1 }}", id="type-error"),
        pytest.param("{{ task.body[", id="syntax"),
    ],
)
def test_a_failed_map_index_template_does_not_fail_a_sent_task(
    server: RecordingServer, task_log: TaskLog, template: str
) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator.partial(**COMMON, map_index_template=template).expand(body=BODIES)
    run = run_dag(dag)
    assert [run.states[f"act[{index}]"] for index in (0, 1)] == ["success", "success"]
    assert run.result("act", 0)["outcome"] == "success"
    assert len(server.received) == 2
    assert "map_index_template cannot be rendered" in task_log.text


def test_a_failed_map_index_template_does_not_hide_the_error(server: RecordingServer) -> None:
    server.queued = [Answer(422)]
    errors: list[str] = []
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator.partial(
            **COMMON,
            map_index_template="{{ task.body['phone'] + 1 }}",
            on_failure_callback=lambda context: errors.append(str(context["exception"])),
        ).expand(body=BODIES[:1])
    run_dag(dag)
    assert "422" in errors[0]


def test_a_task_of_a_mapped_task_group_reads_its_own_field(server: RecordingServer) -> None:
    from airflow.sdk import task_group

    with DAG(new_dag_id()) as dag:

        @task_group
        def one(row: Any) -> None:
            template = "{{ task.body['phone'] }} {{ task.body['name'] }}"
            WhatsAppActionOperator(**COMMON, body=row, map_index_template=template)

        one.expand(row=BODIES)
    run = run_dag(dag)
    assert _labels(dag, run.run_id, "one.act") == ["+525510000001 {{ 7*7 }}", "+525510000002 Bo"]
    assert "52551000" not in json.dumps(rendered_fields(dag.dag_id, run.run_id, "one.act", map_index=0))
    assert sorted((json.loads(request.content) for request in server.received), key=str) == BODIES


def test_a_label_too_long_for_airflows_database_is_cut(server: RecordingServer) -> None:
    """PostgreSQL would refuse the label, and Airflow would fail the task after its request was sent."""
    with DAG(new_dag_id()) as dag:
        template = "{{ task.body['name'] * 100 }}"
        WhatsAppActionOperator.partial(**COMMON, map_index_template=template).expand(body=BODIES)
    run = run_dag(dag)
    assert run.state == "success"
    assert _labels(dag, run.run_id) == [("{{ 7*7 }}" * 100)[:250], "Bo" * 100]

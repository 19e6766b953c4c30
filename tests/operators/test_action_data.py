"""Values from contacts are sent unchanged, with their type, and never evaluated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_whatsapp_flows import WhatsAppActionOperator
from tests.airflow_runs import run_dag
from tests.operators.one_action import new_dag_id, rendered_fields, run_action
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

EVIL = "{{ 7*7 }}{% raw %}{# x #}"
COMMON: dict[str, Any] = {"task_id": "act", "url": "/x", "http_conn_id": "crm", "on_error": "fail"}


def _sent_bodies(server: RecordingServer) -> list[Any]:
    return [json.loads(request.content) for request in server.received]


@pytest.fixture(params=[False, True], ids=["text-dag", "native-dag"])
def dag(request: pytest.FixtureRequest) -> DAG:
    return DAG(new_dag_id(), render_template_as_native_obj=request.param)


def test_sends_an_answer_as_data(server: RecordingServer, dag: DAG) -> None:
    with dag:
        WhatsAppActionOperator(**COMMON, body={"a": "{{ step.Ask }}", "in": "<{{ step.Ask }}>"})
    run_dag(dag, {"step": {"Ask": EVIL}})
    assert _sent_bodies(server) == [{"a": EVIL, "in": f"<{EVIL}>"}]


def test_sends_a_value_from_xcom_as_data(server: RecordingServer, dag: DAG) -> None:
    with dag:

        @task
        def answers() -> dict[str, Any]:
            return {"a": EVIL, EVIL: [{"b": EVIL}]}

        WhatsAppActionOperator(**COMMON, body=answers())
    run_dag(dag)
    assert _sent_bodies(server) == [{"a": EVIL, EVIL: [{"b": EVIL}]}]


def test_renders_an_xcom_value_in_the_authors_template(server: RecordingServer, dag: DAG) -> None:
    with dag:

        @task
        def answer() -> str:
            return EVIL

        WhatsAppActionOperator(**COMMON, body={"n": "{{ 6*7 }}", "deep": [{"a": answer()}]})
    run_dag(dag)
    assert _sent_bodies(server) == [{"n": 42, "deep": [{"a": EVIL}]}]


def test_sends_text_from_xcom_as_plain_body(server: RecordingServer, dag: DAG) -> None:
    with dag:

        @task
        def answer() -> str:
            return EVIL

        WhatsAppActionOperator(**COMMON, body_type="plain", body=answer())
    run_dag(dag)
    assert server.received[0].content == EVIL.encode()


def test_maps_over_a_literal_list(server: RecordingServer, dag: DAG) -> None:
    with dag:
        WhatsAppActionOperator.partial(**COMMON).expand(body=[{"a": EVIL}, {"a": {"b": [EVIL]}}])
    run_dag(dag)
    assert sorted(map(str, _sent_bodies(server))) == sorted(map(str, [{"a": EVIL}, {"a": {"b": [EVIL]}}]))


def test_maps_over_a_list_from_xcom(server: RecordingServer, dag: DAG) -> None:
    with dag:

        @task
        def bodies() -> list[Any]:
            return [{"a": EVIL}]

        WhatsAppActionOperator.partial(**COMMON).expand(body=bodies())
    run_dag(dag)
    assert _sent_bodies(server) == [{"a": EVIL}]


def test_maps_over_arguments(server: RecordingServer, dag: DAG) -> None:
    with dag:

        @task
        def rows() -> list[Any]:
            return [{"body": {"a": EVIL}, "headers": {"X-A": EVIL}, "query_params": {"q": EVIL}}]

        WhatsAppActionOperator.partial(**COMMON).expand_kwargs(rows())
    run_dag(dag)
    [request] = server.received
    assert json.loads(request.content) == {"a": EVIL}
    assert request.header("X-A") == EVIL
    assert "7*7" in request.target or "7%2A7" in request.target


def test_maps_over_literal_arguments(server: RecordingServer, dag: DAG) -> None:
    with dag:
        WhatsAppActionOperator.partial(**COMMON).expand_kwargs([{"data": {"a": EVIL}}])
    run_dag(dag)
    assert _sent_bodies(server) == [{"a": EVIL}]


def test_mapped_variables_fill_the_authors_templates(server: RecordingServer, dag: DAG) -> None:
    with dag:
        WhatsAppActionOperator.partial(**COMMON, body={"who": "{{ contact.name }}", "n": "{{ 6*7 }}"}).expand(
            variables=[{"contact": {"name": EVIL}}, {"contact": {"name": "Ana"}}]
        )
    run = run_dag(dag)
    assert sorted(value["who"] for value in _sent_bodies(server)) == ["Ana", EVIL]
    assert {value["n"] for value in _sent_bodies(server)} == {42}
    stored = rendered_fields(dag.dag_id, run.run_id, map_index=1)
    assert "Ana" not in json.dumps(stored)


def test_reads_variables_from_xcom(server: RecordingServer, dag: DAG) -> None:
    with dag:

        @task
        def answers() -> dict[str, Any]:
            return {"contact": {"name": EVIL}, "step": {"Ask age": 41}}

        body = {"name": "{{ contact.name }}", "age": '{{ step["Ask age"] }}'}
        WhatsAppActionOperator(**COMMON, body=body, variables=answers())
    run_dag(dag)
    assert _sent_bodies(server) == [{"name": EVIL, "age": 41}]


def test_variables_from_xcom_override_the_runs_own(server: RecordingServer) -> None:
    run_action({"contact": {"a": "run"}}, variables={"contact": {"a": "given"}}, body={"a": "{{ contact.a }}"})
    assert _sent_bodies(server) == [{"a": "given"}]


@pytest.mark.parametrize(
    "value",
    [
        41,
        4.5,
        True,
        None,
        "007",
        "+5215512345678",
        "1e5",
        "None",
        "[1, 2]",
        "{'a': 1}",
        [1, [2]],
        {"a": {"b": None}},
        "",
    ],
    ids=repr,
)
def test_a_lone_placeholder_keeps_its_values_type(server: RecordingServer, dag: DAG, value: Any) -> None:
    with dag:
        WhatsAppActionOperator(**COMMON, body={"a": "{{ contact.v }}", "b": " {{ contact.v }} "})
    run_dag(dag, {"contact": {"v": value}})
    [sent] = _sent_bodies(server)
    assert sent["a"] == value
    assert type(sent["a"]) is type(value)


def test_numeric_text_of_the_author_stays_text(server: RecordingServer, dag: DAG) -> None:
    with dag:
        WhatsAppActionOperator(**COMMON, body={"zip": "01000", "list": "[1]", "phone": "+52{{ contact.n }}"})
    run_dag(dag, {"contact": {"n": "155"}})
    assert _sent_bodies(server) == [{"zip": "01000", "list": "[1]", "phone": "+52155"}]


def test_sends_dates_and_decimals_of_earlier_tasks_as_json(server: RecordingServer) -> None:
    import datetime as dt
    from decimal import Decimal

    with DAG(new_dag_id()) as dag:

        @task
        def row() -> dict[str, Any]:
            return {"day": dt.date(2026, 11, 20), "price": Decimal("1.50"), "count": Decimal(3), "set": ("a",)}

        WhatsAppActionOperator(**COMMON, body=row())
    run_dag(dag)
    assert _sent_bodies(server) == [{"day": "2026-11-20", "price": 1.5, "count": 3, "set": ["a"]}]

"""The requests of the action operator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator
from tests.airflow_runs import run_dag
from tests.operators.one_action import Failures, new_dag_id, rendered_fields, run_action
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

RESULT_KEYS = [
    "outcome", "ok", "status_code", "reason", "response", "headers", "method", "url", "elapsed_ms", "attempts",
    "idempotency_key", "error",
]  # fmt: skip
ANA: dict[str, Any] = {"contact": {"phone": "+525512345678", "name": "Ana & María"}, "step": {"Ask age": 41}}
PHONE, NAME, AGE = "{{ contact.phone }}", "{{ contact.name }}", '{{ step["Ask age"] }}'


def test_is_an_http_operator() -> None:
    assert issubclass(WhatsAppActionOperator, HttpOperator)


@pytest.mark.parametrize(
    ("body_type", "body", "content", "content_type"),
    [
        pytest.param(
            "json",
            {"phone": PHONE, "age": AGE, "tags": ["w"]},
            b'{"phone":"+525512345678","age":41,"tags":["w"]}',
            "application/json",
            id="json",
        ),
        pytest.param(
            "form",
            {"phone": PHONE, "name": NAME},
            b"phone=%2B525512345678&name=Ana+%26+Mar%C3%ADa",
            "application/x-www-form-urlencoded",
            id="form",
        ),
        pytest.param(
            "xml",
            "<c><n>" + NAME + "</n></c>",
            "<c><n>Ana &amp; María</n></c>".encode(),
            "application/xml",
            id="xml",
        ),
        pytest.param("yaml", {"phone": PHONE, "age": AGE}, b'"phone": "+525512345678"\n"age": 41\n', "yaml", id="yaml"),
        pytest.param("plain", "Hola " + NAME, "Hola Ana & María".encode(), "text/plain; charset=utf-8", id="plain"),
    ],
)
def test_sends_a_body_byte_for_byte(
    server: RecordingServer, body_type: str, body: Any, content: bytes, content_type: str
) -> None:
    done = run_action(ANA, body_type=body_type, body=body)
    assert done.state == "success"
    [request] = server.received
    assert request.content.replace(b'<?xml version="1.0" encoding="utf-8"?>\n', b"") == content
    assert content_type in (request.header("Content-Type") or "")


def test_a_multipart_body_is_read_back_by_an_independent_parser(server: RecordingServer) -> None:
    from werkzeug.formparser import parse_form_data

    run_action(ANA, body_type="multipart", body={"name": NAME, "phone": PHONE})
    [request] = server.received
    import io

    environ = {
        "wsgi.input": io.BytesIO(request.content),
        "CONTENT_LENGTH": str(len(request.content)),
        "CONTENT_TYPE": request.header("Content-Type"),
        "REQUEST_METHOD": "POST",
    }
    _, form, _ = parse_form_data(environ)
    assert form.to_dict() == {"name": "Ana & María", "phone": "+525512345678"}


@pytest.mark.parametrize("arguments", [{"body_type": "none"}, {}], ids=["named", "absent"])
def test_no_body_sends_no_content_and_no_content_type(server: RecordingServer, arguments: dict[str, Any]) -> None:
    run_action(ANA, **arguments)
    [request] = server.received
    assert request.content == b""
    assert request.header("Content-Type") is None


def test_the_result_has_exactly_the_public_keys(server: RecordingServer) -> None:
    result = run_action(ANA, body={"a": 1}).result
    assert list(result) == RESULT_KEYS
    assert (result["outcome"], result["ok"], result["status_code"], result["response"]) == (
        "success",
        True,
        200,
        {"id": 1},
    )
    assert (result["method"], result["url"]) == ("POST", f"{server.url}/contacts")
    assert (result["attempts"], result["error"]) == (1, None)
    assert len(result["idempotency_key"]) == 32


def test_the_result_of_an_error_has_exactly_the_public_keys(server: RecordingServer) -> None:
    from tests.servers.recording import Answer

    server.queued = [Answer.json({"why": "no"}, 422)]
    result = run_action(ANA, body={"a": 1}).result
    assert list(result) == RESULT_KEYS
    assert result["error"] == {
        "kind": "status",
        "message": "the server answered 422 Unprocessable Entity",
        "sent": "yes",
    }
    assert result["response"] == {"why": "no"}


def test_a_later_task_reads_the_result_from_xcom(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        first = WhatsAppActionOperator(task_id="first", url="/a", http_conn_id="crm", on_error="fail")
        WhatsAppActionOperator(
            task_id="second",
            url="/b",
            http_conn_id="crm",
            on_error="fail",
            body={"id": "{{ ti.xcom_pull(task_ids='first')['response']['id'] }}", "whole": first.output},
        )
        first >> dag.get_task("second")
    run_dag(dag)
    sent = json.loads(server.received[1].content)
    assert sent["id"] == 1
    assert sent["whole"]["status_code"] == 200


def test_endpoint_and_data_are_aliases_of_url_and_body(server: RecordingServer) -> None:
    assert run_action(endpoint="/v1", data={"a": 1}).state == "success"
    [request] = server.received
    assert (request.target, request.content) == ("/v1", b'{"a":1}')


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_every_method_is_sent_with_its_body(server: RecordingServer, method: str) -> None:
    assert run_action(method=method, body={"a": 1}).state == "success"
    [request] = server.received
    assert (request.method, request.content) == (method, b'{"a":1}')


def test_query_params_join_the_query_of_the_url(server: RecordingServer) -> None:
    run_action(ANA, method="GET", url="/find?v=2", query_params={"phone": PHONE, "tag": ["a", "b"]})
    assert server.received[0].target == "/find?v=2&phone=%2B525512345678&tag=a&tag=b"


def test_an_answer_in_the_path_is_one_segment(server: RecordingServer) -> None:
    run_action({"contact": {"name": "../a/b?c#d"}}, url="/c/" + NAME + "/x")
    assert server.received[0].target in ("/c/..%2Fa%2Fb%3Fc%23d/x", "/c/%2E%2E%2Fa%2Fb%3Fc%23d/x")


def test_templates_combine_context_xcom_and_scopes(server: RecordingServer) -> None:
    from airflow.sdk import task

    with DAG(new_dag_id(), params={"campaign": "spring"}) as dag:

        @task
        def number() -> int:
            return 7

        WhatsAppActionOperator(
            task_id="act",
            url="/{{ dag.dag_id }}",
            http_conn_id="crm",
            on_error="fail",
            headers={"X-Task": "{{ task.task_id }}"},
            body={
                "dag": "{{ dag.dag_id }}",
                "campaign": "{{ params.campaign }}",
                "number": number(),
                "phone": PHONE,
                "age": AGE,
                "day": "{{ global.Weekday }}",
                "fev": "{{ flow_execution_variables.x }}",
                "mixed": f"{{{{ run_id[:6] }}}}/{PHONE}",
            },
        )
    run_dag(dag, {**ANA, "flow_execution_variables": {"x": [1]}})
    [request] = server.received
    sent = json.loads(request.content)
    assert request.target == f"/{dag.dag_id}"
    assert request.header("X-Task") == "act"
    assert sent.pop("day").endswith("day")
    assert sent == {
        "dag": dag.dag_id, "campaign": "spring", "number": 7, "phone": "+525512345678", "age": 41, "fev": [1],
        "mixed": "manual/+525512345678",
    }  # fmt: skip


def test_every_templated_field_may_come_from_xcom(server: RecordingServer) -> None:
    from airflow.sdk import task

    failures = Failures()

    with DAG(new_dag_id()) as dag:

        @task(multiple_outputs=True)
        def arguments() -> dict[str, Any]:
            return {
                "url": "/from-xcom",
                "method": "put",
                "headers": {"X-A": "1"},
                "query_params": {"q": "2"},
                "http_conn_id": "crm",
                "body": [1, "{{ 7*7 }}"],
                "variables": {"contact": {"phone": "1"}},
            }

        made = arguments()
        WhatsAppActionOperator(
            task_id="act",
            on_error="fail",
            **{name: made[name] for name in WhatsAppActionOperator.template_fields},
            **failures.callbacks,
        )
    run_dag(dag)
    assert failures.errors == []
    [request] = server.received
    assert (request.method, request.target) == ("PUT", "/from-xcom?q=2")
    assert request.header("X-A") == "1"
    assert request.content == b'[1,"{{ 7*7 }}"]'


@pytest.mark.parametrize("field", WhatsAppActionOperator.template_fields)
def test_an_xcom_in_any_templated_field_makes_an_edge(field: str) -> None:
    from airflow.sdk import task

    with DAG(new_dag_id()):

        @task
        def arguments() -> str:
            return ""

        value = arguments()
        nested = {"headers": {"X": value}, "body": {"a": [value]}, "variables": {"contact": {"a": value}}}
        act = WhatsAppActionOperator(task_id="act", **{"url": "/", field: nested.get(field, value)})
    assert act.upstream_task_ids == {"arguments"}


def test_airflows_stored_fields_hold_templates_and_no_answers(server: RecordingServer) -> None:
    from airflow.sdk import task

    with DAG(new_dag_id()) as dag:

        @task
        def person() -> dict[str, Any]:
            return {"contact": {"phone": "+525512345678", "name": "Zoraida"}}

        WhatsAppActionOperator(
            task_id="act", url="/" + NAME, http_conn_id="crm", on_error="fail", body={"p": PHONE}, variables=person()
        )
    run = run_dag(dag)
    assert server.received[0].target == "/Zoraida"
    stored = rendered_fields(dag.dag_id, run.run_id)
    assert stored["url"] == "/" + NAME
    assert "Zoraida" not in json.dumps(stored)
    assert "5512345678" not in json.dumps(stored)


def test_airflows_stored_mapped_fields_hold_no_values(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator.partial(task_id="act", url="/x", http_conn_id="crm", on_error="fail").expand(
            body=[{"name": "Zoraida"}, {"name": "Yolanda"}]
        )
    run = run_dag(dag)
    assert {request.content for request in server.received} == {b'{"name":"Zoraida"}', b'{"name":"Yolanda"}'}
    for index in (0, 1):
        stored = json.dumps(rendered_fields(dag.dag_id, run.run_id, map_index=index))
        assert "olanda" not in stored
        assert "oraida" not in stored

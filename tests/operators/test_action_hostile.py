"""Hostile replies, connections, and settings lead to the error exit at most."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_whatsapp_flows import WhatsAppActionOperator, build_dag
from tests.airflow_runs import run_dag
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def _run(dag_id: str, **arguments: Any) -> Any:
    with DAG(dag_id, schedule=None) as dag:
        WhatsAppActionOperator(
            **{"task_id": "act", "http_conn_id": "crm", "url": "/x", "on_error": "fail", **arguments}
        )
    return run_dag(dag)


def test_a_reply_with_keys_that_airflow_reserves_is_a_result(server: RecordingServer) -> None:
    server.queued.append(Answer.json({"id": 1, "__classname__": "builtins.int", "deep": [{"__id__": 2}]}))
    run = _run("reserved_keys", body={"a": 1})
    assert run.state == "success"
    assert run.result("act")["response"]["id"] == 1


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {"__classname__": float("inf")}], ids=["nan", "inf", "inf-inside"]
)
def test_an_unstorable_filter_result_is_an_error_without_a_resend(server: RecordingServer, value: object) -> None:
    run = _run("filtered", body={"a": 1}, response_filter=lambda response: value, retry={"attempts": 3, "wait": 0.01})
    assert run.state == "failed"
    assert run.result("act")["error"]["kind"] == "response_check"
    assert len(server.received) == 1


def test_credentials_that_the_server_echoes_are_in_no_xcom(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", f"http://ana:s3cr3t-pw@{server.host}")
    server._script = lambda request: Answer.json(
        {"got": dict(request.headers)}, **{"X-Echo": request.header("Authorization")}
    )
    result = _run("echo", body={"a": 1}).result("act")
    assert result["outcome"] == "success"
    assert server.received[0].header("Authorization").partition(" ")[2] not in str(result)
    assert "s3cr3t" not in str(result)


def test_variables_may_hold_xcoms_at_any_depth_and_templates(server: RecordingServer) -> None:
    with DAG("variables_deep", schedule=None) as dag:

        @task
        def phone() -> str:
            return "+52 {{ 7*7 }}"

        WhatsAppActionOperator(
            task_id="act",
            http_conn_id="crm",
            url="/x",
            body_type="plain",
            body="{{ contact.phone }} {{ contact.run }} {{ contact.items }}",
            variables={"contact": {"phone": phone(), "run": "{{ dag.dag_id }}", "items": "i"}},
            on_error="fail",
        )
    assert run_dag(dag).state == "success"
    assert server.received[0].content == b"+52 {{ 7*7 }} variables_deep i"


def test_a_url_from_xcom_is_never_searched_for_placeholders(server: RecordingServer) -> None:
    with DAG("url_data", schedule=None) as dag:

        @task
        def url() -> str:
            return "/v1/x{{/../../../admin/}}"

        WhatsAppActionOperator(task_id="act", http_conn_id="crm", url=url(), on_error="fail")
    assert run_dag(dag).state == "failed"
    assert server.received == []


def test_keyed_never_sends_other_bytes_under_an_earlier_key(server: RecordingServer) -> None:
    server.queued.append(Answer(drop=True))
    run = _run("keyed_bytes", body={"n": "{{ ti.try_number }}"}, delivery="keyed", retry={"attempts": 3, "wait": 0.01})
    assert [request.content for request in server.received] == [b'{"n":1}']
    assert run.result("act")["error"]["sent"] == "unknown"
    assert "differs from the one already sent" in run.result("act")["error"]["message"]


@pytest.mark.parametrize("name", ["Host", "Content-Type", "a b", ""])
def test_the_key_header_cannot_be_a_transport_header(name: str) -> None:
    with pytest.raises(ValueError, match="idempotency_header"):
        WhatsAppActionOperator(task_id="act", url="https://a.example/", idempotency_header=name)


def test_an_unusable_setting_leaves_no_doubt(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", f"http://{server.host}/?proxy=not%20a%20url")
    run = _run("bad_proxy", body={"a": 1}, retry={"attempts": 2, "wait": 0.01})
    assert run.state == "failed"
    assert server.received == []
    assert ("act", -1) not in run.xcoms or run.result("act")["error"]["sent"] == "no"


def test_rendered_fields_contain_no_possible_secret_of_a_flow(server: RecordingServer) -> None:
    flow = {
        "flow_format": 1,
        "id": "secret_fields",
        "steps": [
            {
                "name": "Act",
                "type": "action",
                "connection": "crm",
                "url": "/hooks/T0PSECRETT0PSECRETT0PSECRET?upsert=true",
                "headers": {"X-Trace": "T0PSECRETT0PSECRETT0PSECRET", "X-Source": "whatsapp"},
                "query_params": {"phone": "{{ contact.phone }}", "dry": False, "limit": 50},
            }
        ],
    }
    task = build_dag(flow).get_task("act")
    shown = {name: getattr(task, name) for name in task.template_fields}
    assert "T0PSECRET" not in str(shown)
    assert shown["url"] == "/hooks/***?upsert=true"
    assert shown["query_params"] == {"phone": "{{ contact.phone }}", "dry": "false", "limit": "50"}
    assert shown["headers"]["X-Source"] == "whatsapp"


@pytest.mark.parametrize(("syntax", "shown"), [("activecampaign", "%contact.phone%"), ("hilos", "***")])
def test_rendered_fields_show_params_of_the_flows_syntax(syntax: str, shown: str) -> None:
    flow = {
        "flow_format": 1,
        "id": "shown_fields",
        "syntax": syntax,
        "steps": [
            {
                "name": "Act",
                "type": "action",
                "connection": "crm",
                "url": "/x",
                "query_params": {"a": "%contact.phone%"},
            },
        ],
    }
    assert build_dag(flow).get_task("act").query_params == {"a": shown}


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        pytest.param({"step.Pick": "sales"}, b'"Sales"', id="menu-in-another-case"),
        pytest.param({"step.Pick": "zzz"}, b'"none"', id="misfit-takes-its-exit"),
        pytest.param({"step": {"Pick": "Sales"}, "step.Pick": None}, b'"Sales"', id="blank-field-hides-nothing"),
        pytest.param({"step.Pick": "Sales", "contact.phone": 525512345678}, b'"Sales"', id="number-in-a-text-field"),
    ],
)
def test_the_form_accepts_everything_the_flow_accepts(
    server: RecordingServer, conf: dict[str, Any], expected: bytes
) -> None:
    act = {"type": "action", "connection": "crm", "url": "/x", "body_type": "json"}
    flow = {
        "flow_format": 1,
        "id": "form_input",
        "steps": [
            {"name": "Pick", "type": "menu", "options": {"Sales": "Act"}, "on_answer_failed": "Act none"},
            {**act, "name": "Act", "body": "{{ step.Pick }}"},
            {**act, "name": "Act none", "body": "none"},
        ],
    }
    flow["steps"][1]["body"] = ["{{ step.Pick }}"]
    flow["steps"][2]["body"] = ["none"]
    assert run_dag(build_dag(flow), conf).state == "success"
    assert server.received[0].content == b"[" + expected + b"]"


def test_a_word_like_secret_changes_no_reply(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", f"http://ana:admin@{server.host}")
    server.queued.append(Answer.json({"role": "admin"}))
    assert _run("short_secret", body={"a": 1}).result("act")["response"] == {"role": "admin"}

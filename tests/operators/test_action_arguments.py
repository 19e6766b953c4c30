"""Invalid arguments fail when the DAG is parsed, and invalid values fail the task without a retry."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_whatsapp_flows import WhatsAppActionOperator
from airflow_whatsapp_flows.flow.format import RetryFormat
from tests.operators.one_action import run_action
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"endpoint": "/b"}, ["url", "endpoint", "one of them"], id="url-and-endpoint"),
        pytest.param({"body": {}, "data": {}}, ["body", "data", "one of them"], id="body-and-data"),
        pytest.param({"pagination_function": print}, ["pagination_function"], id="pagination_function"),
        pytest.param({"retry_args": {"a": 1}}, ["retry_args"], id="retry_args"),
        pytest.param({"request_kwargs": {"json": 1}}, ["request_kwargs"], id="request_kwargs"),
        pytest.param({"extra_options": {"timeout": 1}}, ["extra_options"], id="extra_options"),
        pytest.param({"on_error": "ignore"}, ["on_error", "'ignore'", "branch, continue, fail"], id="on_error"),
        pytest.param({"body_type": "jsn"}, ["body_type", "'json'"], id="body_type"),
        pytest.param({"body_type": 5}, ["body_type", "xml"], id="body_type-number"),
        pytest.param({"delivery": "once"}, ["delivery", "at_most_once"], id="delivery"),
        pytest.param({"retry": {"attempt": 3}}, ["retry", "'attempt'", "'attempts'"], id="retry-key"),
        pytest.param({"retry": {"attempts": 0}}, ["retry", "attempts", "from 1"], id="attempts-0"),
        pytest.param({"retry": {"attempts": 10**9}}, ["retry", "attempts", "from 1 to 20"], id="attempts-many"),
        pytest.param({"retry": {"statuses": [200, 7]}}, ["retry", "statuses", "300 to 599", "200"], id="statuses-200"),
        pytest.param({"retry": {"backoff": 11}}, ["retry", "backoff", "from 1 to 10"], id="backoff-11"),
        pytest.param({"retry": {1: 2}}, ["retry", "1"], id="retry-key-number"),
        pytest.param({"retry": {"attempts": "3"}}, ["retry", "attempts"], id="attempts-text"),
        pytest.param({"retry": {"attempts": True}}, ["retry", "attempts"], id="attempts-bool"),
        pytest.param({"retry": {"wait": -1}}, ["retry", "wait"], id="wait"),
        pytest.param({"retry": {"max_wait": float("inf")}}, ["retry", "max_wait"], id="max_wait"),
        pytest.param({"retry": {"backoff": 0.5}}, ["retry", "backoff"], id="backoff"),
        pytest.param({"retry": {"statuses": 429}}, ["retry", "statuses", "list"], id="statuses"),
        pytest.param({"retry": 3}, ["retry", "attempts"], id="retry-number"),
        pytest.param({"timeout": 0}, ["timeout", "greater than 0"], id="timeout-0"),
        pytest.param({"timeout": "30"}, ["timeout", "'30'"], id="timeout-text"),
        pytest.param({"success_when": "response.ok ="}, ["response.ok ="], id="success_when-syntax"),
        pytest.param({"success_when": "conn.x.password"}, ["conn"], id="success_when-name"),
    ],
)
def test_rejects_a_wrong_argument_at_parse_time(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        WhatsAppActionOperator(task_id="act", **{"url": "/a", **arguments})
    for word in words:
        assert word in str(raised.value)


def test_retry_defaults_are_those_of_a_flow_file() -> None:
    task = WhatsAppActionOperator(task_id="act", url="/a", retry={"statuses": (429,)})
    assert task.retries == RetryFormat().attempts - 1
    assert task.retry_delay.total_seconds() == RetryFormat().wait
    assert task.max_retry_delay.total_seconds() == RetryFormat().max_wait
    assert task.retry_exponential_backoff == RetryFormat().backoff


def test_a_url_is_required() -> None:
    with pytest.raises(ValueError, match="url"):
        WhatsAppActionOperator(task_id="act")


def test_an_unknown_argument_is_refused_by_airflow() -> None:
    with pytest.raises(TypeError, match="ulr"):
        WhatsAppActionOperator(task_id="act", url="/", ulr="/")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param({"url": "/{{ contact.phone"}, "url", id="url"),
        pytest.param({"url": "http://{{ contact.phone }}/"}, "url", id="templated-host"),
        pytest.param({"body": {"a": {"b": "{{ 1 +"}}}, "body.a.b", id="nested-body"),
        pytest.param({"headers": {"X-A": "{% if %}"}}, "headers.X-A", id="header"),
        pytest.param({"query_params": {"q": "{{ }}"}}, "query_params.q", id="query"),
        pytest.param({"method": "{{ x"}, "method", id="method"),
        pytest.param({"method": "{{ 'FETCH' }}"}, "method", id="unknown-method"),
        pytest.param({"http_conn_id": "{{ x"}, "http_conn_id", id="connection"),
        pytest.param({"body": {"a": "{{ contact.nope }}"}}, "body.a", id="missing-value"),
        pytest.param({"body": {"a": "{{ 1/0 }}"}}, "body.a", id="arithmetic"),
        pytest.param({"body": {"a": "{{ conn.nope.host }}"}}, "body.a", id="missing-connection"),
        pytest.param({"body": {"a": "x {{ var.value.nope }}"}}, "body.a", id="missing-airflow-variable"),
        pytest.param({"headers": {"X-A": "{{ contact.nope }}"}}, "headers.X-A", id="missing-in-header"),
        pytest.param({"url": "/{{ contact.nope }}"}, "url", id="missing-in-path"),
        pytest.param({"http_conn_id": "{{ contact.nope }}"}, "http_conn_id", id="missing-in-connection"),
        pytest.param({"headers": {"Host": "evil"}}, "headers.Host", id="forbidden-header"),
        pytest.param({"headers": {"X-A": "{{ contact.evil }}"}}, "headers.X-A", id="line-break-in-header"),
        pytest.param({"body_type": "json"}, "body", id="body_type-without-body"),
        pytest.param({"body_type": "none", "body": {"a": 1}}, "body", id="body-without-body_type"),
        pytest.param({"variables": "contact"}, "a contact response must be an object", id="variables-are-text"),
        pytest.param({"variables": {"contacts": {}}}, "contacts", id="variables-misspelt"),
        pytest.param({"body": {"a": object()}}, "body", id="unsendable-object"),
    ],
)
def test_a_wrong_value_fails_without_a_retry_and_names_its_field(
    server: RecordingServer, arguments: dict[str, Any], field: str
) -> None:
    done = run_action({"contact": {"phone": "1", "evil": "a\r\nX-B: c"}}, retry={"attempts": 3, "wait": 0}, **arguments)
    assert done.state == "failed"
    assert field in done.message
    assert isinstance(done.errors[0], AirflowFailException)
    assert server.received == []


def test_a_missing_connection_is_reported_with_advice(server: RecordingServer) -> None:
    done = run_action(http_conn_id="nope")
    assert "the connection 'nope' does not exist" in done.message
    assert "AIRFLOW_CONN_NOPE" in done.message


def test_a_path_without_a_connection_is_reported(server: RecordingServer) -> None:
    assert "connection" in run_action(http_conn_id=None).message


def test_an_absolute_url_needs_no_connection(server: RecordingServer) -> None:
    assert run_action(http_conn_id=None, url=f"{server.url}/x").state == "success"


def test_a_falsy_body_is_a_body(server: RecordingServer) -> None:
    for body, content in (({}, b"{}"), ([], b"[]"), (0, b"0"), (False, b"false"), (None, b"null")):
        run_action(body=body, body_type="json")
        assert server.received[-1].content == content

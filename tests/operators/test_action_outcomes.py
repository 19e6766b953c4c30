"""Replies and failures: the exit they take, and the state of the task."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import requests
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppBranchOperator
from tests.airflow_runs import run_dag
from tests.operators.conftest import TaskLog
from tests.operators.one_action import Failures, new_dag_id, run_action
from tests.servers.hostile import HostileServer, Peer
from tests.servers.recording import Answer, Received, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        pytest.param(Answer.json({"id": 7}, 201), {"id": 7}, id="201-json"),
        pytest.param(Answer(204), None, id="204"),
        pytest.param(Answer(200, b"", JSON), None, id="200-empty"),
        pytest.param(Answer(200, b"<p>", HTML), "<p>", id="200-html"),
        pytest.param(Answer(200, b"a=1&b=2", {"Content-Type": "application/x-www-form-urlencoded"}), None, id="form"),
    ],
)
def test_a_complete_2xx_is_a_success(server: RecordingServer, answer: Answer, response: Any) -> None:
    server.queued = [answer]
    done = run_action()
    assert done.state == "success"
    assert done.result["outcome"] == "success"
    assert done.result["status_code"] == answer.status
    if response is not None or not answer.content:
        assert done.result["response"] == response


@pytest.mark.parametrize(
    ("answer", "kind", "response"),
    [
        pytest.param(Answer(500, b"boom"), "status", "boom", id="500"),
        pytest.param(Answer.json({"why": "gone"}, 404), "status", {"why": "gone"}, id="404-json"),
        pytest.param(Answer(304), "status", None, id="304"),
        pytest.param(Answer(200, b"<html>", JSON), "unparsable", None, id="html-as-json"),
        pytest.param(Answer(200, b"x" * 2_000_000), "too_large", None, id="2MB"),
    ],
)
def test_anything_else_is_an_error_with_its_content(
    server: RecordingServer, answer: Answer, kind: str, response: Any
) -> None:
    server.queued = [answer]
    done = run_action()
    assert done.state == "failed"
    assert (done.result["outcome"], done.result["ok"]) == ("error", False)
    assert (done.result["error"]["kind"], done.result["error"]["sent"]) == (kind, "yes")
    assert done.result["status_code"] == answer.status
    if kind == "status":
        assert done.result["response"] == response


def test_a_redirect_is_an_error_and_is_not_followed(server: RecordingServer) -> None:
    elsewhere = RecordingServer()
    for status in (302, 307):
        server.queued = [Answer(status, headers={"Location": f"{elsewhere.url}/login?token=abc"})]
        done = run_action(body={"a": 1})
        assert done.result["status_code"] == status
        assert f"{elsewhere.url}/login" in done.message
        assert "abc" not in done.message
    assert elsewhere.received == []
    assert len(server.received) == 2
    elsewhere.close()


def test_a_refused_connection_sent_nothing(monkeypatch: pytest.MonkeyPatch, server: RecordingServer) -> None:
    gone = RecordingServer()
    gone.close()
    monkeypatch.setenv("AIRFLOW_CONN_CRM", gone.url)
    error = run_action().result["error"]
    assert (error["kind"], error["sent"]) == ("connect", "no")


def test_a_dropped_connection_leaves_the_fate_unknown(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True)]
    done = run_action(body={"a": 1})
    assert done.result["error"]["sent"] == "unknown"
    assert done.result["status_code"] is None


@pytest.fixture
def slow_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingServer]:
    released = threading.Event()

    def script(_: Received) -> Answer:
        released.wait(10)
        return Answer()

    server = RecordingServer(script)
    monkeypatch.setenv("AIRFLOW_CONN_CRM", server.url)
    yield server
    released.set()
    server.close()


def test_a_slow_answer_ends_at_the_timeout(slow_server: RecordingServer) -> None:
    done = run_action(timeout=0.5, body={"a": 1})
    assert (done.result["error"]["kind"], done.result["error"]["sent"]) == ("timeout", "unknown")
    assert 400 <= done.result["elapsed_ms"] <= 3000


def test_the_connections_timeout_applies(slow_server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", f"{slow_server.url}?__extra__=%7B%22timeout%22%3A0.3%7D")
    done = run_action(body={"a": 1})
    assert done.result["error"]["kind"] == "timeout"
    assert done.result["elapsed_ms"] < 3000


def test_a_reset_and_a_cut_answer_are_errors_of_unknown_fate(monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(peer: Peer) -> None:
        peer.receive()
        peer.reset()

    def cut(peer: Peer) -> None:
        peer.receive()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")

    for script in (reset, cut):
        with closing(HostileServer(script)) as hostile:
            monkeypatch.setenv("AIRFLOW_CONN_CRM", f"http://127.0.0.1:{hostile.port}")
            done = run_action(body={"a": 1})
        assert done.result["outcome"] == "error"
        assert done.result["error"]["sent"] == "unknown"


def test_a_private_address_without_a_connection_is_refused_by_policy(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", "")
    done = run_action(url=f"{server.url}/x", http_conn_id=None)
    assert (done.result["error"]["kind"], done.result["error"]["sent"]) == ("policy", "no")
    assert server.received == []


def test_the_replys_size_limit_is_a_setting(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__RESPONSE_MAX_BYTES", "10")
    server.queued = [Answer(200, b"x" * 11)]
    assert run_action().result["error"]["kind"] == "too_large"


def test_on_error_fail_fails_without_a_second_try(server: RecordingServer) -> None:
    server.queued = [Answer(500)]
    done = run_action(method="GET", retries=0)
    assert done.state == "failed"
    assert "500" in done.message
    assert len(server.received) == 1
    assert done.result["status_code"] == 500


def test_on_error_branch_without_a_branch_operator_fails(server: RecordingServer) -> None:
    server.queued = [Answer(500)]
    done = run_action(on_error="branch")
    assert done.state == "failed"
    assert "WhatsAppBranchOperator" in done.message
    assert done.result["outcome"] == "error"


def test_another_actions_branch_does_not_handle_the_error(server: RecordingServer) -> None:
    server.queued = [Answer(500)]
    failures = Failures()
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(task_id="other", url="/", http_conn_id="crm", on_error="fail")
        act = WhatsAppActionOperator(task_id="act", url="/", http_conn_id="crm", **failures.callbacks)
        act >> WhatsAppBranchOperator(task_id="exit", action="other")
    dag.get_task("other").set_upstream(act)
    assert run_dag(dag).states["act"] == "failed"
    assert "no WhatsAppBranchOperator" in str(failures.errors[0])


def test_response_check_gets_a_response_and_airflows_context(server: RecordingServer) -> None:
    seen: list[Any] = []

    def check(response: requests.Response, ti: Any) -> bool:
        seen.extend([response.json(), response.status_code, response.headers["CONTENT-TYPE"], response.ok, ti.task_id])
        return True

    assert run_action(response_check=check).state == "success"
    assert seen == [{"id": 1}, 200, "application/json", True, "act"]


def _raise(_: requests.Response) -> bool:
    raise KeyError("id")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"response_check": lambda response: False}, "response_check returned false", id="false"),
        pytest.param({"response_check": _raise}, "response_check raised KeyError: 'id'", id="check-raises"),
        pytest.param({"response_filter": _raise}, "response_filter raised KeyError: 'id'", id="filter-raises"),
        pytest.param({"response_filter": lambda response: response}, "response_filter raised", id="unsendable"),
    ],
)
def test_a_failed_check_does_not_resend(server: RecordingServer, arguments: dict[str, Any], words: str) -> None:
    done = run_action(retries=2, **arguments)
    assert done.state == "failed"
    assert words in done.message
    assert (done.result["error"]["kind"], done.result["error"]["sent"]) == ("response_check", "yes")
    assert done.result["response"] == {"id": 1}
    assert len(server.received) == 1


def test_response_filter_replaces_the_response(server: RecordingServer) -> None:
    done = run_action(response_filter=lambda response: {"id": response.json()["id"], "tags": ("a", "b")})
    assert done.result["response"] == {"id": 1, "tags": ["a", "b"]}


def test_success_when_decides_over_a_2xx(server: RecordingServer) -> None:
    condition = "response.error is none"
    server.queued = [Answer.json({"error": "no such contact"}), Answer.json({"error": None}), Answer.json({})]
    refused = run_action(success_when=condition).result
    assert (refused["outcome"], refused["error"]["kind"]) == ("error", "success_when")
    assert run_action(success_when=condition).result["outcome"] == "success"
    uncomputable = run_action(success_when="response.total > 1").result
    assert (uncomputable["outcome"], uncomputable["error"]["kind"]) == ("error", "success_when")


def test_replies_are_logged_only_with_log_response(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer.json({"word": "Xylophon"}), Answer.json({"word": "Xylophon"})]
    run_action()
    assert "Xylophon" not in task_log.text
    run_action(log_response=True)
    assert "Xylophon" in task_log.text


def test_deferrable_has_no_effect(server: RecordingServer) -> None:
    done = run_action(deferrable=True, body={"a": 1})
    assert done.state == "success"
    assert [request.content for request in server.received] == [b'{"a":1}']


def test_cookies_of_a_reply_are_neither_shown_nor_sent_later(server: RecordingServer) -> None:
    server.queued = [Answer.json({}, **{"Set-Cookie": "session=s3cret"})]
    assert "s3cret" not in str(run_action().result)
    run_action()
    assert "cookie" not in server.received[1].names()


def test_proxy_variables_of_the_environment_are_ignored(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY")
    assert run_action().state == "success"

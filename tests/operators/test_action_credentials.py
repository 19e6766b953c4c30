"""Credentials are sent to the connection's own origin, and shown nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth

from airflow_whatsapp_flows import WhatsAppActionHook
from tests.operators.conftest import TaskLog
from tests.operators.one_action import FinishedAction, rendered_fields, run_action
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

SECRET = 'p/ä+s&"w%rd 9'


def _connect(monkeypatch: pytest.MonkeyPatch, server: RecordingServer, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"host": server.url, **fields}))


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        pytest.param(
            {"conn_type": "whatsapp_action", "login": "ana", "password": SECRET},
            "Authorization",
            "Basic " + base64.b64encode(f"ana:{SECRET}".encode()).decode(),
            id="basic",
        ),
        pytest.param(
            {"conn_type": "http", "login": "ana", "password": "x"},
            "Authorization",
            "Basic " + base64.b64encode(b"ana:x").decode(),
            id="http-basic",
        ),
        pytest.param(
            {"conn_type": "whatsapp_action", "password": "tok-123"}, "Authorization", "Bearer tok-123", id="bearer"
        ),
        pytest.param(
            {
                "conn_type": "whatsapp_action",
                "password": "k-123",
                "extra": {"auth": "header", "header_name": "X-Api-Key"},
            },
            "X-Api-Key",
            "k-123",
            id="header",
        ),
        pytest.param(
            {"conn_type": "http", "extra": {"Authorization": "Bearer abcd"}}, "Authorization", "Bearer abcd", id="extra"
        ),
        pytest.param(
            {"conn_type": "whatsapp_action", "extra": {"headers": {"X-Tenant": "7"}}}, "X-Tenant", "7", id="headers"
        ),
    ],
)
def test_sends_the_credentials_of_the_connection(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], name: str, value: str
) -> None:
    _connect(monkeypatch, server, **fields)
    assert run_action().state == "success"
    assert server.received[0].header(name) == value


def test_auth_type_replaces_the_connections_credentials(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _connect(monkeypatch, server, conn_type="whatsapp_action", login="ana", password="x")

    class Signature(AuthBase):
        def __init__(self, login: str, password: str) -> None:
            self.login = login

        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["X-Signature"] = f"{self.login} {request.method} {request.url} {len(request.body or b'')}"
            return request

    run_action(auth_type=Signature, body={"a": 1})
    [request] = server.received
    assert request.header("X-Signature") == f"ana POST {server.url}/contacts 7"
    assert request.header("Authorization") is None
    run_action(auth_type=HTTPBasicAuth)
    assert server.received[1].header("Authorization") == "Basic " + base64.b64encode(b"ana:x").decode()


def test_an_absolute_url_to_another_origin_gets_no_credentials(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RecordingServer()
    _connect(monkeypatch, server, conn_type="whatsapp_action", password="tok-123", extra={"headers": {"X-Key": "k"}})
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", other.host)
    assert run_action(url=f"{other.url}/x").state == "success"
    assert "authorization" not in other.received[0].names()
    assert "x-key" not in other.received[0].names()
    assert run_action(url=f"{server.url}/x").state == "success"
    assert server.received[0].header("Authorization") == "Bearer tok-123"
    other.close()


def test_an_authors_header_overrides_netrc(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login evil password evil\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    run_action(headers={"Authorization": "Bearer mine"})
    run_action()
    assert [request.header("Authorization") for request in server.received] == ["Bearer mine", None]


def _forms(secret: str) -> list[str]:
    encoded = base64.b64encode(secret.encode()).decode()
    login = base64.b64encode(f"ana:{secret}".encode()).decode()
    return [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), encoded, login, json.dumps(secret)[1:-1]]


def _visible_text(done: FinishedAction) -> str:
    stored = rendered_fields(done.dag.dag_id, done.run.run_id)
    failures = [f"{error!r} {error.__cause__!r} {error.__context__!r}" for error in done.errors]
    return repr([done.run.xcoms, stored, failures, done.dag.get_task("act").__dict__])


@pytest.mark.parametrize(
    "answer", [Answer.json({"id": 1}), Answer(500), Answer(drop=True), Answer(302)], ids=["200", "500", "cut", "302"]
)
@pytest.mark.parametrize("auth", ["basic", "bearer", "header"])
def test_secrets_are_in_no_xcom_rendered_field_error_or_log(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog, auth: str, answer: Answer
) -> None:
    secret = "Zk9/ä+&%" if auth == "basic" else "Zk9/+&%q"
    extra = {"auth": auth, **({"header_name": "X-Api-Key"} if auth == "header" else {})}
    _connect(monkeypatch, server, conn_type="whatsapp_action", login="ana", password=secret, extra=extra)
    server.queued = [answer]
    done = run_action(
        query_params={"token": "{{ contact.token }}"}, body={"a": 1}, conf={"contact": {"token": "qqtokqq"}}
    )
    assert len(server.received) == 1
    sent = server.received[0]
    assert any(form in value for _, value in sent.headers for form in _forms(secret))
    for form in _forms(secret):
        assert form not in _visible_text(done)
        assert form not in task_log.text
    assert "qqtokqq" not in _visible_text(done)
    ours = "\n".join(entry for entry in task_log.entries if "/contacts" in entry)
    assert "qqtokqq" not in ours


def test_an_unusable_secret_is_not_in_the_error(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, server, conn_type="whatsapp_action", password="Zk9\r\nX-Evil: 1")
    done = run_action()
    assert done.state == "failed"
    assert "Zk9" not in _visible_text(done)
    assert server.received == []


@pytest.mark.parametrize("place", ["/api?token={}", "?api_key={}"])
def test_refuses_a_secret_in_the_query_of_a_base_url(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog, place: str
) -> None:
    host = server.url + place.format("s3cret-in-query")
    _connect(monkeypatch, server, conn_type="whatsapp_action", host=host)

    done = run_action(body={"a": 1})

    assert done.state == "failed"
    assert "connection 'crm': host must be" in done.message
    assert "authentication 'bearer' or 'header'" in done.message
    assert server.received == []
    shown = (task_log.text, done.message, str(done.run.xcoms), str(rendered_fields(done.dag.dag_id, done.run.run_id)))
    assert not any("s3cret" in text for text in shown)
    assert WhatsAppActionHook("crm").test_connection() == (False, done.message.removeprefix("act: "))


@pytest.mark.parametrize("status", [200, 422])
def test_sends_but_never_shows_a_token_in_the_path(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog, tmp_path: Path, status: int
) -> None:
    token = "8123456789aabbccddeeff00112233"
    _connect(monkeypatch, server, conn_type="whatsapp_action", host=f"{server.url}/bot/{token}")
    server.queued = [Answer.json({"you": f"asked for /bot/{token}/contacts"}, status)]

    done = run_action(body={"a": 1})

    assert [request.target for request in server.received] == [f"/bot/{token}/contacts"]
    assert done.state == ("success" if status == 200 else "failed")
    written = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*") if file.is_file())
    assert b"bot/***" in written
    shown = (
        task_log.text,
        str(done.errors),
        str(done.run.xcoms),
        str(rendered_fields(done.dag.dag_id, done.run.run_id)),
    )
    assert not any(token in text for text in shown)
    assert token.encode() not in written


def test_log_response_masks_before_it_truncates(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    _connect(monkeypatch, server, conn_type="whatsapp_action", password="canary-0123456789abcdef")
    server.queued = [Answer.json("x" * 9_985 + "canary-0123456789abcdef and more")]

    run_action(http_conn_id="crm", url="/", log_response=True)

    assert "xxx***" in task_log.text
    assert "canary" not in task_log.text

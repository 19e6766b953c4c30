"""The hook reads connections like Airflow's own HTTP hook."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.http.hooks.http import HttpHook

from airflow_whatsapp_flows import WhatsAppActionHook
from airflow_whatsapp_flows.errors import ConnectionConfigError
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="plain"),
        pytest.param({"login": "ana", "password": "pw"}, id="basic"),
        pytest.param({"extra": {"X-Tenant": "7", "Authorization": "Bearer t"}}, id="extra-headers"),
        pytest.param({"extra": {"timeout": 5, "verify": False, "X-A": "b"}}, id="options-are-no-headers"),
    ],
)
def test_sends_the_same_as_airflows_http_hook(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    from tests.operators.one_action import run_action

    host, _, port = server.host.partition(":")
    connection = {"conn_type": "http", "schema": "http", "host": host, "port": int(port), **fields}
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(connection))
    HttpHook("GET", "crm").run("/contacts")
    run_action(method="GET")
    theirs, ours = server.received
    assert (theirs.method, theirs.target) == (ours.method, ours.target)
    for name in ("Authorization", "X-Tenant", "X-A", "timeout", "verify"):
        assert theirs.header(name) == ours.header(name)


def test_a_missing_connection_is_a_package_error() -> None:
    with pytest.raises(ConnectionConfigError, match="the connection 'nope' does not exist"):
        WhatsAppActionHook("nope").action_connection()


@pytest.mark.parametrize(("status", "works"), [(200, True), (404, True), (500, True), (401, False), (403, False)])
def test_the_test_button_reports_whether_the_credentials_work(
    server: RecordingServer, status: int, works: bool
) -> None:
    server.queued = [Answer(status)]
    tested, message = WhatsAppActionHook("crm").test_connection()
    assert tested is works
    assert str(status) in message


def test_the_test_button_reports_a_missing_server(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = RecordingServer()
    gone.close()
    monkeypatch.setenv("AIRFLOW_CONN_CRM", gone.url)
    assert WhatsAppActionHook("crm").test_connection()[0] is False


def test_the_test_button_shows_no_token_of_the_base_url(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "8123456789aabbccddeeff00112233"
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "http", "host": f"{server.url}/bot/{token}"}))

    works, message = WhatsAppActionHook("crm").test_connection()

    assert (works, message) == (True, f"{server.url}/bot/***/ answered 200 OK")
    assert server.received[0].target == f"/bot/{token}/"

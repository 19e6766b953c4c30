"""Sending without Airflow: retries, waits, limits, and files from allowed places only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, TransportFailure
from airflow_whatsapp_flows.flow.walk.perform import SendAction
from airflow_whatsapp_flows.sender import RequestSender, read_local_file
from airflow_whatsapp_flows.settings import Settings
from tests.servers.recording import Answer, RecordingServer


def _deliver(server: RecordingServer, **keys: Any) -> tuple[Any, list[float]]:
    step = {"name": "A", "type": "action", "connection": "crm", "url": "/c", **keys}
    action: Any = load_flow({"flow_format": 1, "id": "f", "steps": [step]}).steps["A"]
    waits: list[float] = []
    request_sender = RequestSender(
        Settings((server.host,)), lambda conn_id: ActionConnection(conn_id, server.url), waits.append
    )
    request = HttpRequest(action.plan.method, "/c", connection="crm")
    return request_sender.deliver(SendAction(action, 1, request, "key")), waits


def test_retries_repeatable_requests_with_pauses(server: RecordingServer) -> None:
    server.queued = [Answer(503, headers={"Retry-After": "2"}), Answer(503)]
    result, waits = _deliver(server, method="GET", retry={"attempts": 3, "wait": 1})
    assert (result.outcome.value, result.attempts, waits[0]) == ("success", 3, 2.0)
    assert 0 <= waits[1] <= 2


def test_sends_at_most_once_requests_once(server: RecordingServer) -> None:
    server.queued = [Answer(500)]
    result, waits = _deliver(server)
    assert (result.attempts, waits, len(server.received)) == (1, [], 1)


def test_a_later_answer_does_not_hide_a_doubt(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True), Answer(404)]
    result, waits = _deliver(server, delivery="idempotent", retry={"attempts": 3, "wait": 0})
    assert (result.status_code, result.error.sent.value, result.attempts, len(waits)) == (404, "unknown", 2, 1)


def test_a_reply_that_asks_to_slow_down_is_waited_for(server: RecordingServer) -> None:
    slow = Answer(400, b'{"code": "slow"}', {"Content-Type": "application/json", "Retry-After": "9"})
    server.queued = [slow, slow]
    retry = {"slow_down_when": "response.code == 'slow'"}
    result, waits = _deliver(server, retry=retry)
    assert (result.outcome.value, result.attempts, waits) == ("success", 3, [9.0, 9.0])


def test_does_not_resend_an_expired_key(server: RecordingServer) -> None:
    server.queued = [Answer(503, headers={"Retry-After": "60"})]
    result, waits = _deliver(server, delivery="keyed", key_lifetime=60)
    assert (waits, len(server.received)) == ([], 1)
    assert (result.status_code, result.error.sent.value) == (503, "unknown")
    assert "key_lifetime" in result.error.message


def test_a_path_without_a_connection_is_refused() -> None:
    def none(_: str) -> ActionConnection:
        raise AssertionError

    with pytest.raises(ConnectionConfigError, match="no host"):
        RequestSender(Settings(), none).prepare(None, HttpRequest("GET", "/c"), 1)


def test_an_invalid_allowed_host_fails_before_anything_is_sent() -> None:
    with pytest.raises(ConnectionConfigError, match=r"10\.0\.0\.0/33"):
        RequestSender(Settings(allowed_hosts=("10.0.0.0/33",)), lambda _: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("file", "allowed", "is_fetched"),
    [
        pytest.param("{{ step.Photo }}", "allowed_hosts", False, id="an answer, allowed for the flow"),
        pytest.param("{{ step.Photo.url }}", "allowed_hosts", False, id="a part of an answer"),
        pytest.param("http://{{ step.Host }}/a.jpg", "allowed_hosts", False, id="a host from an answer"),
        pytest.param("{{ step.Photo }}", "media_hosts", True, id="an answer, allowed for media"),
        pytest.param("http://HOST/a.jpg", "allowed_hosts", True, id="written in the flow"),
        pytest.param("http://HOST/{{ step.Name }}", "allowed_hosts", True, id="a path from an answer"),
        pytest.param("http://HOST/a.jpg", "media_hosts", False, id="written in the flow, allowed for media"),
    ],
)
def test_fetches_files_named_by_answers_only_from_allowed_hosts(
    server: RecordingServer, file: str, allowed: str, is_fetched: bool
) -> None:
    steps = [
        {"name": "Photo", "type": "question", "next": "Host"},
        {"name": "Host", "type": "question", "next": "Name"},
        {"name": "Name", "type": "question", "next": "A"},
        {"name": "A", "type": "action", "url": "https://crm.example/c", "body_type": "multipart",
         "body": [{"name": "f", "file": file.replace("HOST", server.host)}]},
    ]  # fmt: skip
    action: Any = load_flow({"flow_format": 1, "id": "f", "steps": steps}).steps["A"]
    photo = {"url": f"http://{server.host}/a.jpg", "filename": "a.jpg", "content_type": "image/jpeg"}
    (source,) = action.plan.file_sources({"step": {"Photo": photo, "Host": server.host, "Name": "a.jpg"}})
    request_sender = RequestSender(
        Settings(**{allowed: (server.host,)}), lambda _: pytest.fail("no connection is used")
    )

    got = request_sender.fetch(source, 5)

    assert (isinstance(got, FileContent), len(server.received)) == (is_fetched, int(is_fetched))
    if isinstance(got, TransportFailure):
        assert got.kind is ErrorKind.POLICY


def test_local_files_are_read_only_from_below_the_allowed_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_bytes(b"a")
    (tmp_path / "secret.txt").write_bytes(b"s")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert read_local_file("a.txt", str(root)) == FileContent(b"a", "a.txt", "text/plain")
    for path in ("../secret.txt", str(tmp_path / "secret.txt"), "link.txt", "nope.txt", ".", "a\0b"):
        assert isinstance(read_local_file(path, str(root)), TransportFailure)
    assert isinstance(read_local_file("a.txt", None), TransportFailure)

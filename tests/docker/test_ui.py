"""``make ui`` reports what it starts, and keeps its ports if they are free."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ui

from tests.servers.recording import Answer, RecordingServer


@pytest.fixture
def airflow() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands in for Airflow until the test ends."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def test_a_used_port_is_replaced_and_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        monkeypatch.setenv("WHATSAPP_FLOWS_CRM_PORT", str(wanted))
        other = ui.port_of("WHATSAPP_FLOWS_CRM_PORT", 8000)
        said = capsys.readouterr().out
    assert other != wanted
    assert said == f"Port {wanted} is taken; using {other} (WHATSAPP_FLOWS_CRM_PORT sets another)\n"
    assert ui.port_of("WHATSAPP_FLOWS_CRM_PORT", 8000) == wanted
    assert capsys.readouterr().out == ""


def test_reports_started_and_missing_parts_of_airflow(
    airflow: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "REPORT_SECONDS", 0)
    server = RecordingServer(lambda _: _health(len(server.received)))
    said: list[str] = []
    try:
        assert ui.wait_until_up(airflow, f"{server.url}/health", said.append)
    finally:
        server.close()
    kinds = [line.partition(" after ")[0].partition(";")[0] for line in said]
    assert list(dict.fromkeys(kinds)) == [
        "Waiting for API server, scheduler, DAG processor",
        "The API server is up",
        "Waiting for scheduler, DAG processor",
        "The scheduler is up",
        "Waiting for DAG processor",
        "The DAG processor is up",
    ]


def test_does_not_wait_for_an_airflow_that_exited() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not ui.wait_until_up(gone, "http://127.0.0.1:9/health")
    assert not ui.wait_for_dag(gone, "http://127.0.0.1:9")


def _health(asked: int) -> Answer:
    """A health check that finds one more component with each call."""
    if asked == 1:
        return Answer(503)
    found = {"scheduler": asked > 2, "dag_processor": asked > 3}
    return Answer.json({part: {"status": "healthy" if up else None} for part, up in found.items()})


def test_shows_the_password_that_airflow_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "PASSWORDS", tmp_path / "passwords.json")
    assert ui.password() is None
    (tmp_path / "passwords.json").write_text('{"admin": "x"}', encoding="utf-8")
    assert ui.password() == "x"

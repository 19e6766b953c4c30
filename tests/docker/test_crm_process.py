"""The server process: output, shutdown, and persistence."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from demo_crm.app import create_app
from demo_crm.process import running, start, stop

SERVER = Path(__file__).resolve().parents[2] / "docker" / "demo_crm" / "server.py"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_prints_one_line_and_stops_on_request(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, SERVER, "--host", "127.0.0.1", "--port", "0", "--database", tmp_path / "crm.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("demo CRM listening on http://127.0.0.1:")
    with httpx.Client(base_url=line.split()[-1], trust_env=False) as client:
        assert client.get("/_health").json() == {"status": "ok"}
        begun = time.monotonic()
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert (process.returncode, rest, complaints) == (0, "", "")


def test_it_reads_its_settings_from_the_environment(tmp_path: Path) -> None:
    settings = {"DEMO_CRM_HOST": "127.0.0.1", "DEMO_CRM_PORT": "0", "DEMO_CRM_DATABASE": str(tmp_path / "crm.db")}
    process = subprocess.Popen(
        [sys.executable, SERVER], stdout=subprocess.PIPE, text=True, env={**os.environ, **settings}
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("demo CRM listening on http://127.0.0.1:")
    assert stop(process) == 0
    assert (tmp_path / "crm.db").exists()


def test_a_port_in_use_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RuntimeError, match="before it was ready"):
        start(tmp_path / "crm.db", port=taken.getsockname()[1])
    assert "Address already in use" in capfd.readouterr().err


def test_a_key_in_progress_is_refused_and_dies_with_the_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "crm.db"
    content = {
        "content": b'{"phone": "+1"}',
        "headers": {"Content-Type": "application/json", "Idempotency-Key": "slow"},
    }
    process, url = start(database)
    try:
        with httpx.Client(base_url=url, trust_env=False) as client:
            client.put("/_switches", json={"delay": 60})
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/contacts", timeout=0.5, **content)
            reply = client.post("/v1/contacts", **content)
            assert (reply.status_code, reply.json()["error"]) == (409, "idempotency_key_in_use")
    finally:
        begun = time.monotonic()
        assert stop(process) == 0
    assert time.monotonic() - begun < 5
    with running(database) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/v1/contacts").json() == []
        assert client.post("/v1/contacts", **content).status_code == 201


def test_recorded_answers_survive_a_kill(tmp_path: Path) -> None:
    database = tmp_path / "crm.db"
    headers = {"Idempotency-Key": "kept"}
    process, url = start(database)
    try:
        first = httpx.post(f"{url}/v1/leads", data={"a": "b"}, headers=headers, trust_env=False)
    finally:
        process.kill()
        stop(process)
    with running(database) as url:
        again = httpx.post(f"{url}/v1/leads", data={"a": "b"}, headers=headers, trust_env=False)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")


def test_a_person_can_read_the_database(tmp_path: Path) -> None:
    with running(tmp_path / "crm.db") as url:
        httpx.post(f"{url}/v1/notes", content="a: ñ", headers={"Content-Type": "application/yaml"}, trust_env=False)
    connection = sqlite3.connect(tmp_path / "crm.db")
    try:
        assert json.loads(connection.execute("SELECT data FROM notes").fetchone()[0]) == {"a": "ñ"}
    finally:
        connection.close()


async def test_two_apps_share_nothing() -> None:
    clients = [
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(":memory:")), base_url="http://crm.test")
        for _ in range(2)
    ]
    await clients[0].post("/v1/leads", data={"a": "b"})
    await clients[0].put("/_switches", json={"status": 500})
    assert (await clients[1].get("/v1/orders/1001")).status_code == 200
    assert "&quot;a&quot;" not in (await clients[1].get("/")).text
    for client in clients:
        await client.aclose()

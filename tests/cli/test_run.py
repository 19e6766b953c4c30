"""``whatsapp-flows run``: one contact, shown step by step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Cli, Write, action, flow
from tests.servers.hostile import HostileServer, Peer
from tests.servers.recording import Answer, RecordingServer

LEAD = Path(__file__).resolve().parents[2] / "dags" / "flows" / "lead_to_crm.json"
ANSWERS = {"id": "r-1", "contact": {"phone": "+525512345678"}, "step": {"Ask name": "Ana María", "Ask age": 41}}


def test_text_shows_each_step_with_its_exit_and_messages(cli: Cli, write: Write, server: RecordingServer) -> None:
    done = cli("run", LEAD, "--response", write("r.json", ANSWERS))

    lines = done.out.splitlines()
    assert (done.status, done.err) == (0, "")
    assert "Create contact: success → Say thanks" in lines
    assert "    says: Thanks Ana María, you are customer number 1." in lines
    assert any(f"POST {server.url}/v1/contacts?upsert=true: 200 OK" in line for line in lines)
    assert lines[-1] == "completed"


def test_json_has_path_state_and_every_result(cli: Cli, write: Write, server: RecordingServer) -> None:
    server.queued.append(Answer.json({"error": "broken"}, 500))

    done = cli("run", LEAD, "--response", write("r.json", ANSWERS), "--format", "json")

    shown = json.loads(done.out)
    assert done.status == 0
    assert set(shown) == {"state", "reason", "path", "handled_errors", "unanswered", "visits"}
    assert (shown["state"], shown["handled_errors"]) == ("completed", 1)
    assert shown["path"] == ["Ask name", "Ask age", "Create contact", "Tell sales", "Say we will call"]
    created = shown["visits"][2]
    assert (created["exit"], created["next"]) == ("error", "Tell sales")
    assert created["result"]["error"] == {
        "kind": "status",
        "message": "the server answered 500 Internal Server Error",
        "sent": "yes",
    }


@pytest.mark.parametrize(
    ("steps", "reply", "last"),
    [
        ([action("Call")], Answer(404), "failed: Call: the server answered 404 Not Found"),
        ([action("Call")], Answer(500), "in_doubt: Call: the server answered 500 Internal Server Error"),
        ([action("Call")], Answer(drop=True), "in_doubt: Call: "),
        ([action("Call", body={"a": "{{ contact.a }}"})], Answer(), "failed: Call: "),
        (
            [action("Call", on_error="End"), {"name": "End", "type": "end", "state": "failed", "reason": "no luck"}],
            Answer(409),
            "failed, 1 error(s) handled: no luck",
        ),
    ],
)
def test_a_contact_that_does_not_complete_is_status_3(
    cli: Cli, write: Write, server: RecordingServer, steps: list[dict[str, object]], reply: Answer, last: str
) -> None:
    server.queued.append(reply)

    done = cli("run", write("f.json", flow(*steps)), "--response", write("r.json", {}))

    assert done.status == 3
    assert done.out.splitlines()[-1].startswith(last)


def test_a_rejected_contact_is_status_3_and_sends_nothing(cli: Cli, write: Write, server: RecordingServer) -> None:
    file = write("f.json", flow(action("Call"), variables={"campaign": {"required": True}}))

    done = cli("run", file, "--response", write("r.json", {}))

    assert done.status == 3
    assert done.out == "rejected: flow_execution_variables.campaign is required, but is missing\n"
    assert server.received == []


def test_rejects_a_missing_connection_before_sending(
    cli: Cli, write: Write, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_BILLING", raising=False)
    steps = [action("Call", on_success="Bill"), action("Bill", connection="billing")]

    done = cli("run", write("f.json", flow(*steps)), "--response", write("r.json", {}))

    assert (done.status, done.out) == (1, "")
    assert "AIRFLOW_CONN_BILLING" in done.err
    assert server.received == []


@pytest.mark.parametrize(
    "variable", [{"AIRFLOW_CONN_CRM": "{not json"}, {"AIRFLOW__WHATSAPP_FLOWS__RESPONSE_MAX_BYTES": "many"}]
)
def test_names_an_unusable_setting(
    cli: Cli, write: Write, server: RecordingServer, monkeypatch: pytest.MonkeyPatch, variable: dict[str, str]
) -> None:
    for name, value in variable.items():
        monkeypatch.setenv(name, value)

    done = cli("run", LEAD, "--response", write("r.json", ANSWERS))

    assert (done.status, done.out) == (1, "")
    assert next(iter(variable)).lower().rpartition("__")[2] in done.err.lower()
    assert server.received == []


@pytest.mark.parametrize("words", [["run"], ["run", "f.json"], ["run", "f.json", "--response", "r", "--format", "xml"]])
def test_a_usage_error_is_status_2(cli: Cli, words: list[str]) -> None:
    done = cli(*words)

    assert done.status == 2
    assert done.err.startswith("usage: whatsapp-flows run")


def test_a_response_that_does_not_exist_is_refused(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", LEAD, "--response", tmp_path / "nothing.json")

    assert done.status == 1
    assert "No such file" in done.err


def test_rejects_a_lone_surrogate_in_an_answer(process: Cli, write: Write) -> None:
    file = write("f.json", flow({"name": "Hi", "type": "message", "body": "Hi {{ contact.name }}"}))
    response = write("r.json", b'{"contact": {"name": "\\ud83d"}}')

    done = process("run", file, "--response", response)

    assert (done.status, done.out) == (1, "")
    assert "r.json: half of a surrogate pair is not a character" in done.err


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_interruption_names_the_request_and_shows_earlier_steps(write: Write, form: str) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.wait_for_client_to_close()

    server = HostileServer(script)
    host = server.url("").removeprefix("http://")
    env = {**os.environ, "AIRFLOW_CONN_CRM": f"http://{host}", "AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS": host}
    command = [*COMMAND, "run", str(LEAD), "--response", str(write("r.json", ANSWERS)), "--format", form]
    # If a shell runs the tests in the background, they and their children ignore the signal.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)
    finally:
        signal.signal(signal.SIGINT, ignored)
    with started as running:
        assert server.accepted.wait(30)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    server.close()

    assert running.returncode == 130
    assert err == "interrupted; the request of 'Create contact' may have been sent\n"
    if form == "json":
        shown = json.loads(out)
        assert (shown["state"], shown["path"]) == (None, ["Ask name", "Ask age"])
    else:
        assert out.splitlines()[0] == "Ask name: next → Ask age"


def test_shows_the_reply_of_a_refusing_server(cli: Cli, write: Write, server: RecordingServer) -> None:
    server.queued.append(Answer.json({"error": "email is taken \x1b[31m", "phone": "+525512345678"}, 422))

    done = cli("run", write("f.json", flow(action("Call"))), "--response", write("r.json", {}))

    assert '    reply: {"error":"email is taken \\u001b[31m","phone":"+52…78"}' in done.out.splitlines()


@pytest.mark.parametrize("host", ["https://crm.example/api?token=s3cret", "https://ana:s3cret@crm.example/api"])
def test_a_secret_in_a_base_url_is_refused_and_not_shown(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": "whatsapp_action", "host": host}))

    done = cli("run", LEAD, "--response", write("r.json", ANSWERS))

    assert done.status == 1
    assert "connection 'crm': host must be" in done.err
    assert "s3cret" not in done.out + done.err

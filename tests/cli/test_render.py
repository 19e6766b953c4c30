"""``whatsapp-flows render``: the exact request of one step."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, Write, action, flow
from tests.servers.recording import Received, RecordingServer

EXAMPLES = Path(__file__).resolve().parents[2] / "dags" / "flows"
LEAD = EXAMPLES / "lead_to_crm.json"
ANSWERS = {"contact": {"phone": "+525512345678"}, "step": {"Ask name": "Ana\n'María' $(id) \\", "Ask age": 41}}
BODY = (
    '{"name":"Ana\\n\'María\' $(id) \\\\","phone":"+525512345678","age":41,"campaign":"organic",'
    '"tags":["whatsapp","lead"]}'
).encode()


def as_json(cli: Cli, *words: object) -> dict[str, Any]:
    done = cli("render", *words, "--format", "json")
    assert (done.status, done.err) == (0, "")
    value: dict[str, Any] = json.loads(done.out)
    return value


def test_json_has_the_whole_request_with_its_body_in_base64(cli: Cli, write: Write, server: RecordingServer) -> None:
    shown = as_json(cli, LEAD, "--step", "Create contact", "--response", write("r.json", ANSWERS))

    assert shown == {
        "method": "POST",
        "url": f"{server.url}/v1/contacts?upsert=true",
        "headers": [["X-Source", "whatsapp"], ["Content-Type", "application/json"]],
        "body_base64": base64.b64encode(BODY).decode(),
    }
    assert server.received == []


def test_http_shows_head_and_body(process: Cli, write: Write, server: RecordingServer) -> None:
    done = process("render", LEAD, "--step", "Create contact", "--response", write("r.json", ANSWERS))

    assert done.status == 0
    assert done.out == (
        f"POST {server.url}/v1/contacts?upsert=true HTTP/1.1\n"
        "X-Source: whatsapp\nContent-Type: application/json\n\n" + BODY.decode() + "\n"
    )


def test_the_response_may_come_from_standard_input(process: Cli, server: RecordingServer) -> None:
    words = ("render", LEAD, "--step", "Create contact", "--response", "-", "--format", "json")

    done = process(*words, stdin=json.dumps(ANSWERS).encode())

    assert base64.b64decode(json.loads(done.out)["body_base64"]) == BODY


def test_shows_a_request_without_origin_if_the_connection_is_missing(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CRM", raising=False)

    done = cli("render", LEAD, "--step", "Create contact", "--response", write("r.json", ANSWERS), "--format", "json")

    assert done.status == 0
    assert json.loads(done.out)["url"] == "/v1/contacts?upsert=true"
    assert "AIRFLOW_CONN_CRM" in done.err


def test_no_format_shows_connection_credentials(cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", "https://user:s3cretword@crm.example")
    response = write("r.json", ANSWERS)

    for form in ("http", "curl", "json"):
        done = cli("render", LEAD, "--step", "Create contact", "--response", response, "--format", form)
        assert "s3cretword" not in done.out + done.err
        assert base64.b64encode(b"user:s3cretword").decode() not in done.out


class TestStepsAfterOthers:
    RECORDED = {**ANSWERS, "actions": {"Create contact": [{"outcome": "error", "status_code": 500}]}}  # noqa: RUF012

    def test_renders_a_step_after_an_action_from_its_recorded_result(self, cli: Cli, write: Write) -> None:
        done = cli("render", LEAD, "--step", "Tell sales", "--response", write("r.json", self.RECORDED))

        assert done.status == 0
        assert done.out.endswith("&reason=the+CRM+answered+500\n")

    def test_without_a_recorded_result_it_names_what_to_add(self, cli: Cli, write: Write) -> None:
        done = cli("render", LEAD, "--step", "Tell sales", "--response", write("r.json", ANSWERS))

        assert (done.status, done.out) == (1, "")
        assert "'Create contact' comes before 'Tell sales'" in done.err
        assert '"actions": {"Create contact": ' in done.err

    def test_an_unreached_step_is_refused_with_the_path(self, cli: Cli, write: Write) -> None:
        done_well = {**ANSWERS, "actions": {"Create contact": [{"outcome": "success", "response": {"id": 7}}]}}

        done = cli("render", LEAD, "--step", "Tell sales", "--response", write("r.json", done_well))

        assert (done.status, done.out) == (1, "")
        assert "Ask name → Ask age → Create contact → Say thanks" in done.err

    def test_does_not_fetch_a_file_for_a_recorded_action(self, cli: Cli, write: Write, server: RecordingServer) -> None:
        steps = [
            action("Upload", body_type="multipart", body=[{"name": "f", "file": f"{server.url}/f"}], on_success="Call"),
            action("Call", body={"id": "{{ step.Upload.response.id }}"}),
        ]
        recorded = {"actions": {"Upload": {"outcome": "success", "response": {"id": 3}}}}

        shown = as_json(cli, write("f.json", flow(*steps)), "--step", "Call", "--response", write("r.json", recorded))

        assert base64.b64decode(shown["body_base64"]) == b'{"id":3}'
        assert server.received == []


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("Create contct", "did you mean 'Create contact'?"),
        ("Ask name", "there is no action step named 'Ask name'"),
        ("", "there is no action step named ''"),
    ],
)
def test_a_step_that_is_not_an_action_is_refused(cli: Cli, write: Write, step: str, words: str) -> None:
    done = cli("render", LEAD, "--step", step, "--response", write("r.json", ANSWERS))

    assert (done.status, done.out) == (1, "")
    assert words in done.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "r.json:1:2: not JSON"),
        (b'{"step":\n x}', "r.json:2:2: not JSON"),
        (b'{"id": 1, "id": 2}', "same key twice: 'id'"),
        (b'{"step": {"a": "\\ud800"}}', "half of a surrogate pair"),
        (b'"text"', "a contact response must be an object"),
        (b'{"contct": {}}', "did you mean 'contact'?"),
        (b'{"contact": {"n": NaN}}', "NaN"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b'{"contact": []}', "'contact' of a contact response must be an object"),
        (json.dumps({**ANSWERS, "actions": {"Create contact": {"outcome": "maybe"}}}).encode(), "'outcome'"),
    ],
    ids=["cut", "syntax", "twice", "surrogate", "text", "key", "nan", "bytes", "deep", "list", "outcome"],
)
def test_names_an_unusable_response(cli: Cli, write: Write, content: bytes, words: str) -> None:
    file = write("r.json", content)

    done = cli("render", LEAD, "--step", "Tell sales", "--response", file)

    assert (done.status, done.out) == (1, "")
    assert words in done.err


def test_a_flow_with_faults_is_refused_with_its_faults(cli: Cli, write: Write) -> None:
    file = write("f.json", flow(action("Call", on_success="Nowhere")))

    done = cli("render", file, "--step", "Call", "--response", write("r.json", {}))

    assert done.status == 1
    assert "there is no step named 'Nowhere'" in done.err


def test_reports_a_missing_value_without_a_traceback(cli: Cli, write: Write) -> None:
    file = write("f.json", flow(action("Call", body={"plan": "{{ contact.plan }}"})))

    done = cli("render", file, "--step", "Call", "--response", write("r.json", {}))

    assert done.status == 1
    assert "plan" in done.err


def test_a_connection_whose_host_is_not_ascii_is_shown(
    process: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", "https://münchen.example")

    done = process("render", LEAD, "--step", "Create contact", "--response", write("r.json", ANSWERS))

    assert done.status == 0
    assert done.out.startswith("POST https://münchen.example/v1/contacts")


class TestCurl:
    """The printed command, run by a real shell, sends what ``run`` sends."""

    STEPS = {  # noqa: RUF012
        "quotes": {"body": {"text": "{{ contact.text }}"}},
        "form": {"body_type": "form", "body": {"text": "{{ contact.text }}"}},
        "plain": {"body_type": "plain", "body": "{{ contact.text }}"},
        "like a file": {"body_type": "plain", "body": "@/etc/hostname"},
        "only a line break": {"body_type": "plain", "body": "\r\n"},
        "NUL": {"body_type": "plain", "body": "a\0b"},
        "long": {"body_type": "plain", "body": "x{{ contact.long }}"},
        "get": {"method": "GET", "url": "/v1/x/{{ contact.text }}?q={{ contact.text }}", "body_type": "none"},
        "get with a body": {"method": "GET", "body": {}},
        "head": {"method": "HEAD"},
        "delete": {"method": "DELETE", "headers": {"X-Empty": "", "X-Quote": 'it\'s "$HOME"'}},
        "brackets": {"url": "/v1/x[1-3]/{a,b}", "body": [1]},
        "multipart": {"body_type": "multipart", "body": {"a": "{{ contact.text }}"}},
    }
    TEXT = "a'b\"c $(id) `id` \\ \n ñ 👩‍👩‍👧 %41 !x ../.. -d @y"

    @pytest.mark.parametrize("name", STEPS)
    def test_the_printed_command_sends_the_same_request(
        self, name: str, cli: Cli, write: Write, server: RecordingServer, tmp_path: Path
    ) -> None:
        if shutil.which("curl") is None:
            pytest.skip("there is no curl on this machine")
        steps = write("f.json", flow(action("Call", **self.STEPS[name])))
        response = write("r.json", {"id": "r", "contact": {"text": self.TEXT, "long": "y" * 200_000}})

        done = cli("render", steps, "--step", "Call", "--response", response, "--format", "curl")
        assert done.status == 0
        shell = ["sh", "-e", write("command.sh", done.out)]
        clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_PROXY": "*"}
        subprocess.run(shell, check=True, capture_output=True, timeout=30, env=clean)
        assert cli("run", steps, "--response", response).status == 0

        by_curl, by_run = server.received
        assert _core(by_curl) == _core(by_run)


def _core(request: Received) -> tuple[object, ...]:
    own = {"host", "user-agent", "accept", "accept-encoding", "content-length"}
    headers = sorted((name.lower(), value) for name, value in request.headers if name.lower() not in own)
    return request.method, request.target, headers, request.content

"""Text from contacts and servers can't control the terminal."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.cli.terminal import escape_acting
from tests.cli.conftest import Cli, Write, action, flow
from tests.cli.replaying import Leads, json_lines, lead
from tests.servers.recording import Answer, RecordingServer

_ACTING = "\x1b[2J\x1b]0;x\x07 \x9b31m \u202egnp.exe \u2066"
_SIGNS = "\x1b\x07\x9b\u202e\u2066"


def test_escapes_only_terminal_control_characters_as_json_does() -> None:
    text = "tab\t, line\n, ñ, 日本, عربي, 😀"

    assert escape_acting(text) == text
    assert json.loads(f'"{escape_acting(_ACTING)}"') == _ACTING
    assert not set(escape_acting(_ACTING)) & set(_SIGNS)


def test_run_escapes_terminal_control_characters(cli: Cli, write: Write, server: RecordingServer) -> None:
    answered = json.dumps({"said": _ACTING}, ensure_ascii=False).encode()
    server.queued = [Answer(200, answered, {"Content-Type": "application/json"})]
    steps = [
        {"name": "Ask", "type": "question", "next": "Send"},
        action("Send", on_success="Say"),
        {"name": "Say", "type": "message", "body": "{{ step.Ask }} {{ step.Send.response.said }}"},
    ]
    response = write("response.json", {"id": "r", "step": {"Ask": _ACTING}})

    done = cli("run", write("a_flow.json", flow(*steps)), "--response", response)

    assert done.status == 0
    assert "\\u001b[2J" in done.out
    assert not set(done.out + done.err) & set(_SIGNS)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_results_escape_terminal_control_characters(leads: Leads, kind: str) -> None:
    leads.write(0, json_lines([lead(1, id=f"r{_ACTING}")]))
    leads.run("--replay-id", "x")

    done = leads.replay("results", "x", "--format", kind)

    assert not set(done.out + done.err) & set(_SIGNS)
    if kind == "jsonl":
        assert json.loads(done.out)["id"] == f"r{_ACTING}"
    else:
        assert next(csv.DictReader(io.StringIO(done.out)))["id"].startswith("r\\u001b[2J")


def test_errors_escape_terminal_control_characters(cli: Cli, tmp_path: Path) -> None:
    done = cli("validate", tmp_path / f"{_ACTING[:3]}.json")

    assert done.status == 1
    assert not set(done.out + done.err) & set(_SIGNS)


def test_a_command_leaves_the_process_streams_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr

    main(["schema"])

    assert (sys.stdout, sys.stderr) == before

"""Rows of several megabytes: no page, batch, or command holds all of them at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.process_memory import IS_KNOWN
from tests.servers.recording import Answer, RecordingServer

pytestmark = [pytest.mark.long, pytest.mark.skipif(not IS_KNOWN, reason="reads /proc")]
ROWS, ROW_BYTES = 600, 1_000_000
ROOM = 320_000_000
"""Bytes that a command may take beside what it takes for a small replay; all rows have 600 MB as plain text."""
COMMAND = """
import sys
from airflow_whatsapp_flows.cli import main
from tests.process_memory import peak_memory
code = main(sys.argv[1:])
print(code, peak_memory(), file=sys.stderr)
"""
STEPS = [
    {"name": "Note", "type": "question", "next": "Create"},
    {"name": "Create", "type": "action", "connection": "crm", "url": "/notes", "body": "{{ contact }}"},
]


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    file = tmp_path / "flow.json"
    file.write_text(json.dumps({"flow_format": 1, "id": "notes", "steps": STEPS}), encoding="utf-8")
    return file


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "long.jsonl"
    with file.open("w", encoding="utf-8") as rows:
        for number in range(ROWS):
            phone = f"+52555000{number:04}"
            note = f"{number}" + "x" * ROW_BYTES
            rows.write(json.dumps({"id": f"r-{number}", "contact": {"phone": phone}, "step": {"Note": note}}) + "\n")
    yield file
    file.unlink()


def run(folder: Path, server: RecordingServer, *arguments: object) -> tuple[int, int]:
    """Exit status and peak memory of a command."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "AIRFLOW_CONN_CRM": server.url,
        "AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS": server.host,
    }
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    code, most = ended.stderr.splitlines()[-1].split()
    return int(code), int(most)


def test_memory_does_not_grow_with_the_length_of_rows(
    server: RecordingServer, tmp_path: Path, flow: Path, source: Path, ledger_url: str
) -> None:
    small = tmp_path / "small.jsonl"
    small.write_text('{"id": "s", "contact": {"phone": "+525550009999"}, "step": {"Note": "x"}}\n', encoding="utf-8")
    given = ["--ledger", ledger_url]
    _, base = run(tmp_path, server, "replay", "run", flow, "--responses", small, "--replay-id", "small", *given)
    long_reply = Answer.json({"detail": "y" * 500_000})
    server.queued.extend(replace(long_reply, status=(200, 422)[number % 2]) for number in range(ROWS))

    for command in (
        ["plan", flow, "--responses", source],
        ["run", flow, "--responses", source, "--replay-id", "long"],
        ["status", "long"],
        ["results", "long", "--format", "jsonl"],
        ["results", "long", "--to", f"sqlite:///{tmp_path / 'results.db'}", "--table", "sent"],
        ["retry", "long"],
    ):
        _, most = run(tmp_path, server, "replay", *command, *given)
        assert most - base < ROOM, f"{command[0]} took {(most - base) / 1e6:.0f} MB more"
    assert len(server.received) == 1 + ROWS + ROWS // 2

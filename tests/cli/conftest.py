"""The command line, called in this process or in a separate one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_whatsapp_flows.cli import main
from tests.servers.recording import RecordingServer

if TYPE_CHECKING:
    from tests.cli.replaying import Leads

COMMAND = [sys.executable, "-m", "airflow_whatsapp_flows.cli"]


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


Cli = Callable[..., CommandResult]
Write = Callable[..., Path]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process; a usage error is a status too."""

    def run(*words: object) -> CommandResult:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return CommandResult(status, captured.out, captured.err)

    return run


@pytest.fixture
def process() -> Cli:
    """Run a command in a separate process."""

    def run(*words: object, stdin: bytes = b"", env: dict[str, str] | None = None) -> CommandResult:
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
            env={**os.environ, **(env or {})},
        )
        err = done.stderr.decode("utf-8")
        assert "Traceback" not in err
        return CommandResult(done.returncode, done.stdout.decode("utf-8"), err)

    return run


@pytest.fixture
def ledger(tmp_path: Path) -> list[str]:
    """The option for a ledger of this test."""
    return ["--ledger", f"sqlite:///{tmp_path / 'l.db'}"]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a value as a JSON file; text and bytes are written unchanged."""

    def writer(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return writer


def flow(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"flow_format": 1, "id": "a_flow", **more, "steps": list(steps)}


def action(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "action", "connection": "crm", "url": "/v1/x", **more}


@pytest.fixture
def leads(cli: Cli, tmp_path: Path, server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> Leads:
    """A replay of leads against the recording server, which only its own options name."""
    from tests.cli.replaying import Leads  # which imports from here

    monkeypatch.delenv("AIRFLOW_CONN_CRM")
    monkeypatch.delenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS")
    return Leads(cli, tmp_path, server.url, server.host)

"""``whatsapp-flows`` itself: its version, its help, and being interrupted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_whatsapp_flows import __version__
from tests.cli.conftest import Cli

COMMANDS = ("validate", "render", "run")


def test_the_version_is_the_packages(cli: Cli) -> None:
    done = cli("--version")

    assert (done.status, done.out) == (0, f"whatsapp-flows {__version__}\n")


def test_help_names_every_command(cli: Cli) -> None:
    done = cli("--help")

    assert done.status == 0
    assert all(command in done.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_arguments(cli: Cli, command: str) -> None:
    done = cli(command, "--help")

    assert done.status == 0
    assert done.out.startswith(f"usage: whatsapp-flows {command}")
    assert "--format" in done.out


def test_the_installed_script_is_the_same_command(cli: Cli) -> None:
    script = Path(sys.executable).with_name("whatsapp-flows")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")

    done = subprocess.run([script, "--version"], capture_output=True, check=True, encoding="utf-8")

    assert done.stdout == cli("--version").out


def test_an_interruption_is_status_130_and_no_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_whatsapp_flows.cli import validate

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate, "load_flow_file", interrupted)

    done = cli("validate", "flow.json")

    assert (done.status, done.out, done.err) == (130, "", "interrupted\n")

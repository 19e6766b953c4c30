"""``whatsapp-flows``: version, help, and interruption."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_whatsapp_flows import __version__
from tests.cli.conftest import Cli

COMMANDS = ("validate", "render", "run", "test", "graph", "diff", "import", "init", "schema")
GROUPS = {
    "replay": ("plan", "run", "list", "status", "results", "retry", "resolve"),
    "ledger": ("find", "purge"),
}
PRINT_HEAVY_MODULES = (
    "import sys; from airflow_whatsapp_flows.cli import main; main(sys.argv[1:]); "
    "print(*(name for name in ('airflow', 'httptools', 'rich', 'sqlalchemy') if name in sys.modules), file=sys.stderr)"
)


def test_the_version_is_the_packages(cli: Cli) -> None:
    done = cli("--version")

    assert (done.status, done.out) == (0, f"whatsapp-flows {__version__}\n")


def test_help_names_every_command(cli: Cli) -> None:
    done = cli("--help")

    assert done.status == 0
    assert all(command in done.out for command in (*COMMANDS, *GROUPS))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reports_its_arguments(cli: Cli, command: str) -> None:
    done = cli(command, "--help")

    assert done.status == 0
    assert done.out.startswith(f"usage: whatsapp-flows {command}")
    assert "--format" in done.out or command in ("import", "init", "schema")


@pytest.mark.parametrize(("group", "command"), [(group, command) for group in GROUPS for command in GROUPS[group]])
def test_every_command_of_a_group_reports_its_arguments(cli: Cli, group: str, command: str) -> None:
    assert command in cli(group, "--help").out

    done = cli(group, command, "--help")

    assert done.status == 0
    assert done.out.startswith(f"usage: whatsapp-flows {group} {command}")
    assert "--ledger URL" in done.out


@pytest.mark.parametrize(
    ("words", "imported"),
    [
        (["validate", "a_flow.json"], ""),
        (["replay", "list", "--ledger", "sqlite:///ledger.db"], "sqlalchemy"),
        (["replay", "status", "first", "--ledger", "sqlite:///ledger.db"], "sqlalchemy"),
        (["replay", "results", "first", "--ledger", "sqlite:///ledger.db"], "sqlalchemy"),
        (["replay", "run", "a_flow.json", "--responses", "no.jsonl"], "httptools sqlalchemy"),
    ],
)
def test_a_command_imports_only_what_it_needs(tmp_path: Path, words: list[str], imported: str) -> None:
    (tmp_path / "a_flow.json").write_text('{"flow_format": 1, "id": "a", "steps": [{"name": "A", "type": "end"}]}')

    done = subprocess.run(
        [sys.executable, "-c", PRINT_HEAVY_MODULES, *words],
        cwd=tmp_path, capture_output=True, check=True, encoding="utf-8",
    )  # fmt: skip

    assert done.stderr.splitlines()[-1] == imported


def test_the_installed_script_is_the_same_command(cli: Cli) -> None:
    script = Path(sys.executable).with_name("whatsapp-flows")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")

    done = subprocess.run([script, "--version"], capture_output=True, check=True, encoding="utf-8")

    assert done.stdout == cli("--version").out


def test_an_interruption_gives_status_130_without_a_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_whatsapp_flows.cli import validate

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate, "check_flow_file", interrupt)

    done = cli("validate", "flow.json")

    assert (done.status, done.out, done.err) == (130, "", "interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lost_output_is_not_a_success(unbuffered: str) -> None:
    flow = Path(__file__).resolve().parents[2] / "dags" / "flows" / "menu_router.json"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "airflow_whatsapp_flows.cli", "test", flow],
            stdout=full, stderr=subprocess.PIPE, check=False, encoding="utf-8",
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip

    assert done.returncode == 1
    assert "cannot write the output: No space left on device\n" in done.stderr
    assert "Traceback" not in done.stderr

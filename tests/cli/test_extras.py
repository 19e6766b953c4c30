"""The command line without optional dependencies names the missing extra."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import CommandResult

FLOWS = Path(__file__).resolve().parents[2] / "dags" / "flows"
LEAD = FLOWS / "campaign_leads.json"
EXTRAS = ("graphlay", "psycopg", "pyarrow")
# None in sys.modules is how Python itself refuses an import.
WITHOUT_EXTRAS = (
    "import sys; "
    "names = sys.argv.pop(1).split(','); "
    "sys.modules.update(dict.fromkeys(names)); "
    "from airflow_whatsapp_flows.cli import main; "
    "sys.exit(main(sys.argv[1:]))"
)


def _run(*words: object, missing: tuple[str, ...] = EXTRAS) -> CommandResult:
    command = [sys.executable, "-c", WITHOUT_EXTRAS, ",".join(missing), *map(str, words)]
    environ = {**os.environ, "AIRFLOW_CONN_CRM": "http://127.0.0.1:1"}
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8", env=environ)
    return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", [(), ("graph",), ("replay", "run"), ("ledger", "find")], ids="-".join)
def test_help_works_without_extras(command: tuple[str, ...]) -> None:
    done = _run(*command, "--help")

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("usage: whatsapp-flows")


def test_mermaid_needs_no_extra() -> None:
    done = _run("graph", LEAD)

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("flowchart TD\n")


def test_svg_names_the_missing_extra_and_writes_no_file(tmp_path: Path) -> None:
    done = _run("graph", LEAD, "--format", "svg", "-o", tmp_path / "lead.svg")

    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "an SVG drawing needs graphlay: pip install 'airflow-whatsapp-flows[draw]'; --format mermaid needs no extra\n"
    )
    assert not (tmp_path / "lead.svg").exists()


def test_a_postgresql_ledger_names_the_missing_extra() -> None:
    done = _run("replay", "list", "--ledger", "postgresql://user:secret@127.0.0.1:1/flows")

    assert (done.status, done.out) == (1, "")
    assert "psycopg: pip install 'airflow-whatsapp-flows[postgres]'" in done.err
    assert "secret" not in done.err


def test_postgresql_responses_name_the_missing_extra(tmp_path: Path) -> None:
    source = ("--responses", "postgresql://user:secret@127.0.0.1:1/flows", "--query", "select 1")
    done = _run("replay", "plan", LEAD, *source, "--ledger", f"sqlite:///{tmp_path}/ledger.db")

    assert (done.status, done.out) == (1, "")
    assert "pip install 'airflow-whatsapp-flows[postgres]'" in done.err
    assert "secret" not in done.err


def test_parquet_responses_name_the_missing_extra(tmp_path: Path) -> None:
    (tmp_path / "answers.parquet").write_bytes(b"PAR1")
    done = _run(
        "replay", "plan", LEAD, "--responses", tmp_path / "answers.parquet", "--ledger", f"sqlite:///{tmp_path}/l.db"
    )

    assert (done.status, done.out) == (1, "")
    assert "Parquet needs pyarrow: pip install 'airflow-whatsapp-flows[parquet]'" in done.err


def test_a_flow_runs_its_own_tests_without_airflow_and_extras() -> None:
    done = _run("test", FLOWS / "lead_to_crm.json", missing=("airflow", *EXTRAS))

    assert (done.status, done.err) == (0, "3 tests: 3 passed\n")

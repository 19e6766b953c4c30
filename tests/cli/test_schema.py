"""``whatsapp-flows schema``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY

SHIPPED = REPOSITORY / "airflow_whatsapp_flows" / "flow-format-1.schema.json"


def test_it_prints_the_shipped_schema(cli: Cli) -> None:
    done = cli("schema")

    assert (done.status, done.err) == (0, "")
    assert done.out == SHIPPED.read_text(encoding="utf-8")


def test_overwrites_an_older_schema_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "flow.schema.json"
    file.write_text("an older one")

    done = cli("schema", "-o", file)

    assert (done.status, done.out, done.err) == (0, "", f"written: {file}\n")
    assert file.read_bytes() == SHIPPED.read_bytes()


def test_names_an_unwritable_path(cli: Cli, tmp_path: Path) -> None:
    done = cli("schema", "--output", tmp_path / "absent" / "flow.schema.json")

    assert done.status == 1
    assert done.err.startswith(f"{tmp_path / 'absent' / 'flow.schema.json'}: the schema cannot be written: ")


def test_does_not_generate_the_schema() -> None:
    code = (
        "import sys; from airflow_whatsapp_flows.cli.schema import schema_bytes; schema_bytes(); "
        "print('pydantic' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert done.stdout == "False\n"

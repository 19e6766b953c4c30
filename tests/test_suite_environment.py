"""The suite never uses the Airflow of the user who runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def _run(code: str, home: Path) -> str:
    theirs = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://prod.example/airflow",
        "AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS": "prod.example",
        "AIRFLOW_CONN_CRM": "https://prod.example",
        "AIRFLOW_VAR_NAME": "prod",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env={**os.environ, **theirs}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_removes_exported_airflow_variables(tmp_path: Path) -> None:
    code = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"
    seen = json.loads(_run(code, tmp_path))
    assert "prod" not in "".join(value for name, value in seen.items() if name.startswith("AIRFLOW"))
    assert Path(seen["AIRFLOW_HOME"]).is_relative_to(REPOSITORY / ".pytest_cache")


def test_keeps_the_exported_airflow_home(tmp_path: Path) -> None:
    (tmp_path / "airflow.db").write_text("theirs", encoding="utf-8")
    code = (
        "import os, pathlib, pytest, sys\n"
        "status = pytest.main(['-q', '-p', 'no:cacheprovider', '--collect-only', 'tests/test_settings.py'])\n"
        "print(os.environ['AIRFLOW_HOME'])\n"
        "sys.exit(status)"
    )
    own = Path(_run(code, tmp_path).splitlines()[-1])
    assert own != tmp_path
    assert not own.exists()
    assert (tmp_path / "airflow.db").read_text(encoding="utf-8") == "theirs"

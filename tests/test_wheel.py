"""The wheel contains everything it needs, and nothing else of the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from airflow_whatsapp_flows import __version__
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_contains_every_file_of_the_package(wheel: Path) -> None:
    files = {path for path in (REPOSITORY / "airflow_whatsapp_flows").rglob("*") if path.is_file()}
    wanted = {path.relative_to(REPOSITORY).as_posix() for path in files if "__pycache__" not in path.parts}
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()
    others = {"py.typed", "flow-format-1.schema.json", "starting/response.json", "ledger/migrations/script.py.mako"}
    others |= {"plugin/templates/base.html", "plugin/static/pages.css"}
    assert {f"airflow_whatsapp_flows/{name}" for name in others} <= wanted


def test_contains_no_other_files(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"airflow_whatsapp_flows", f"airflow_whatsapp_flows-{__version__}.dist-info"}


def test_declares_the_provider_and_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    entry_points = archive.read(f"airflow_whatsapp_flows-{__version__}.dist-info/entry_points.txt").decode()
    assert "[apache_airflow_provider]" in entry_points
    assert "[airflow.plugins]\nwhatsapp_flows = airflow_whatsapp_flows.plugin:WhatsAppFlowsPlugin" in entry_points
    assert "whatsapp-flows = airflow_whatsapp_flows.cli:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = """if True:
        from airflow_whatsapp_flows import cli
        from airflow_whatsapp_flows.ledger import Ledger
        print(cli.__file__)
        assert cli.main(["init", "project"]) == 0
        assert cli.main(["validate", "project/dags/flows"]) == 0
        Ledger("sqlite:///ledger.db").close()
        cli.main(["--help"])
    """
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert str(tmp_path) in run.stdout
    assert "validate" in run.stdout


def test_the_source_distribution_holds_what_its_tests_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [
        "Makefile",
        "constraints.txt",
        "constraints-3.10.txt",
        "constraints-lowest.txt",
        ".ci/run",
        "benchmarks/operator.py",
        "tests/conftest.py",
    ]
    assert names >= {*wanted, "docker/Dockerfile", "docker/README.md", "dags/flows/lead_to_crm.json", "README.md"}
    assert _named_by_tests() <= {name.partition("/")[0] for name in names}
    assert not [name for name in names if "__pycache__" in name or name == "docker/.env"]


def _named_by_tests() -> set[str]:
    """Top-level files of the repository that tests read."""
    texts = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("*.py")]
    names = set(re.findall(r'\b(?:REPOSITORY|ROOT) / "([^"/]+)', "".join(texts)))
    return {name for name in names - {".matrix", ".pytest_cache"} if (REPOSITORY / name).exists()}

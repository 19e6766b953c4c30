"""What is published: the wheel holds all that it needs, and nothing of the checkout."""

from __future__ import annotations

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


def test_it_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = REPOSITORY / "airflow_whatsapp_flows"
    wanted = {path.relative_to(REPOSITORY).as_posix() for path in package.rglob("*.py")}
    wanted |= {path.relative_to(REPOSITORY).as_posix() for path in (package / "starting").rglob("*") if path.is_file()}
    wanted |= {"airflow_whatsapp_flows/py.typed", "airflow_whatsapp_flows/flow-format-1.schema.json"}
    assert {name for name in wanted if "__pycache__" not in name} <= names


def test_it_holds_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"airflow_whatsapp_flows", f"airflow_whatsapp_flows-{__version__}.dist-info"}


def test_it_announces_the_provider_and_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    entry_points = archive.read(f"airflow_whatsapp_flows-{__version__}.dist-info/entry_points.txt").decode()
    assert "[apache_airflow_provider]" in entry_points
    assert "whatsapp-flows = airflow_whatsapp_flows.cli:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_it_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from airflow_whatsapp_flows import cli; print(cli.__file__); cli.main(['--help'])"
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
    assert not [name for name in names if "__pycache__" in name or name == "docker/.env"]

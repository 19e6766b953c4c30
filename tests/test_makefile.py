"""The Makefile: a virtual environment belongs to one Python version and one path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the Makefile needs, in a folder with a space in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "constraints-3.10.txt"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def _make(folder: Path, *arguments: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(["make", *arguments], cwd=folder, env=environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def _python(folder: Path, version: str) -> str:
    """A Python that reports another version."""
    fake = folder / f"python{version}"
    info = ", ".join(version.split("."))
    code = f"import sys; sys.version = '{version}'; sys.version_info = ({info}); exec(sys.argv.pop(1))"
    fake.write_text(f'#!/bin/sh\nexec python3 -c "{code}" "$2"\n', encoding="utf-8")
    fake.chmod(0o755)
    return f"PYTHON=./{fake.name}"


def _stamp(output: str) -> str:
    return re.findall(r'touch "(.*)"', output)[0]


def test_make_help_needs_no_other_program(checkout: Path) -> None:
    assert re.search(r"^demo +one contact", _make(checkout, "help"), re.MULTILINE)
    assert "column" not in (checkout / "Makefile").read_text(encoding="utf-8")


def test_a_moved_checkout_is_set_up_again(checkout: Path) -> None:
    here = _stamp(_make(checkout, "-n", "setup"))
    (checkout / ".venv").mkdir()
    (checkout / here).touch()
    assert "venv" not in _make(checkout, "-n", "setup")
    moved = checkout.rename(checkout.with_name("moved"))
    assert _stamp(_make(moved, "-n", "setup")) != here


@pytest.mark.parametrize(("version", "pins"), [("3.10.13", "constraints-3.10.txt"), ("3.12.1", "constraints.txt")])
def test_each_python_version_has_its_own_pins_and_stamp(checkout: Path, version: str, pins: str) -> None:
    other = _make(checkout, "-n", "setup", _python(checkout, version))
    assert f'--constraint "{pins}"' in other
    assert _stamp(other) != _stamp(_make(checkout, "-n", "setup"))

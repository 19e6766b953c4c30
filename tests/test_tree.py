"""Tests mirror the package: each test file has its module, or is listed in tests/README.md."""

from __future__ import annotations

import re
from pathlib import Path

import airflow_whatsapp_flows

PACKAGE = Path(airflow_whatsapp_flows.__file__).parent
TESTS = Path(__file__).parent
README = (TESTS / "README.md").read_text(encoding="utf-8")
LISTED = set(re.findall(r"`([\w/]+\.py)`", "\n".join(re.findall(r"^\|(.*?)\|", README, re.MULTILINE))))
FOLDERS = tuple(re.findall(r"^\| `([\w/]+/)` \|", README, re.MULTILINE))


def _mirrors_a_module(test: Path) -> bool:
    folder = PACKAGE / test.parent
    modules = [path.stem for path in folder.iterdir()] if folder.is_dir() else []
    name = test.stem.removeprefix("test_")
    return any(name == module or name.startswith(f"{module}_") for module in modules)


def _test_files() -> set[Path]:
    return {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}


def test_each_test_file_mirrors_a_module_or_is_listed() -> None:
    others = {str(path) for path in _test_files() if not str(path).startswith(FOLDERS) and not _mirrors_a_module(path)}
    assert others - LISTED == set()


def test_each_listed_file_and_folder_exists() -> None:
    assert {name for name in LISTED if not (TESTS / name).is_file()} == set()
    assert {name for name in FOLDERS if not (TESTS / name).is_dir()} == set()

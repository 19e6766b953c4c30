"""The table of acceptance checks in docs/security.md: every check has a row, and every named test exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.conftest import REPOSITORY

NUMBERS = [*range(1, 95), 96]
DOCUMENT = REPOSITORY / "docs" / "security.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def _rows() -> dict[int, tuple[str, str, str]]:
    """Number to check, tests and result."""
    _, _, section = DOCUMENT.read_text(encoding="utf-8").partition("\n## Acceptance checks\n")
    section = section.partition("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in section.splitlines() if re.match(r"\| \d+ \|", line)]
    assert all(len(row) == 4 for row in cells), [row for row in cells if len(row) != 4]
    rows = {int(number): (check.strip(), tests.strip(), result.strip()) for number, check, tests, result in cells}
    assert len(rows) == len(cells), "a check has two rows"
    return rows


@cache
def _tests_of(path: str) -> frozenset[str]:
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
            found |= {f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.AsyncFunctionDef)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


def test_every_check_has_a_row() -> None:
    assert list(_rows()) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_row_names_tests_that_exist_and_a_result(number: int) -> None:
    check, tests, result = _rows()[number]
    named = _TEST.findall(tests)

    assert check
    assert result
    assert named, "a check without a test"
    assert _TEST.sub("", tests).replace("<br>", "").strip() == ""
    for path, name in named:
        assert (REPOSITORY / path).is_file(), path
        assert name in _tests_of(path), f"{path} has no test {name}"
    is_long = any("pytest.mark.long" in (REPOSITORY / path).read_text(encoding="utf-8") for path, _ in named)
    assert is_long or "*long*" not in result

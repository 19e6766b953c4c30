"""Imports and the dependencies in pyproject.toml agree."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = "airflow_whatsapp_flows"
PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def _distributions(*lists: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for texts in lists for text in texts}


HARD = _distributions(PYPROJECT["project"]["dependencies"])
OPTIONAL = _distributions(*PYPROJECT["project"]["optional-dependencies"].values())
GROUPS = _distributions(*PYPROJECT["dependency-groups"].values())

USED_WITHOUT_AN_IMPORT = {
    "tzdata": "zoneinfo reads it where the system has no time zones",
}

ONLY_FOR_LINEAGE = {"apache-airflow-providers-openlineage", "apache-airflow-providers-common-compat"}
"""Imported only by functions that the first of them, which needs the second, calls itself."""

# Optional baselines of benchmarks/parsing.py, which names the missing ones.
NOT_INSTALLED = {"dagfactory"}

_INSTALLED = packages_distributions()
# Scripts of these folders import each other by their bare names.
_OF_SCRIPTS = {path.stem for folder in ("benchmarks", "docker") for path in (REPOSITORY / folder).iterdir()}


def _imports(node: ast.AST, *, deferred: bool = False) -> Iterator[tuple[str, bool]]:
    """Imported modules below a node, and whether the import waits until a function is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield from ((f"{child.module}.{alias.name}", deferred) for alias in child.names)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(child, deferred=deferred or is_function or is_for_types)


def _distribution(module: str) -> str | None:
    """The distribution that a module comes from; ``None`` for the standard library and this repository."""
    first, *rest = module.split(".")
    if first in sys.stdlib_module_names or first in _OF_SCRIPTS or (REPOSITORY / first).is_dir():
        return None
    if first == "airflow":
        if rest[:1] != ["providers"]:
            return "apache-airflow"
        # airflow.providers.common.sql and airflow.providers.http: the longest name that is declared.
        names = [f"apache-airflow-providers-{'-'.join(rest[1:end])}" for end in range(len(rest), 1, -1)]
        return next((name for name in names if name in HARD | OPTIONAL | GROUPS | ONLY_FOR_LINEAGE), names[-1])
    owners = [canonicalize_name(owner) for owner in _INSTALLED.get(first, [first])]
    return next((owner for owner in owners if owner in HARD | OPTIONAL | GROUPS), owners[0])


def _imports_of(folder: str, *, only_at_import: bool = False) -> dict[str, str]:
    """Distributions that the files of a folder import, each with one of those files."""
    found: dict[str, str] = {}
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        for module, deferred in _imports(ast.parse(file.read_text(encoding="utf-8"))):
            owner = _distribution(module)
            if owner is not None and not (only_at_import and deferred):
                found.setdefault(owner, file.relative_to(REPOSITORY).as_posix())
    return found


def test_the_package_imports_only_what_it_declares() -> None:
    undeclared = {owner: file for owner, file in _imports_of(PACKAGE).items() if owner not in HARD | OPTIONAL}
    undeclared = {owner: file for owner, file in undeclared.items() if owner not in ONLY_FOR_LINEAGE}
    assert undeclared == {}


def test_extras_are_imported_only_where_they_are_used() -> None:
    too_early = {owner: file for owner, file in _imports_of(PACKAGE, only_at_import=True).items() if owner not in HARD}
    assert too_early == {}


def test_everything_declared_is_used() -> None:
    assert (HARD | OPTIONAL) - set(_imports_of(PACKAGE)) == set(USED_WITHOUT_AN_IMPORT)


@pytest.mark.parametrize("folder", ["benchmarks", "dags", "docker", "tests"])
def test_supporting_scripts_import_only_declared_dependencies(folder: str) -> None:
    declared = HARD | OPTIONAL | GROUPS | NOT_INSTALLED | ONLY_FOR_LINEAGE
    undeclared = {owner: file for owner, file in _imports_of(folder).items() if owner not in declared}
    assert undeclared == {}


def test_dependencies_have_lower_bounds_and_airflow_no_upper_bound() -> None:
    texts = PYPROJECT["project"]["dependencies"]
    assert [text for text in texts if ">=" not in text] == []
    assert [text for text in texts if text.startswith("apache-airflow") and "<" in text] == []

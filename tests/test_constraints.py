"""Constraints are plain ``name==version`` lines, with one file per range of Python versions."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import REPOSITORY
from tests.test_dependencies import PYPROJECT

PUBLISHED = [
    *PYPROJECT["project"]["dependencies"],
    *(text for texts in PYPROJECT["project"]["optional-dependencies"].values() for text in texts),
]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-3.10.txt", "constraints-lowest.txt"])
def test_every_line_pins_one_package(name: str) -> None:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    names = [re.sub(r"[._]", "-", pin.partition("==")[0]).lower() for pin in pins]
    assert sorted(set(names)) == sorted(names)
    assert "apache-airflow" in names


def _pins(name: str) -> dict[str, Version]:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, _, version in pins}


@pytest.mark.parametrize("text", PUBLISHED)
def test_lower_bounds_are_tested_versions(text: str) -> None:
    requirement = Requirement(text)
    [lowest] = [Version(bound.version) for bound in requirement.specifier if bound.operator == ">="]
    assert _pins("constraints-lowest.txt")[canonicalize_name(requirement.name)] == lowest


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-3.10.txt", "constraints-lowest.txt"])
def test_pins_satisfy_the_declared_versions(name: str) -> None:
    pins = _pins(name)
    requirements = [Requirement(text) for text in PUBLISHED]
    wrong = {str(one) for one in requirements if not one.specifier.contains(pins[canonicalize_name(one.name)])}
    assert wrong == set()

"""The pins are plain ``name==version`` lines, one file for each range of Pythons."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-3.10.txt"])
def test_every_line_is_a_plain_pin_of_a_package_of_its_own(name: str) -> None:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    names = [re.sub(r"[._]", "-", pin.partition("==")[0]).lower() for pin in pins]
    assert sorted(set(names)) == sorted(names)
    assert "apache-airflow" in names

"""What `make test-matrix` and `make audit` report."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.audit import judge
from tests.conftest import REPOSITORY
from tests.matrix import Outcome, counts_of, split_words, table

VERSIONS = {
    "Python": "3.11.7",
    "apache-airflow": "3.2.0",
    "httptools": "0.7.1",
    "pydantic": "2.11.1",
    "sqlalchemy": "2.0",
}


def test_reads_the_counts_of_pytest(tmp_path: Any) -> None:
    (tmp_path / "test_four.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert False\n"
        "def test_errs(broken): pass\n"
        "def test_is_skipped(): pytest.skip()\n"
    )
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)

    assert counts_of(report.read_text(encoding="utf-8")) == {"passed": 1, "failed": 2, "skipped": 1}


def test_the_table_has_a_row_for_each_set() -> None:
    ran = Outcome("lowest", VERSIONS, {"passed": 9, "failed": 1, "skipped": 0}, 90.0, 1)
    did_not = Outcome("newest", VERSIONS, {}, 6.0, 4)

    head, *rows = [line.split() for line in table([ran, did_not]).splitlines()[1:]]

    assert head[-4:] == ["passed", "failed", "skipped", "minutes"]
    assert [[row[0], *row[-4:]] for row in rows] == [
        ["lowest", "9", "1", "0", "1.5"],
        ["newest", "?", "?", "?", "0.1"],
    ]


@pytest.mark.parametrize(
    ("words", "own", "for_pytest"),
    [
        ([], [], []),
        (["newest"], ["newest"], []),
        (["--", "-k", "a b"], [], ["-k", "a b"]),
        (["lowest", "--", "-k", "x"], ["lowest"], ["-k", "x"]),
    ],
)
def test_arguments_after_two_dashes_go_to_pytest(words: list[str], own: list[str], for_pytest: list[str]) -> None:
    assert split_words(words) == (own, for_pytest)


def test_an_unknown_set_is_refused_by_name() -> None:
    command = [sys.executable, "tests/matrix.py", "oldest"]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, encoding="utf-8")

    assert done.returncode == 2
    assert "unknown set 'oldest'; allowed: lowest, newest" in done.stderr


CLEAN = {"name": "yarl", "version": "1.25.1", "vulns": []}
NOT_FOUND = {"name": "zipp", "skip_reason": "Dependency not found on PyPI and could not be audited: zipp (4.1.2)"}
VULNERABLE = {
    "name": "aiohttp",
    "version": "3.13.2",
    "vulns": [{"id": "CVE-2025-69223", "fix_versions": ["3.13.3"], "aliases": [], "description": "A zip bomb."}],
}


@pytest.mark.parametrize(
    ("packages", "said", "status"),
    [
        pytest.param([CLEAN], "c.txt: 1 packages audited; 0 known vulnerabilities", 0, id="clean"),
        pytest.param(
            [CLEAN, NOT_FOUND],
            "c.txt: 1 packages audited, 1 could not be looked up; 0 known vulnerabilities",
            0,
            id="partly unknown",
        ),
        pytest.param(
            [NOT_FOUND],
            "c.txt: skipped, the advisory service knows none of the 1 packages from here",
            0,
            id="nothing looked up",
        ),
        pytest.param(
            [CLEAN, VULNERABLE],
            "c.txt: aiohttp 3.13.2: CVE-2025-69223, fixed in 3.13.3\n"
            "c.txt: 2 packages audited; 1 known vulnerabilities",
            1,
            id="vulnerable",
        ),
    ],
)
def test_an_audit_reports_packages_and_vulnerabilities(packages: list[dict[str, Any]], said: str, status: int) -> None:
    assert judge("c.txt", {"dependencies": packages, "fixes": []}) == (said, status)

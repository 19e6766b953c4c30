"""``make test-matrix``: the suite with the lowest and with the newest versions that pyproject.toml allows.

Each set has a virtual environment of its own in ``.matrix/``, made from ``python3`` alone. ``lowest`` is what
``constraints-lowest.txt`` lists, and ``newest`` is what pip picks today without constraints, pre-releases left out::

    python3 tests/matrix.py                       # both
    python3 tests/matrix.py newest -- -k ledger   # one of them, with arguments for pytest
    python3 tests/matrix.py --resolve             # rewrite constraints-lowest.txt

``--resolve`` asks uv for the lowest direct dependencies. Airflow supports installing a release only together with the
versions of its own dependencies that were current then, so those are taken as of ``AS_OF``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import venv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / ".matrix"
LOWEST = REPOSITORY / "constraints-lowest.txt"
SETS = ("lowest", "newest")
SHOWN = ("apache-airflow", "httptools", "pydantic", "sqlalchemy")

AS_OF = "2026-04-15"
"""A week after Airflow 3.2.0, the lowest that is supported."""
YOUNGER = {"compose-spec": "2026-06-01", "graphlay": "2026-11-01"}
"""Direct dependencies of which no release was there yet, and a day when there was one."""
OLDEST_PYTHON = "3.10"


@dataclass(frozen=True)
class Outcome:
    """The result of one set; ``counts`` is empty if the tests did not start."""

    name: str
    versions: dict[str, str]
    counts: dict[str, int]
    seconds: float
    status: int


def main(words: list[str]) -> int:
    """Run the requested sets; returns the exit status."""
    own, arguments = split_words(words)
    parser = argparse.ArgumentParser(description="Run the suite with the lowest and the newest dependencies.")
    parser.add_argument("sets", nargs="*", metavar="SET", help="lowest or newest; default: both")
    parser.add_argument("--resolve", action="store_true", help="write constraints-lowest.txt anew, and run nothing")
    options = parser.parse_args(own)
    unknown = set(options.sets) - set(SETS)
    if unknown:
        parser.error(f"unknown set {min(unknown)!r}; allowed: {', '.join(SETS)}")
    if options.resolve:
        LOWEST.write_text(resolve(), encoding="utf-8")
        return 0
    outcomes = [run(name, arguments) for name in options.sets or SETS]
    print(table(outcomes))
    return max(outcome.status for outcome in outcomes)


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """The script's own arguments, and those after ``--``, which are pytest's."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def run(name: str, arguments: list[str]) -> Outcome:
    """Install one set and run the suite with it."""
    print(f"{name}: installing …", flush=True)
    folder = FOLDER / name
    python = environment(folder)
    pins = ["--constraint", str(LOWEST)] if name == "lowest" else ["--upgrade", "--upgrade-strategy", "eager"]
    _pip(python, *pins, "--group", "dev", "--group", "demo", "--editable", ".[draw,parquet,postgres]")
    # Tests start the package's and Airflow's commands by their names.
    environ = {**os.environ, "PATH": os.pathsep.join((str(python.parent), os.environ.get("PATH", "")))}
    started = time.monotonic()
    counts: Counter[str] = Counter()
    status = 0
    for part in [arguments] if arguments else suite():
        report = folder / "report.xml"
        report.unlink(missing_ok=True)
        command = [python, "-m", "pytest", "-q", f"--junitxml={report}", *part]
        status = max(status, subprocess.run(command, cwd=REPOSITORY, env=environ, check=False).returncode)
        if report.exists():
            counts.update(counts_of(report.read_text(encoding="utf-8")))
    return Outcome(name, versions(python), dict(counts), time.monotonic() - started, status)


def suite() -> list[list[str]]:
    """The runs of `make pytest`, as arguments for pytest: most tests in parallel, then those that measure."""
    workers = 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return [["-n", str(workers), "--dist", "worksteal", "-m", "not long and not alone"], ["-m", "alone"]]


def environment(folder: Path) -> Path:
    """The Python of a virtual environment, which is recreated if it is missing or has another Python."""
    python = folder / "bin" / "python"
    stamp = folder / "made-by.txt"
    maker = f"{sys.version}\n{folder}\n"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != maker:
        venv.create(folder, clear=True, with_pip=True)
        _pip(python, "--upgrade", "pip>=25.1")
        stamp.write_text(maker, encoding="utf-8")
    return python


def _pip(python: Path, *words: str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *words]
    subprocess.run(command, cwd=REPOSITORY, check=True)


def versions(python: Path) -> dict[str, str]:
    """Versions of Python and of the distributions in the table."""
    code = (
        "import platform, sys; from importlib.metadata import version; "
        "print(platform.python_version(), *map(version, sys.argv[1:]))"
    )
    done = subprocess.run([python, "-c", code, *SHOWN], capture_output=True, check=True, encoding="utf-8")
    return dict(zip(("Python", *SHOWN), done.stdout.split(), strict=True))


def counts_of(report: str) -> dict[str, int]:
    """Passed, failed, and skipped tests of a JUnit report."""
    [suite] = ElementTree.fromstring(report).iter("testsuite")  # pytest has just written it
    number = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    return {
        "passed": number["tests"] - failed - number["skipped"],
        "failed": failed,
        "skipped": number["skipped"],
    }


def table(outcomes: list[Outcome]) -> str:
    """One row for each set."""
    rows = [["set", "Python", *SHOWN, "passed", "failed", "skipped", "minutes"]]
    for outcome in outcomes:
        counts = [str(outcome.counts.get(name, "?")) for name in ("passed", "failed", "skipped")]
        rows.append([outcome.name, *outcome.versions.values(), *counts, f"{outcome.seconds / 60:.1f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["", *lines])


def resolve() -> str:
    """The lowest direct dependencies, and everything else as of the date of the lowest Airflow."""
    python = environment(FOLDER / "uv")
    _pip(python, "uv")
    project = str(REPOSITORY / "pyproject.toml")
    days = ["--exclude-newer", AS_OF, *(f"--exclude-newer-package={name}={day}" for name, day in YOUNGER.items())]
    form = ["--universal", "--python-version", OLDEST_PYTHON, "--no-header", "--no-annotate", "--quiet"]
    compile_ = [str(python.parent / "uv"), "pip", "compile", project, "--all-extras", *form, *days]
    direct = _pins(_output([*compile_, "--resolution", "lowest-direct"]))
    lowest = FOLDER / "direct.txt"
    lowest.write_text("\n".join(direct), encoding="utf-8")
    # Developer tools have no lower bounds: the newest versions of that date are used.
    groups = [f"--group={project}:{name}" for name in ("dev", "demo")]
    pins = _pins(_output([*compile_, *groups, "--constraint", str(lowest)]))
    head = (
        "# The lowest direct dependencies, which the tests ran with, and the others as of the lowest Airflow.\n"
        "# Written by `python3 tests/matrix.py --resolve`; `make test-matrix` installs them.\n"
    )
    return head + "\n".join(pins) + "\n"


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def _pins(compiled: str) -> list[str]:
    # A constraint on a package that some Python version doesn't need is harmless.
    return sorted({re.sub(r"\s*;.*", "", line) for line in compiled.splitlines() if "==" in line})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``make audit``: whether the versions that the tests ran with have known vulnerabilities, by pip-audit.

Exit status: 0 if none is known, or if the advisory service can't be reached; 1 if some are. Packages that could not be
looked up are reported: pip-audit itself calls an audit clean in which it found no package at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.matrix import FOLDER, environment  # noqa: E402  # this file is run as a script

SECONDS = 300


def main(files: list[str]) -> int:
    """Audit constraints files; returns the exit status."""
    python = environment(FOLDER / "audit")
    install = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "pip-audit"]
    if subprocess.run(install, check=False).returncode:
        print("audit: skipped, pip-audit cannot be installed", file=sys.stderr)
        return 0
    status = 0
    for file in files:
        said, one = audit(python, file)
        print(said)
        status = max(status, one)
    return status


def audit(python: Path, file: str) -> tuple[str, int]:
    """The known vulnerabilities of one file's versions, and the exit status."""
    command = [python, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    try:
        done = subprocess.run(
            [*command, "--requirement", file], cwd=REPOSITORY, capture_output=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{file}: skipped, the advisory service did not answer within {SECONDS} s", 0
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
        return f"{file}: skipped, the advisory service cannot be asked: {last}", 0
    return judge(file, report)


def judge(file: str, report: dict[str, Any]) -> tuple[str, int]:
    """The findings of pip-audit's report, and the exit status."""
    packages = report["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        return f"{file}: skipped, the advisory service knows none of the {len(packages)} packages from here", 0
    lines = [
        f"{file}: {package['name']} {package['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no release'}"
        for package in asked
        for vulnerability in package["vulns"]
    ]
    unknown = f", {len(packages) - len(asked)} could not be looked up" if len(asked) < len(packages) else ""
    summary = f"{file}: {len(asked)} packages audited{unknown}; {len(lines)} known vulnerabilities"
    return "\n".join([*lines, summary]), int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["constraints.txt"]))

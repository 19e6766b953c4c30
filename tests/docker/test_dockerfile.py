"""Checks of the Dockerfile that need no build."""

import fnmatch
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """`(INSTRUCTION, rest)` in order, without comments and with continued lines joined."""
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by the name of their stage."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            current = found.setdefault(rest.split()[-1], [])
        current.append((name, rest))
    return found


def copied_files() -> list[str]:
    """The files copied from the checkout."""
    sources: list[str] = []
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            sources += rest.split()[:-1]
    return sources


@pytest.mark.parametrize("source", copied_files())
def test_copied_files_exist_and_reach_the_builder(source: str) -> None:
    assert (ROOT / source).exists(), f"{source} is copied by the Dockerfile"
    ignore = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert any(fnmatch.fnmatch(source, line[1:]) for line in ignore if line.startswith("!"))


def test_nothing_is_added_from_an_address() -> None:
    assert not [rest for name, rest in instructions() if name == "ADD"]
    assert "://" not in re.sub(r"http://127\.0\.0\.1\S*", "", TEXT)


@pytest.mark.parametrize("stage", ["airflow", "demo-crm"])
def test_containers_do_not_run_as_root(stage: str) -> None:
    users = [rest for name, rest in stages()[stage] if name == "USER"]
    assert users == ["airflow"]
    assert re.search(r"useradd --uid [1-9]\d{3,} .* airflow ", TEXT.replace("\\\n", ""))


def test_the_last_stage_is_airflow() -> None:
    assert list(stages())[-1] == "airflow"


def test_the_installation_is_pinned_and_compiled() -> None:
    (install,) = [rest for name, rest in stages()["build"] if name == "RUN" and "--constraint" in rest]
    assert "--constraint constraints.txt" in install
    assert "--compile" in install
    assert "PYTHONDONTWRITEBYTECODE" not in TEXT
    groups = (ROOT / "pyproject.toml").read_text().split("[dependency-groups]")[1]
    assert all(re.search(rf"^{group} = ", groups, re.MULTILINE) for group in re.findall(r"--group (\S+)", install))
    for line in (ROOT / "docker" / "requirements.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line)


def test_no_secret_is_built_in() -> None:
    for name, rest in instructions():
        if name in ("ENV", "ARG"):
            assert not re.search("SECRET|PASSWORD|TOKEN|KEY", rest.upper())


def test_the_demo_crm_has_a_health_check() -> None:
    (check,) = [rest for name, rest in stages()["demo-crm"] if name == "HEALTHCHECK"]
    command = json.loads(check.split("CMD", 1)[1])
    compile(command[2], "healthcheck", "exec")
    assert "/_health" in command[2]

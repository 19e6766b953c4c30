"""Console blocks of the documentation: their commands run, in order, and print what is shown."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from airflow_whatsapp_flows.cli import main
from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docker"))

from demo_crm.process import running

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CRM = "127.0.0.1:18080"  # five digits, as the ports are that tests get: tables are as wide
SAME = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?", "<time>"),
    (r"\b[\d.,]+ (contacts/s|s|ms)\b", r"<number> \1"),
    (r'"elapsed_s": [\d.]+', '"elapsed_s": <number>'),
    (r"\b[0-9a-f]{12}\b", "<fingerprint>"),
    (r"sqlite:////\S+", "<ledger>"),
    (r"[a-z_]+-<date>-[0-9a-f]{4}", "<replay>"),
)


@dataclass(frozen=True)
class Command:
    """One command of a document.

    Attributes:
        line: in the document.
        words: of the command.
        shown: what the document says it prints.
    """

    line: int
    words: list[str]
    shown: str


def commands(document: Path) -> list[Command]:
    text, found = document.read_text(encoding="utf-8"), []
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 2
        for part in re.split(r"^\$ ", block.group(1), flags=re.MULTILINE):
            typed, _, shown = re.sub(r"\\\n *", " ", part).partition("\n")
            if typed:
                found.append(Command(line, shlex.split(typed, comments=True), shown.strip("\n")))
            line += part.count("\n")
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder like the checkout in which commands run, and a demo CRM; yields its host and port."""
    shutil.copytree(REPOSITORY / "dags", tmp_path / "dags")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.delenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", raising=False)
    with running(tmp_path / "crm.db") as url:
        yield url.removeprefix("http://")


@pytest.mark.parametrize("document", [pytest.param(path, id=path.name) for path in DOCUMENTS if commands(path)])
def test_commands_print_what_the_document_shows(
    document: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in commands(document):
        capsys.readouterr()
        run([word.replace(CRM, place) for word in command.words], command, monkeypatch)
        printed = capsys.readouterr().out.replace(place, CRM)
        assert re.fullmatch(pattern(command.shown), same(printed)), (
            f"{document.name}:{command.line}: {shlex.join(command.words)} printed\n{printed}"
        )


def run(words: list[str], command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "whatsapp-flows":
        try:
            status = main(words[1:])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        assert status in (0, 3, 4), f"line {command.line}: exit status {status}"
    elif words[0] == "export":
        name, _, value = words[1].partition("=")
        if name != "AIRFLOW_HOME":
            monkeypatch.setenv(name, value)
    elif words[0] == "curl":
        assert words[1] == "-X"
        httpx.request(words[2], words[3], content="".join(words[5:]), trust_env=False).raise_for_status()
    elif words[0] == "cat":  # the file is as the document shows it
        Path(words[1]).write_text(f"{command.shown}\n", encoding="utf-8")
        print(command.shown)
    elif words[0] == "sqlite3":
        with sqlite3.connect(words[1]) as connection:
            for row in connection.execute(words[2]):
                print("|".join("" if cell is None else str(cell) for cell in row))
    else:
        assert (REPOSITORY / words[1]).is_file(), f"line {command.line}: {words[0]}?"
        assert words[1] == "docker/demo_crm/server.py"


def same(text: str) -> str:
    """Text without parts that differ in every run."""
    text = re.sub(r"\b20\d{6}-\d{6}-", "<date>-", text)
    for found, instead in SAME:
        text = re.sub(found, instead, text)
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def pattern(shown: str) -> str:
    """A pattern of the expected output; a line with only an ellipsis matches any lines."""
    lines = [r"(?:.*\n)*?.*" if line.strip() == "…" else re.escape(line) for line in same(shown).split("\n")]
    return "\n".join(lines)

"""``whatsapp-flows init``: the created folder works as its README.md says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY
from tests.servers.recording import RecordingServer

MADE = {
    ".pre-commit-config.yaml",
    "README.md",
    "response.json",
    "responses.jsonl",
    "dags/flow-format-1.schema.json",
    "dags/flows/lead.json",
    "dags/whatsapp_flows.py",
    "dags/whatsapp_flows_health.py",
}
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new folder in which commands run."""
    made = tmp_path / "my flows"
    assert cli("init", made).status == 0
    monkeypatch.chdir(made)
    return made


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def commands(readme: Path) -> list[list[str]]:
    text = readme.read_text(encoding="utf-8")
    return [
        shlex.split(line, comments=True)
        for block in BLOCK.findall(text)
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    ]


def test_creates_the_folder_and_lists_each_file(cli: Cli, tmp_path: Path) -> None:
    made = tmp_path / "new" / "folder"

    done = cli("init", made)

    assert done.status == 0
    assert files_in(made) == MADE
    assert {Path(line).relative_to(made).as_posix() for line in done.out.splitlines()} == MADE
    assert done.err == f"to continue, read {made / 'README.md'}\n"


def test_keeps_other_files_of_a_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    assert cli("init", tmp_path).status == 0
    assert files_in(tmp_path) == {*MADE, "notes.txt"}


@pytest.mark.parametrize("there", ["README.md", "dags/flows/lead.json"])
def test_writes_nothing_if_a_file_exists(cli: Cli, tmp_path: Path, there: str) -> None:
    file = tmp_path / there
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")

    done = cli("init", tmp_path)

    assert done.status == 1
    assert str(file) in done.err
    assert files_in(tmp_path) == {there}
    assert file.read_text() == "mine"


def test_a_dangling_link_counts_as_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere.md")

    assert cli("init", tmp_path).status == 1
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_reports_a_file_in_place_of_a_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "dags").write_text("mine")

    done = cli("init", tmp_path)

    assert done.status == 1
    assert ": cannot be written" in done.err


def test_its_flow_names_its_schema_and_is_valid(folder: Path) -> None:
    file = folder / "dags" / "flows" / "lead.json"
    flow = json.loads(file.read_text(encoding="utf-8"))

    schema = json.loads((file.parent / flow["$schema"]).read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator(schema).validate(flow)


def test_its_flow_passes_its_tests_and_they_take_every_exit(folder: Path, cli: Cli) -> None:
    done = cli("test", "dags/flows", "--format", "json")

    (flow,) = json.loads(done.out)["flows"]
    assert done.status == 0
    assert len(flow["tests"]) >= 3
    assert flow["exits_never_taken"] == []


def test_every_command_of_its_readme_works(folder: Path, cli: Cli, server: RecordingServer, tmp_path: Path) -> None:
    ran = []
    for words in commands(folder / "README.md"):
        if words[0] != "whatsapp-flows":
            assert words[0] in ("export", "airflow")
            continue
        ledger = ["--ledger", f"sqlite:///{tmp_path / 'ledger.db'}"] if words[1] == "replay" else []
        done = cli(*words[1:], *ledger)
        assert (done.status, words) == (0, words), done.err
        ran.append(words[1])
    assert {"validate", "test", "graph", "schema", "render", "run", "replay"} <= set(ran)
    assert files_in(folder) == MADE


@pytest.mark.usefixtures("airflow")
def test_its_dag_files_build_the_dag(folder: Path) -> None:
    names: dict[str, object] = {"__file__": str(folder / "dags" / "whatsapp_flows.py"), "__name__": "dags"}
    exec(compile((folder / "dags" / "whatsapp_flows.py").read_text(), "whatsapp_flows.py", "exec"), names)

    assert "lead" in names
    health = {"__file__": str(folder / "dags" / "whatsapp_flows_health.py"), "__name__": "health"}
    exec(compile((folder / "dags" / "whatsapp_flows_health.py").read_text(), "health.py", "exec"), health)


@pytest.mark.parametrize("name", ["whatsapp_flows.py", "whatsapp_flows_health.py"])
def test_its_dag_files_equal_the_examples(folder: Path, name: str) -> None:
    assert (folder / "dags" / name).read_bytes() == (REPOSITORY / "dags" / name).read_bytes()


def test_its_hooks_run_commands_that_work_on_its_flow(folder: Path, cli: Cli) -> None:
    entries = re.findall(r"entry: whatsapp-flows (\w+)", (folder / ".pre-commit-config.yaml").read_text())
    pattern = re.findall(r"files: (.+)", (folder / ".pre-commit-config.yaml").read_text())

    assert entries == ["validate", "test"]
    assert all(re.search(one, "dags/flows/lead.json") for one in pattern)
    assert all(cli(entry, "dags/flows/lead.json").status == 0 for entry in entries)

"""Every code block of the documentation is parsed or run."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.walk.response import read_response
from tests.airflow_runs import run_dag
from tests.conftest import REPOSITORY
from tests.servers.recording import Answer, RecordingServer

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if match.group(1) == language:
                found.append(pytest.param(match.group(2), id=f"{document.name}:{line}"))
    return found


def test_every_code_block_has_a_tested_language() -> None:
    kinds = {match.group(1) for path in DOCUMENTS for match in BLOCK.finditer(path.read_text(encoding="utf-8"))}
    assert kinds <= {"json", "python", "bash", "console", ""}  # console: test_docs_console.py


@pytest.mark.parametrize("text", blocks("json"))
def test_json_blocks_are_flows_responses_or_results(text: str) -> None:
    value = json.loads(text)
    if "flow_format" in value:
        assert load_flow(text).id == value["id"]
    elif "outcome" in value:
        assert value["ok"] is (value["outcome"] == "success")
    else:
        read_response(value)


@pytest.mark.usefixtures("airflow")
@pytest.mark.parametrize("text", blocks("python"))
def test_python_blocks_are_dag_files(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    readme = DOCUMENTS[0].read_text(encoding="utf-8")
    lead = next(match.group(2) for match in BLOCK.finditer(readme) if '"flow_format"' in match.group(2))
    (flows / "lead.json").write_text(lead, encoding="utf-8")
    names: dict[str, object] = {"__file__": str(tmp_path / "dags.py"), "__name__": "dags"}
    exec(compile(text, str(tmp_path / "dags.py"), "exec"), names)
    if "load_dags" in text:
        assert "lead" in names


@pytest.mark.usefixtures("airflow")
def test_the_readmes_flow_runs_as_described(server: RecordingServer) -> None:
    from airflow_whatsapp_flows import build_dag

    readme = DOCUMENTS[0].read_text(encoding="utf-8")
    lead = next(match.group(2) for match in BLOCK.finditer(readme) if '"flow_format"' in match.group(2))
    run = run_dag(build_dag(lead), {"contact": {"phone": "+525512345678"}, "step": {"Ask name": "Ana"}})
    assert run.state == "success"
    assert server.received[0].content == b'{"name":"Ana","phone":"+525512345678"}'
    assert run.result("say_thanks")["text"] == "You are number 1."
    shown = next(json.loads(match.group(2)) for match in BLOCK.finditer(readme) if '"outcome"' in match.group(2))
    assert set(shown) <= set(run.result("create_contact"))


def test_the_readme_shows_the_graph_of_its_flow(tmp_path: Path) -> None:
    readme = DOCUMENTS[0].read_text(encoding="utf-8")
    lead = next(match.group(2) for match in BLOCK.finditer(readme) if '"flow_format"' in match.group(2))
    (tmp_path / "lead.json").write_text(lead, encoding="utf-8")
    drawn = tmp_path / "drawn.svg"
    assert main(["graph", str(tmp_path / "lead.json"), "--format", "svg", "-o", str(drawn)]) == 0
    assert (REPOSITORY / "docs" / "lead.svg").read_text(encoding="utf-8") == drawn.read_text(encoding="utf-8")


@pytest.mark.usefixtures("airflow")
@pytest.mark.parametrize(
    ("answer", "taken", "said"),
    [
        pytest.param(Answer.json({"id": 7}, 201), "thank", "Order 7", id="success"),
        pytest.param(Answer(409), "apologize", "Refused with 409", id="refused"),
        pytest.param(Answer(drop=True), "look_into_it", "Check at the server", id="outcome-unknown"),
    ],
)
def test_the_branching_example_runs_as_described(
    server: RecordingServer, answer: Answer, taken: str, said: str
) -> None:
    text = (REPOSITORY / "docs" / "operators.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "dags"}
    exec(next(match.group(2) for match in BLOCK.finditer(text) if "orders_that_branch" in match.group(2)), names)
    server.queued = [answer]
    run = run_dag(names["dag"], {"contact": {"phone": "+525512345678"}})
    assert run.state == "success"
    assert [name for name in ("thank", "look_into_it", "apologize") if run.states[name] == "success"] == [taken]
    assert said in run.result(taken)


_OURS = ("response.json", "lead.svg", "crm-flows")
"""What commands of the documents read and write: not in the checkout."""


def commands() -> list[object]:
    found = []
    for block in blocks("bash"):
        for line in block.values[0].splitlines():  # type: ignore[attr-defined]
            command = line.partition("#")[0].strip()
            if command:
                found.append(pytest.param(command, id=command[:60]))
    return found


@pytest.mark.parametrize("command", commands())
def test_commands_work(command: str, server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)
    elif words[0] == "pip":
        assert words[1:] == ["install", "airflow-whatsapp-flows"]
    else:
        assert words[0] == "whatsapp-flows"
        monkeypatch.chdir(REPOSITORY)
        response = {"id": "r-001", "contact": {"phone": "+525512345678"}, "step": {"Ask name": "Ana", "Ask age": 41}}
        (tmp_path / "response.json").write_text(json.dumps(response), encoding="utf-8")
        arguments = [str(tmp_path / word) if word in _OURS else word for word in words[1:]]
        assert main(arguments) == 0


def test_links_have_a_target() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_options_of_the_provider_are_documented() -> None:
    from airflow_whatsapp_flows.provider_info import get_provider_info

    text = (REPOSITORY / "docs" / "operators.md").read_text(encoding="utf-8")
    for option in get_provider_info()["config"]["whatsapp_flows"]["options"]:
        assert f"`{option}`" in text


def test_filters_are_documented() -> None:
    from airflow_whatsapp_flows.flow.template.filters import FILTERS

    text = (REPOSITORY / "docs" / "flow-format.md").read_text(encoding="utf-8")
    for name in FILTERS:
        assert re.search(rf"`{name}\b", text), name


def test_commands_and_options_of_replays_are_documented() -> None:
    from airflow_whatsapp_flows.cli import parser

    text = (REPOSITORY / "docs" / "replay.md").read_text(encoding="utf-8")
    commands = choices(parser())
    for group in ("replay", "ledger"):
        for name, command in choices(commands[group]).items():
            assert f"whatsapp-flows {group} {name}" in text
            for option in re.findall(r"--[a-z-]+", command.format_help()):
                assert re.search(rf"{option}\b", text), f"{group} {name} {option}"


def choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = [found for found in parser._actions if isinstance(found, argparse._SubParsersAction)]
    return dict(action.choices)


def test_states_modes_and_fates_are_documented() -> None:
    from airflow_whatsapp_flows.flow.delivery.table import Delivery, Fate
    from airflow_whatsapp_flows.ledger.rows import ContactState

    text = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")
    for word in (*ContactState, *Delivery, *Fate):
        assert f"`{word.value}`" in text


def test_documents_the_columns_erased_by_a_purge() -> None:
    from airflow_whatsapp_flows.ledger import purge as purging
    from airflow_whatsapp_flows.ledger import schema

    text = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")
    documented = text[text.index("## Personal data") :]
    for column in purging._ERASED:
        assert column in schema.contacts.c
        assert f"`{column}`" in documented
    for table in (schema.contacts, schema.attempts, schema.replays):
        assert f"`{table.name}`" in documented


def test_the_architecture_names_modules_that_exist() -> None:
    tree = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    folders = [REPOSITORY / "airflow_whatsapp_flows"]
    named = 0
    for line in tree.splitlines():
        if not (entry := re.match(r"((?:│   )*)[├└]── (\S+(?:, \S+)*)(.*)", line)):
            continue
        depth, names, description = len(entry.group(1)) // 4, entry.group(2), entry.group(3)
        del folders[depth + 1 :]
        for name in re.findall(r"[\w./]+", description if names == "…" else names):
            assert any((folders[depth] / path).exists() for path in (name, f"{name}.py")), line
            named += 1
        folders.append(folders[depth] / names.rstrip("/"))
    assert named > 60


def test_the_contributor_guide_counts_the_modules_of_a_step_type() -> None:
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = (REPOSITORY / "airflow_whatsapp_flows" / "flow").rglob("*.py")
    naming = [path for path in modules if re.search(r"\bcontact_update\b|\bContactUpdate", path.read_text("utf-8"))]

    assert f"such as `contact_update` you edit {len(naming)} modules in `flow/`" in guide

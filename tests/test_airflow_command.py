"""``airflow whatsapp-flows`` has the commands of the script, and they do the same."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows import cli
from airflow_whatsapp_flows.provider_info import get_provider_info

pytestmark = pytest.mark.usefixtures("airflow")

FLOW = {"flow_format": 1, "id": "leads", "steps": [{"name": "Say", "type": "message", "body": "Hi"}]}


@pytest.fixture(scope="module")
def airflow_parser() -> argparse.ArgumentParser:
    from airflow.cli.cli_parser import get_parser

    return get_parser()


def commands_of(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a parser, with its own parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, found in action.choices.items():
                yield (*words, name), found
                yield from commands_of(found, *words, name)


def options_of(parser: argparse.ArgumentParser) -> list[tuple[Any, ...]]:
    return [(action.option_strings, action.dest, action.default, action.nargs) for action in parser._actions]


def test_it_has_every_command_of_the_script_with_the_same_options(airflow_parser: argparse.ArgumentParser) -> None:
    [ours] = [parser for words, parser in commands_of(airflow_parser) if words == ("whatsapp-flows",)]
    found, expected = dict(commands_of(ours)), dict(commands_of(cli.parser()))
    assert list(found) == list(expected)
    assert ("replay", "run") in found
    for words, parser in expected.items():
        if not any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
            assert options_of(found[words]) == options_of(parser), words


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["validate", "leads.json"], id="valid"),
        pytest.param(["validate", "--format", "json", "faulty.json"], id="faulty"),
        pytest.param(["validate", "missing.json"], id="missing"),
        pytest.param(["run", "leads.json", "--response", "response.json", "--format", "json"], id="run"),
        pytest.param(["replay", "list", "--ledger", "sqlite:///ledger.db", "--format", "json"], id="replay"),
    ],
)
def test_it_prints_and_exits_as_the_script_does(
    airflow_parser: argparse.ArgumentParser,
    arguments: list[str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leads.json").write_text(json.dumps(FLOW), encoding="utf-8")
    Path("faulty.json").write_text(json.dumps({**FLOW, "id": "A B"}), encoding="utf-8")
    Path("response.json").write_text('{"contact": {"phone": "1"}}', encoding="utf-8")
    status, printed = cli.main(arguments), capfd.readouterr()
    options = airflow_parser.parse_args(["whatsapp-flows", *arguments])
    with pytest.raises(SystemExit) as ended:
        options.func(options)
    assert (ended.value.code, *capfd.readouterr()) == (status, *printed)


def test_a_usage_error_has_the_scripts_status(airflow_parser: argparse.ArgumentParser) -> None:
    with pytest.raises(SystemExit) as ended:
        airflow_parser.parse_args(["whatsapp-flows", "validate", "--format", "xml", "leads.json"])
    assert ended.value.code == cli.USAGE


def test_airflow_imports_nothing_of_it_but_the_command() -> None:
    [name] = get_provider_info()["cli"]
    module, _, function = name.rpartition(".")
    program = f"import json, sys; from {module} import {function}; {function}(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = [one for one in json.loads(done.stdout.splitlines()[-1]) if one.startswith("airflow_whatsapp_flows.")]
    assert set(found) - {"airflow_whatsapp_flows.provider_info"} == {module}

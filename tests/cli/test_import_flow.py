"""``whatsapp-flows import``: a flow file from step records."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.cli.authoring_arguments import add_import
from airflow_whatsapp_flows.cli.import_flow import import_flow
from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow_files import load_flow_file
from tests.cli.conftest import CommandResult, Write
from tests.hilos.samples import CRM_KEY, OPENAI_KEY, crm_records, gpt_records, step


class Import:
    """Runs ``import`` with the given arguments."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> CommandResult:
        parser = argparse.ArgumentParser()
        add_import(parser.add_subparsers(dest="command"))
        options = parser.parse_args(["import", *map(str, words)])
        assert options.command == "import_flow"  # the name of the module and function that does it
        status = import_flow(options)
        captured = self._capsys.readouterr()
        return CommandResult(status, captured.out, captured.err)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Import:
    return Import(capsys)


def test_prints_the_flow_and_reports_to_stderr(run: Import, write: Write) -> None:
    done = run("hilos", "--records", write("gpt.json", gpt_records()), "--id", "gpt_guide")

    flow = json.loads(done.out)
    assert (done.status, flow["id"], flow["name"], len(flow["steps"])) == (0, "gpt_guide", "ChatGPT", 11)
    lines = done.err.splitlines()
    assert lines[0].startswith("gpt_guide: 11 steps; 5 secrets left out, ")
    assert "  Is it ready" in lines
    assert any("AIRFLOW_CONN_API_OPENAI_COM='" in line for line in lines)
    assert OPENAI_KEY not in done.out + done.err


def test_the_flow_is_written_to_a_file_that_loads(run: Import, write: Write, tmp_path: Path) -> None:
    output = tmp_path / "lead_to_crm.json"

    done = run("activecampaign", "--records", write("r.json", crm_records()), "-o", output, "--name", "Leads")

    flow = load_flow_file(output, in_flows_folder=True)
    assert (done.status, done.out, flow.id, flow.name) == (0, "", "lead_to_crm", "Leads")
    assert CRM_KEY not in output.read_text("utf-8") + done.err


def test_a_file_is_overwritten_only_with_force(run: Import, write: Write, tmp_path: Path) -> None:
    records, output = write("r.json", crm_records()), write("there.json", "mine")

    with pytest.raises(SourceError, match=r"there\.json already exists; .* --force"):
        run("activecampaign", "--records", records, "-o", output)
    assert output.read_text("utf-8") == "mine"

    assert run("activecampaign", "--records", records, "-o", output, "--force").status == 0
    assert load_flow_file(output).id == "there"


def test_writes_a_faulty_flow_with_an_error_status(run: Import, write: Write) -> None:
    done = run("hilos", "--records", write("a.json", [step(1, "Say", "MESSAGE", body="{{ step.Nobody }}")]))

    assert (done.status, json.loads(done.out)["id"]) == (1, "a")
    assert "1 fault to fix" in done.err.splitlines()[0]
    assert "    fault: steps[0].body: there is no step named 'Nobody'" in done.err


def test_records_are_read_as_json_lines_and_from_stdin(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\n".join(json.dumps(record) for record in crm_records())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))

    done = run("activecampaign", "--records", "-", "--id", "crm")

    assert (done.status, len(json.loads(done.out)["steps"])) == (0, 7)


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        ([], None, "give the step records with --records FILE; reading them from the platform's API is not available"),
        (["--records", "FILE"], b"\xff", "not UTF-8"),
        (["--records", "FILE"], b'{"a": \n nope}', r"r\.json:2:2: not JSON"),
        (["--records", "FILE"], b"[" * 100_000, "nested too deeply"),
        (["--records", "FILE"], b"9" * 5000, "too many digits"),
        (["--records", "FILE"], b'{"a": 1, "a": 2}', "an object has the same key twice: 'a'"),
        (["--records", "FILE"], b'{"a": NaN}', "NaN is not JSON"),
        (["--records", "FILE"], b'{"a": -1e999}', "the number -1e999 is too large"),
        (["--records", "FILE"], b"[]", "the records contain no steps"),
        (
            ["--records", "FILE", "--id", "No Id"],
            b'[{"name": "A"}]',
            "cannot be the id of a flow: .*; for example, 'no_id'",
        ),
        (["--records", "FILE", "-o", "FOLDER/none/x.json"], b'[{"name": "A"}]', "cannot be written: No such file"),
        (["--records", "FOLDER"], b"", "cannot be read: Is a directory"),
    ],
)
def test_refuses_unusable_values(
    run: Import, write: Write, tmp_path: Path, words: list[str], content: Any, message: str
) -> None:
    path = write("r.json", content or b"")
    named = [word.replace("FILE", str(path)).replace("FOLDER", str(tmp_path)) for word in words]

    with pytest.raises(SourceError, match=message):
        run("hilos", *named)


def test_control_characters_of_a_record_do_not_reach_the_terminal(run: Import, write: Write) -> None:
    records = [step(1, "A\x1b[31m", "MESS\x1b[31mAGE", body="x", next_step_default="\x1b[2J")]

    assert "\x1b" not in run("hilos", "--records", write("r.json", records)).err


def test_a_flow_file_is_not_step_records(run: Import, write: Write) -> None:
    with pytest.raises(SourceError, match="this is a flow file, not step records"):
        run("hilos", "--records", write("f.json", {"flow_format": 1, "id": "f", "steps": []}))

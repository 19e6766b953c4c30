"""``whatsapp-flows validate``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Cli, Write, action, flow

EXAMPLES = Path(__file__).resolve().parents[2] / "dags" / "flows"
FAULTY = """{
  "flow_format": 1,
  "id": "a_flow",
  "steps": [
    {"name": "Ask name", "type": "question", "next": "Say thanks"},
    {"name": "Say thank", "type": "message", "boddy": "Thanks"}
  ]
}
"""


def test_the_example_flows_have_no_faults(cli: Cli) -> None:
    files = sorted(EXAMPLES.glob("*.json"))

    done = cli("validate", *files)

    assert (done.status, done.out, done.err) == (0, "", f"{len(files)} files: no faults\n")


def test_every_fault_of_every_file_is_reported_with_its_place(cli: Cli, write: Write) -> None:
    first, second = write("first.json", FAULTY), write("second.json", '{"flow_format": 1,')
    good = write("good.json", flow(action("Call")))

    done = cli("validate", first, good, second)

    lines = done.out.splitlines()
    assert done.status == 1
    assert any(line.startswith(f"{first}:5:") and "did you mean 'Say thank'?" in line for line in lines)
    assert any(line.startswith(f"{first}:6:") and "did you mean 'body'?" in line for line in lines)
    assert any(line.startswith(f"{second}:1:") for line in lines)
    assert not any(line.startswith(str(good)) for line in lines)
    assert done.err == f"3 files: {len(lines)} faults\n"


def test_json_tells_each_fault_for_programs(cli: Cli, write: Write) -> None:
    file = write("flow.json", FAULTY)

    done = cli("validate", file, "--format", "json")

    faults = json.loads(done.out)
    assert done.status == 1
    assert all(set(fault) == {"file", "line", "column", "path", "step", "message"} for fault in faults)
    [target] = [fault for fault in faults if fault["path"] == ["steps", 0, "next"]]
    assert (target["file"], target["line"], target["step"]) == (str(file), 5, "Ask name")


def test_json_of_a_clean_file_is_an_empty_list(cli: Cli, write: Write) -> None:
    done = cli("validate", write("flow.json", flow(action("Call"))), "--format", "json")

    assert (done.status, json.loads(done.out), done.err) == (0, [], "")


def test_github_gets_one_annotation_for_each_fault(cli: Cli, write: Write) -> None:
    file = write("50%,a:b.json", flow(action("Call", on_success="100%\nsure")))

    done = cli("validate", file, "--format", "github")

    [line] = done.out.splitlines()
    escaped = str(file).replace("%", "%25").replace(",", "%2C").replace(":", "%3A")
    assert done.status == 1
    assert line.startswith(f"::error file={escaped},line=1,col=")
    assert "100%25" in line


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (b'{"name": "caf\xe9"}', ":1:14: ", "UTF-8"),
        (b"", ":1:1: ", ""),
        (b"[]", ":1:1: ", "a flow is a JSON object"),
        (b'{"flow_format": 1, "id": "a", "steps": []}', ":1:40: ", "at least 1"),
        (b"[" * 100_000, ":", "nested"),
        (b'{"flow_format": 1, "flow_format": 1}', ":1:20: ", "flow_format"),
        (b'{"flow_format": NaN}', ":1:", ""),
        (b" " * 1_100_000, ":1:1: ", "bytes"),
        (b'\xef\xbb\xbf{"flow_format": 2}', ":1:17: ", "1"),
        (b'{"flow_format": 1, "id": "a", "steps": [{"name": "\\ud800", "type": "end"}, 7]}', ":1:", ""),
    ],
    ids=["latin-1", "empty", "list", "no-steps", "deep", "duplicate", "nan", "big", "bom", "surrogate"],
)
def test_whatever_a_file_holds_is_a_fault_and_never_a_traceback(
    cli: Cli, write: Write, content: bytes, place: str, words: str
) -> None:
    file = write("flow.json", content)

    done = cli("validate", file)

    assert done.status == 1
    assert any(line.startswith(f"{file}{place}") and words in line for line in done.out.splitlines())


def test_a_file_that_is_not_there_is_a_fault(cli: Cli, tmp_path: Path) -> None:
    done = cli("validate", tmp_path / "nothing.json")

    assert done.status == 1
    assert "No such file" in done.out


def test_a_folder_is_a_fault(cli: Cli, tmp_path: Path) -> None:
    done = cli("validate", tmp_path)

    assert done.status == 1
    assert "cannot be read: Is a directory" in done.out


def test_a_path_that_no_system_has_is_a_fault(cli: Cli) -> None:
    done = cli("validate", "a\0b.json", "x" * 5000)

    assert done.status == 1
    assert len(done.out.splitlines()) == 2


@pytest.mark.parametrize("words", [["validate"], ["validate", "x.json", "--format", "yaml"], ["validat", "x"], []])
def test_a_wrong_call_is_status_2_with_its_usage(cli: Cli, words: list[str]) -> None:
    done = cli(*words)

    assert done.status == 2
    assert done.err.startswith("usage: whatsapp-flows")


@pytest.mark.parametrize("faults", [1, 400], ids=["less than a buffer", "more than a buffer"])
def test_a_reader_that_has_enough_gets_no_traceback(write: Write, faults: int) -> None:
    steps = [action(f"Call {number}", on_success="Nowhere") for number in range(faults)]
    file = write("flow.json", flow(*steps))
    command = [*COMMAND, "validate", str(file)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.close()
        complaints = reader.stderr.read()

    assert b"Traceback" not in complaints
    assert b"BrokenPipe" not in complaints


def test_text_beyond_ascii_is_printed_where_the_terminal_has_none(process: Cli, write: Write) -> None:
    file = write("flow.json", flow({"name": "Saludo ñ", "type": "message", "next": "Adiós"}))

    done = process("validate", file, env={"PYTHONIOENCODING": "ascii"})

    assert done.status == 1
    assert "Adi\\xf3s" in done.out


def _usage(*words: str) -> tuple[float, list[str]]:
    """Seconds of processor time of a command, and the modules that it loaded."""
    code = (
        "import json, resource, sys\n"
        "from airflow_whatsapp_flows.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(json.dumps([status, used.ru_utime + used.ru_stime, sorted(sys.modules)]))\n"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60, env=os.environ)
    status, seconds, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    return seconds, modules


def _twenty_steps() -> dict[str, Any]:
    steps = []
    for number in range(10):
        ask, call, after = f"Ask {number}", f"Call {number}", f"Ask {number + 1}" if number < 9 else None
        steps.append({"name": ask, "type": "question", "body": "Hi {{ contact.first_name }}", "next": call})
        body = {"answer": f"{{{{ step.{ask} }}}}", "phone": "{{ contact.phone }}"}
        steps.append(action(call, body=body, on_success=after))
    return flow(*steps)


def test_validating_imports_neither_airflow_nor_an_http_client(write: Write) -> None:
    _, modules = _usage("validate", str(write("flow.json", _twenty_steps())))

    assert not {"airflow", "aiohttp", "requests", "httpx", "sqlalchemy"} & set(modules)


def test_validating_a_flow_of_twenty_steps_takes_less_than_half_a_second_of_processor_time(write: Write) -> None:
    file = str(write("flow.json", _twenty_steps()))

    # The best of three: what the machine does besides is not the command's.
    assert min(_usage("validate", file)[0] for _ in range(3)) < 0.5

"""``whatsapp-flows validate``."""

from __future__ import annotations

import io
import json
import os
import re
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


def test_reports_every_fault_of_every_file_with_its_location(cli: Cli, write: Write) -> None:
    first, second = write("first.json", FAULTY), write("second.json", '{"flow_format": 1,')
    good = write("good.json", flow(action("Call")))

    done = cli("validate", first, good, second)

    lines = done.out.splitlines()
    assert done.status == 1
    assert any(line.startswith(f"{first}:5:") and "did you mean 'Say thank'?" in line for line in lines)
    assert any(line.startswith(f"{first}:6:") and "did you mean 'body'?" in line for line in lines)
    assert any(line.startswith(f"{second}:1:") for line in lines)
    assert not any(line.startswith(str(good)) for line in lines)
    told = [line for line in lines if line.startswith((f"{first}:", f"{second}:"))]
    assert done.err == f"3 files: {len(told)} faults\n"


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize("cron", ["often", "0 0 30 2 *", "61 * * * *"])
def test_reports_an_impossible_cron_expression(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch, cron: str, as_object: bool
) -> None:
    schedule = {"cron": cron} if as_object else cron
    file = write("a_flow.json", {**flow(action("Call")), "replay": {"source": "a.csv", "schedule": schedule}})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))

    for done in (cli("validate", file), cli("validate", file.parent), cli("validate", "-")):
        assert done.status == 1
        assert re.search(rf":1:\d+: '{re.escape(cron)}' is neither a cron expression", done.out), done


def test_a_cron_expression_that_occurs_is_no_fault(cli: Cli, write: Write) -> None:
    replay = {"source": "a.csv", "schedule": {"cron": "@quarterly", "assets": ["x-crm://leads"]}}

    assert cli("validate", write("flow.json", {**flow(action("Call")), "replay": replay})).status == 0


def test_json_reports_each_fault_for_programs(cli: Cli, write: Write) -> None:
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


def test_github_format_has_one_annotation_per_fault(cli: Cli, write: Write) -> None:
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
        (b"[]", ":1:1: ", "a flow must be a JSON object"),
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
def test_any_file_content_gives_faults_and_never_a_traceback(
    cli: Cli, write: Write, content: bytes, place: str, words: str
) -> None:
    file = write("flow.json", content)

    done = cli("validate", file)

    assert done.status == 1
    assert any(line.startswith(f"{file}{place}") and words in line for line in done.out.splitlines())


def test_a_file_that_does_not_exist_is_a_fault(cli: Cli, tmp_path: Path) -> None:
    done = cli("validate", tmp_path / "nothing.json")

    assert done.status == 1
    assert "No such file" in done.out


def test_a_fault_is_shown_in_its_line_with_its_step(cli: Cli, write: Write) -> None:
    file = write("flow.json", FAULTY)

    done = cli("validate", file)

    lines = done.out.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith(f"{file}:6:"))
    assert lines[first : first + 3] == [
        f"{file}:6:46: unknown key 'boddy'; did you mean 'body'?",
        '   6 |     {"name": "Say thank", "type": "message", "boddy": "Thanks"}',
        "     |                                              ^^^^^^^ in the step 'Say thank'",
    ]


TREE = {"n": {"t": ["ok", "Hi {{ contact.x | uper }}"]}}


@pytest.mark.parametrize(
    ("keys", "message", "at"),
    [
        pytest.param(
            {"body": TREE}, "there is no filter named 'uper'; did you mean 'upper'?", "{{ contact.x |", id="in a tree"
        ),
        pytest.param(
            {"body_type": "form", "body": "a=1&b={{ contact.x | uper }}"},
            "line 1, column 7 of the body: there is no filter named 'uper'; did you mean 'upper'?",
            "{{ contact.x |",
            id="in a form",
        ),
        pytest.param(
            {"body": '{"a": 1,\n "b": tru}'},
            'line 2, column 7 of the body: text must be in double quotes: "tru"',
            "tru}",
            id="JSON",
        ),
        pytest.param(
            {"body": "<a>\n<b></a>"},
            "line 2, column 8 of the body: not well-formed XML: Opening and ending tag mismatch: b line 2 and a",
            '"}',
            id="XML",
        ),
        pytest.param(
            {"body_type": "yaml", "body": "a: 1\nb: [1, 2\nc: 3"},
            "line 3, column 2 of the body: not YAML: expected ',' or ']', but got ':'",
            ": 3",
            id="YAML",
        ),
        pytest.param(
            {"syntax": "activecampaign", "body": '{"a": "é",\n "b": %step.Zip%}'},
            "line 2, column 7 of the body: there is no step named 'Zip'; allowed: Call",
            "%step.Zip%",
            id="between percent signs",
        ),
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_template_faults_have_an_exact_location(
    cli: Cli, write: Write, keys: dict[str, Any], message: str, at: str, ascii_only: bool
) -> None:
    more = {"syntax": keys["syntax"]} if "syntax" in keys else {}
    step = action("Call", **{key: value for key, value in keys.items() if key != "syntax"})
    text = json.dumps(flow(step, **more), ensure_ascii=ascii_only)
    file = write("flow.json", text)

    done = cli("validate", file)

    first, _, carets = done.out.splitlines()
    column = text.index(at) + 1
    assert first == f"{file}:1:{column}: {message}"
    assert carets.endswith(" in the step 'Call'")


def test_one_line_of_each_fault_is_for_grep(cli: Cli, write: Write) -> None:
    file = write("flow.json", FAULTY)

    done = cli("validate", file)

    assert sum(line.startswith(f"{file}:") for line in done.out.splitlines()) == 2
    assert done.err == "1 file: 2 faults\n"


def test_escapes_terminal_control_characters_of_files(cli: Cli, write: Write) -> None:
    bell = action("Call \x1b[31m\u202e", on_success="Nowhere", body="\x07\x9b2J")
    file = write("a\x1b[2J\nb.json", json.dumps(flow(bell), ensure_ascii=False))

    done = cli("validate", file)

    assert done.status == 1
    assert "a\\x1b[2J\\nb.json:1:" in done.out
    assert "allowed: Call \\x1b[31m\\u202e" in done.out
    assert all(line.isprintable() for line in done.out.splitlines())


def test_checks_each_file_of_a_folder_and_its_name(cli: Cli, write: Write, tmp_path: Path) -> None:
    write("a_flow.json", flow(action("Call")))
    write("copy.json", flow(action("Call")))
    write("notes.txt", "no flow")

    done = cli("validate", tmp_path)

    assert done.status == 1
    assert f"{tmp_path / 'copy.json'}:1:26: the flow 'a_flow' must be in a file named a_flow.json" in done.out
    assert "'a_flow.json' also has the id 'a_flow'" in done.out
    assert done.err == "2 files: 2 faults\n"


def test_a_folder_without_flow_files_is_a_fault(cli: Cli, tmp_path: Path) -> None:
    done = cli("validate", tmp_path)

    assert (done.status, done.out) == (1, f"{tmp_path}:flow: there are no flow files (*.json) in this folder\n")


def test_a_dash_reads_standard_input(process: Cli) -> None:
    done = process("validate", "-", stdin=FAULTY.encode())
    assert done.status == 1
    assert "<stdin>:6:46: unknown key 'boddy'" in done.out
    assert "\n     |                                              ^^^^^^^ in" in done.out

    done = process("validate", "-", stdin=json.dumps(flow(action("Call"))).encode("utf-8-sig"))
    assert (done.status, done.out, done.err) == (0, "", "1 file: no faults\n")

    assert "<stdin>:1:2: not UTF-8" in process("validate", "-", stdin=b'"\xff').out
    assert "has more than 1,048,576 bytes" in process("validate", "-", stdin=b" " * 1_100_000).out


def test_an_impossible_path_is_a_fault(cli: Cli) -> None:
    done = cli("validate", "a\0b.json", "x" * 5000)

    assert done.status == 1
    assert [line.rpartition(": ")[2] for line in done.out.splitlines()] == ["not a path", "File name too long"]


@pytest.mark.parametrize("words", [["validate"], ["validate", "x.json", "--format", "yaml"], ["validat", "x"], []])
def test_a_wrong_call_is_status_2_with_its_usage(cli: Cli, words: list[str]) -> None:
    done = cli(*words)

    assert done.status == 2
    assert done.err.startswith("usage: whatsapp-flows")


@pytest.mark.parametrize("faults", [1, 400], ids=["less than a buffer", "more than a buffer"])
def test_a_closed_pipe_causes_no_traceback(write: Write, faults: int) -> None:
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


def test_prints_non_ascii_text_on_an_ascii_terminal(process: Cli, write: Write) -> None:
    file = write("flow.json", flow({"name": "Saludo ñ", "type": "message", "next": "Adiós"}))

    done = process("validate", file, env={"PYTHONIOENCODING": "ascii"})

    assert done.status == 1
    assert "Adi\\xf3s" in done.out


def _usage(*words: str) -> tuple[float, list[str]]:
    """CPU seconds of a command, and the modules that it imported."""
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

    assert not {"airflow", "httptools", "requests", "httpx", "sqlalchemy"} & set(modules)


def test_validates_twenty_steps_in_half_a_second_of_cpu(write: Write) -> None:
    file = str(write("flow.json", _twenty_steps()))

    # The best of three, because of other load on the machine.
    assert min(_usage("validate", file)[0] for _ in range(3)) < 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(json.dumps(flow(action("Call"))), [], id="no faults"),
        pytest.param(FAULTY, ["pydantic"], id="faults"),
    ],
)
def test_imports_pydantic_only_to_report_faults(text: str, expected: list[str], write: Write) -> None:
    code = (
        f"import sys; from airflow_whatsapp_flows.cli import main; main(['validate', {str(write('a.json', text))!r}])\n"
        "print([name for name in ('pydantic', 'aiohttp', 'sqlalchemy', 'yaml', 'lxml') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert done.stdout.splitlines()[-1] == str(expected)

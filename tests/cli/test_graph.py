"""``whatsapp-flows graph``."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from tests.cli.conftest import Cli, Write, action, flow

EXAMPLE = Path(__file__).resolve().parents[2] / "dags" / "flows" / "menu_router.json"


def test_mermaid_is_printed_by_default(cli: Cli) -> None:
    done = cli("graph", EXAMPLE)

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith('flowchart TD\n  start(["Main menu"])\n')
    assert '  s1 -->|"Buy"| s2\n' in done.out


def test_svg_is_a_whole_document(cli: Cli) -> None:
    done = cli("graph", EXAMPLE, "--format", "svg")

    assert (done.status, done.err) == (0, "")
    assert etree.fromstring(done.out.encode("utf-8")).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("form", ["mermaid", "svg"])
def test_a_file_receives_the_printed_output(cli: Cli, tmp_path: Path, form: str) -> None:
    printed = cli("graph", EXAMPLE, "--format", form)

    done = cli("graph", EXAMPLE, "--format", form, "-o", tmp_path / "flow.out")

    assert (done.status, done.out, done.err) == (0, "", "")
    assert (tmp_path / "flow.out").read_bytes() == printed.out.encode("utf-8")


def test_a_flow_with_faults_is_not_drawn(cli: Cli, write: Write, tmp_path: Path) -> None:
    file = write("flow.json", flow(action("Call", on_success="Cal")))

    done = cli("graph", file, "-o", tmp_path / "flow.svg", "--format", "svg")

    assert (done.status, done.out) == (1, "")
    assert f"{file}:1:" in done.err
    assert "did you mean 'Call'?" in done.err
    assert not (tmp_path / "flow.svg").exists()


@pytest.mark.parametrize("command", ["graph", "diff"])
def test_faults_contain_no_terminal_control_characters(cli: Cli, write: Write, command: str) -> None:
    file = write("flow.json", flow(action("\x1b[31mCall\u202e", on_success="\x1b[2JCal")))

    done = cli(command, *[file] * (2 if command == "diff" else 1))

    assert (done.status, done.out) == (1, "")
    assert "allowed: \\x1b[31mCall\\u202e" in done.err
    assert done.err.replace("\n", "").isprintable()


def test_a_file_that_cannot_be_written_is_refused(cli: Cli, tmp_path: Path) -> None:
    done = cli("graph", EXAMPLE, "--output", tmp_path / "nowhere" / "flow.svg")

    assert (done.status, done.out) == (1, "")
    assert done.err == f"{tmp_path / 'nowhere' / 'flow.svg'} cannot be written: No such file or directory\n"


def test_a_flow_too_large_for_mermaid_is_drawn_with_a_warning(cli: Cli, write: Write) -> None:
    steps = [{"name": f"S{number}", "type": "message", "next": f"S{number + 1}"} for number in range(499)]
    file = write("flow.json", flow(*steps, {"name": "S499", "type": "message"}))

    done = cli("graph", file)

    assert done.status == 0
    assert done.out.count("-->") == 501
    assert "--format svg" in done.err


def test_step_names_are_utf_8_on_any_terminal(process: Cli, write: Write) -> None:
    file = write("flow.json", flow({"name": "Saludo ñ 日本", "type": "message"}))

    for form in ("mermaid", "svg"):
        done = process("graph", file, "--format", form, env={"PYTHONIOENCODING": "ascii"})

        assert done.status == 0
        assert "Saludo ñ 日本" in done.out

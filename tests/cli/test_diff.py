"""``whatsapp-flows diff``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Cli, Write, action, flow

EXAMPLE = Path(__file__).resolve().parents[2] / "dags" / "flows" / "menu_router.json"
OLD = flow(
    action("Call", headers={"Authorization": "Bearer s3cr3t"}, body={"a": 1}, on_success="Say"),
    {"name": "Say", "type": "message", "body": "one"},
    not_secret=["Authorization"],
)
NEW = flow(
    action("Call", headers={"Authorization": "Bearer an0ther"}, body={"a": 2}, on_success="Thank", on_error="Stop"),
    {"name": "Thank", "type": "message", "body": "one"},
    {"name": "Stop", "type": "end"},
    timezone="America/Mexico_City",
    not_secret=["Authorization"],
)


def test_equivalent_flows_give_status_0_and_no_output(cli: Cli, write: Write) -> None:
    plain = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    steps = [dict(reversed(step.items())) for step in plain.pop("steps")]
    again = write("again.json", json.dumps({"steps": steps, **plain}, indent=1))

    done = cli("diff", EXAMPLE, again)

    assert (done.status, done.out, done.err) == (0, "", "no differences\n")


def test_prints_one_line_per_difference_without_secrets(cli: Cli, write: Write) -> None:
    done = cli("diff", write("old.json", OLD), write("new.json", NEW))

    assert done.status == 3
    assert done.out.splitlines() == [
        'flow: timezone: "UTC" → "America/Mexico_City"',
        "Thank: renamed from Say",
        "Stop: added (end)",
        'Call: headers.Authorization: "***" → "***" (a secret changed)',
        "Call: body.a: 1 → 2",
        "Call: on_error: (none) → Stop",
    ]
    assert done.err == "6 differences\n"


def test_json_contains_the_same(cli: Cli, write: Write) -> None:
    done = cli("diff", write("old.json", OLD), write("new.json", NEW), "--format", "json")

    found = json.loads(done.out)
    assert (done.status, len(found), done.err) == (3, 6, "")
    assert found[2] == {"what": "added", "part": "step", "step": "Stop", "path": "", "hidden": False, "new": "end"}
    assert found[3] == {
        "what": "changed", "part": "request", "step": "Call", "path": "headers.Authorization", "hidden": True,
        "old": "***", "new": "***",
    }  # fmt: skip
    assert "s3cr3t" not in done.out


def test_json_of_equivalent_flows_is_an_empty_list(cli: Cli) -> None:
    done = cli("diff", EXAMPLE, EXAMPLE, "--format", "json")

    assert (done.status, json.loads(done.out), done.err) == (0, [], "")


def test_shows_where_long_texts_differ(cli: Cli, write: Write) -> None:
    text = "word " * 100
    old = write("old.json", flow({"name": "A", "type": "message", "body": f"{text}HERE {text}"}))
    new = write("new.json", flow({"name": "A", "type": "message", "body": f"{text}THERE {text}"}))

    [line] = cli("diff", old, new).out.splitlines()

    assert "HERE" in line
    assert "THERE" in line
    assert len(line) < 250


def test_a_name_cannot_start_a_new_line(cli: Cli, write: Write) -> None:
    old = write("old.json", flow({"name": "A", "type": "menu", "options": {"x\n\x1b[31m": None}}))
    new = write("new.json", flow({"name": "A", "type": "menu", "options": {"x\n\x1b[31m": "A"}, "on_no_answer": "B"},
                                 {"name": "B", "type": "end"}))  # fmt: skip

    done = cli("diff", old, new)

    assert done.status == 3
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) == 3


def test_the_faults_of_both_files_are_reported(cli: Cli, write: Write, tmp_path: Path) -> None:
    file = write("old.json", flow(action("Call", on_success="Cal")))

    done = cli("diff", file, tmp_path / "nothing.json")

    assert (done.status, done.out) == (1, "")
    assert f"{file}:1:" in done.err
    assert f"{tmp_path / 'nothing.json'}:flow: the file cannot be read" in done.err


def test_one_file_is_a_usage_error(cli: Cli) -> None:
    assert cli("diff", EXAMPLE).status == 2

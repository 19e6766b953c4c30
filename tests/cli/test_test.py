"""``whatsapp-flows test``."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, Write, action, flow

EXPECT = {"path": ["Call", "Say"], "state": "completed"}
SAY = {"name": "Say", "type": "message", "body": "Hi"}


def a_flow_with(*tests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return flow(action("Call", on_success="Say", on_error="Say"), SAY, tests=list(tests), **more)


def one(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "replies": [{"step": "Call"}], "expect": EXPECT, **more}


GOOD, BAD = one("calls and says"), one("says nothing", expect={"path": ["Call"]})


def test_lists_passing_tests_and_untaken_exits(cli: Cli, write: Write) -> None:
    file = write("a_flow.json", a_flow_with(GOOD))

    done = cli("test", file)

    assert done.status == 0
    assert done.out.splitlines() == [
        f"{file}: 1 of 1 passed",
        "  ok    calls and says",
        "  exits never taken: Call (error)",
    ]
    assert done.err == "1 test: 1 passed\n"


def test_a_failing_test_reports_the_difference_and_the_path(cli: Cli, write: Write) -> None:
    done = cli("test", write("a_flow.json", a_flow_with(GOOD, BAD)))

    assert done.status == 3
    assert done.out.splitlines()[2:5] == [
        "  FAIL  says nothing",
        "        path: expected to end after step 1, continues with 'Say'",
        "        actual path: Call → Say",
    ]
    assert done.err == "2 tests: 1 passed, 1 failed\n"


def test_no_connection_and_no_network_are_needed(cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CRM", raising=False)
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("it opens a socket"))

    assert cli("test", write("a_flow.json", a_flow_with(GOOD))).status == 0


def test_a_folder_means_its_flow_files(cli: Cli, write: Write) -> None:
    file = write("a_flow.json", a_flow_with(GOOD))
    write("b_flow.json", a_flow_with(BAD, id="b_flow"))

    done = cli("test", file.parent)

    assert done.status == 3
    assert done.err == "2 tests: 1 passed, 1 failed\n"


def test_a_flow_without_tests_is_reported_and_is_no_failure(cli: Cli, write: Write) -> None:
    file = write("a_flow.json", a_flow_with())

    done = cli("test", file)

    assert done.status == 0
    assert done.out == f'{file}: no tests; add them in its key "tests"\n'
    assert done.err == "0 tests: 0 passed, 1 flow without tests\n"


def test_a_folder_without_flow_files_is_reported(cli: Cli, tmp_path: Path) -> None:
    done = cli("test", tmp_path)

    assert done.status == 1
    assert "there are no flow files (*.json) in this folder" in done.err


def test_a_file_with_faults_is_refused_and_the_others_are_tested(cli: Cli, write: Write) -> None:
    faulty = write("faulty.json", a_flow_with(one("a", expect={"path": ["Cal", "Sy"]})))
    good = write("a_flow.json", a_flow_with(GOOD))

    done = cli("test", faulty, good, "absent.json")

    assert done.status == 1
    assert f"{faulty}:1:" in done.err
    assert ["did you mean 'Call'?" in done.err.splitlines()[0], "'Say'?" in done.err.splitlines()[1]] == [True, True]
    assert "absent.json" in done.err
    assert f"{good}: 1 of 1 passed" in done.out
    assert done.err.endswith("1 test: 1 passed, 2 files refused\n")


def test_tests_can_be_chosen_by_their_name(cli: Cli, write: Write) -> None:
    file = write("a_flow.json", a_flow_with(GOOD, BAD))

    done = cli("test", file, "--name", "CALLS")

    assert done.status == 0
    assert done.out.splitlines() == [f"{file}: 1 of 1 passed", "  ok    calls and says"]


def test_refuses_an_unknown_test_name(cli: Cli, write: Write) -> None:
    done = cli("test", write("a_flow.json", a_flow_with(GOOD)), "--name", "cals")

    assert done.status == 1
    assert "no test name contains 'cals'" in done.err


def test_json_reports_everything_for_programs(cli: Cli, write: Write) -> None:
    file, faulty = write("a_flow.json", a_flow_with(GOOD, BAD)), write("faulty.json", "{")

    done = cli("test", file, faulty, "--format", "json")

    told = json.loads(done.out)
    (tested_flow,) = told["flows"]
    assert done.status == 1
    assert (tested_flow["file"], tested_flow["id"]) == (str(file), "a_flow")
    assert [(run["name"], run["passed"]) for run in tested_flow["tests"]] == [
        ("calls and says", True),
        ("says nothing", False),
    ]
    assert tested_flow["tests"][1]["mismatches"] == [
        {
            "where": "path",
            "message": "expected to end after step 1, continues with 'Say'",
            "expected": ["Call"],
            "got": ["Call", "Say"],
        }
    ]
    assert tested_flow["tests"][0]["requests"] == [{"step": "Call", "method": "POST", "url": "/v1/x"}]
    assert tested_flow["exits_never_taken"] == [{"step": "Call", "exit": "error"}]
    assert [refused["file"] for refused in told["refused"]] == [str(faulty)]


def test_a_leftover_reply_is_reported(cli: Cli, write: Write) -> None:
    done = cli("test", write("a_flow.json", a_flow_with(one("a", replies=[{"step": "Call"}, {"step": "Call"}]))))

    assert done.status == 0
    assert "        replies[1] was not used" in done.out.splitlines()


def test_names_cannot_move_the_cursor(cli: Cli, write: Write) -> None:
    done = cli("test", write("a_flow.json", a_flow_with(one("a\x1b[2Jb\nc"))))

    assert "  ok    a [2Jb c" in done.out.splitlines()


@pytest.mark.parametrize("path", ["x" * 5000, "absent/a_flow.json", "."])
def test_a_path_that_cannot_be_read_is_reported(
    cli: Cli, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = cli("test", path)

    assert done.status == 1
    assert done.err.startswith(f"{path}:")

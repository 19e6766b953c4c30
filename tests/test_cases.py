"""One meaning: a flow and a contact's answers give the same requests and the same path by every road."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cases.roads import REPOSITORY, ROADS, Case, Seen, all_cases, by_cli, by_dag, by_replay, by_walk

CASES = {case.name: case for case in all_cases()}
COMPARISONS = {"exact", "gt", "gte", "lt", "lte", "isnull", "icontains", "!exact", "!isnull", "!icontains"}
BODY_TYPES = {"json", "form", "multipart", "xml", "yaml", "plain", "none"}
# A process costs seconds; in these, every kind of exit status and text beyond ASCII goes through one.
IN_A_PROCESS = ("lead_to_crm_success", "naughty_answer_json", "lead_to_crm_both_fail", "document_upload_success")


def going(road: str) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(c, id=n) for n, c in CASES.items() if road in c.roads])


def check(case: Case, seen: Seen) -> None:
    expected = case.data["expect"]
    assert seen.requests == case.requests
    assert seen.path == expected["path"]
    assert seen.exits == seen.exits | expected.get("exits", {})
    assert seen.messages == seen.messages | expected.get("messages", {})
    assert seen.handled_errors == expected.get("handled_errors", 0)
    errors = {step: result["kind"] for step, result in seen.results.items() if result["kind"]}
    assert errors == expected.get("errors", {})


@going("walk")
def test_the_walk_sends_and_ends_as_the_case_says(case: Case) -> None:
    seen = by_walk(case)

    check(case, seen)
    assert seen.state == case.data["expect"]["state"]
    assert seen.unanswered == case.data["expect"].get("unanswered", False)


@going("cli")
def test_the_command_line_sends_and_ends_as_the_walk_does(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = by_cli(case, tmp_path, monkeypatch, capsys, process=case.name in IN_A_PROCESS)

    check(case, seen)
    assert seen == by_walk(case)


@going("replay")
def test_a_replay_sends_and_ends_as_the_walk_does(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, walked = by_replay(case, tmp_path, monkeypatch), by_walk(case)

    assert seen.requests == walked.requests == case.requests
    assert (seen.path, seen.state) == (walked.path, walked.state)
    assert (seen.handled_errors, seen.unanswered) == (walked.handled_errors, walked.unanswered)
    for step, result in seen.results.items():
        assert result == {name: walked.results[step][name] for name in result}


@going("dag")
def test_the_dag_sends_and_ends_as_the_walk_does(case: Case, airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, walked = by_dag(case, monkeypatch), by_walk(case)

    if walked.state == "rejected":
        # No step is visited; in a DAG it is the first task that says so.
        assert seen == Seen(path=[case.flow.start], exits={case.flow.start: None}, state="failed")
        return
    check(case, seen)
    # A task is green or red: what a walk tells apart beyond that is in its message.
    green = "success" if walked.state == "completed" else "failed"
    exits = walked.exits if green == "success" else {**walked.exits, walked.path[-1]: None}
    messages = {step: text for step, text in walked.messages.items() if exits[step] or green == "success"}
    assert seen == replace(walked, state=green, exits=exits, messages=messages, unanswered=False)


def test_every_example_flow_has_cases_for_success_and_for_error() -> None:
    for flow in (REPOSITORY / "dags" / "flows").glob("*.json"):
        errors = [
            bool(c.data["expect"].get("errors")) for c in CASES.values() if flow.name in str(c.data.get("flow_file"))
        ]
        assert False in errors, f"{flow.name} has no case without an error"
        assert True in errors, f"{flow.name} has no case with an error"


def test_the_cases_take_every_body_type_and_every_comparison() -> None:
    bodies, comparisons = set(), set()
    for case in CASES.values():
        for step in case.flow.steps.values():
            bodies |= {step.plan.body_type.value} if hasattr(step, "plan") else set()
            for path in getattr(step, "paths", ()):
                comparisons |= {condition.comparison for condition in path.conditions}
    assert bodies == BODY_TYPES
    assert comparisons == COMPARISONS


def test_few_cases_cannot_go_every_road_and_each_says_why() -> None:
    partial = [case for case in CASES.values() if set(case.roads) != set(ROADS)]
    assert all(case.data.get("why") for case in partial)
    assert len(partial) <= len(CASES) // 10

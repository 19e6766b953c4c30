"""A flow and a contact's answers give the same requests and path on every road."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.format import STEP_FORMATS, AnsweredStep, AnswerType
from airflow_whatsapp_flows.flow.inspect.testing import run_flow_test, untaken_exits
from airflow_whatsapp_flows.flow.model import Action, Flow, Question
from airflow_whatsapp_flows.flow.reply.result import Outcome
from airflow_whatsapp_flows.flow_files import load_flow_file
from tests.cases.case import REPOSITORY, ROADS, Case, Seen
from tests.roads.roads import all_cases, by_cli, by_dag, by_replay, by_walk

CASES = {case.name: case for case in all_cases()}
COMPARISONS = {"exact", "gt", "gte", "lt", "lte", "isnull", "icontains", "!exact", "!isnull", "!icontains"}
BODY_TYPES = {"json", "form", "multipart", "xml", "yaml", "plain", "none"}
NAMED_EXITS = {
    "next",
    "no answer",
    "answer failed",
    "success",
    "error",
    "otherwise",
    "unanswered",
    "completed",
    "failed",
}
EXITS: dict[str, set[str]] = {
    "question": {"next", "no answer", "answer failed", "unanswered", "failed"},
    "menu": {"one of its own", "no answer", "answer failed", "unanswered", "failed"},
    "message": {"next"},
    "template": {"one of its own", "next", "no answer", "answer failed", "unanswered", "failed"},
    "conditional": {"one of its own", "otherwise"},
    "action": {"success", "error", "failed", "in_doubt"},
    "delay": {"next", "failed"},
    "contact_update": {"next"},
    "tag": {"next"},
    "assignation": {"next"},
    "go_to": {"next"},
    "trigger_flow": {"completed"},
    "end": {"completed", "failed"},
}
# A process takes seconds; these cases cover every exit status and non-ASCII text.
IN_A_PROCESS = ("lead_to_crm_success", "naughty_answer_json", "lead_to_crm_both_fail", "document_upload_success")


def cases_on(road: str, share: int = 1) -> Any:
    """One test for each case of a road.

    Args:
        road: as the cases name it.
        share: one case of so many belongs to `make test`, the others to `make long`.
    """
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, id=name, marks=[pytest.mark.long] if number % share else [])
            for number, (name, case) in enumerate(CASES.items())
            if road in case.roads
        ],
    )


def check(case: Case, seen: Seen) -> None:
    expected = case.data["expect"]
    assert seen.requests == case.requests
    assert seen.path == expected["path"]
    assert seen.exits == seen.exits | expected.get("exits", {})
    assert seen.messages == seen.messages | expected.get("messages", {})
    assert seen.details == seen.details | expected.get("details", {})
    errors = {step: result["kind"] for step, result in seen.results.items() if result["kind"]}
    assert errors == expected.get("errors", {})
    check_end(case, seen)


def check_end(case: Case, seen: Seen) -> None:
    expected = case.data["expect"]
    ending = (seen.state, seen.reason, seen.handled_errors, seen.unanswered)
    wanted = (expected.get("reason", ""), expected.get("handled_errors", 0), expected.get("unanswered", False))
    assert ending == (expected["state"], *wanted)


def assert_same_by_replay(seen: Seen, walked: Seen) -> None:
    """A replay reports less of a contact than a walk, and all of it is equal."""
    assert seen.requests == walked.requests
    assert seen.path == walked.path
    ending = (seen.state, seen.reason, seen.handled_errors, seen.unanswered)
    assert ending == (walked.state, walked.reason, walked.handled_errors, walked.unanswered)
    for step, result in seen.results.items():
        assert result == {name: walked.results[step][name] for name in result}


def is_keyed(flow: Flow, step: str) -> bool:
    action = flow.steps[step]
    return isinstance(action, Action) and action.retry.delivery is Delivery.KEYED


def assert_same_by_dag(case: Case, seen: Seen, walked: Seen) -> None:
    # The ledger numbers attempts by their key, and a keyed action in doubt keeps its key at the next visit.
    for step in {step for step in walked.results if walked.path.count(step) > 1 and is_keyed(case.flow, step)}:
        seen.results[step]["attempts"] = walked.results[step]["attempts"]
    assert seen == walked
    assert seen.red_tasks == walked.red_tasks


@cases_on("walk")
def test_the_walk_matches_the_case(case: Case) -> None:
    seen = by_walk(case)

    check(case, seen)


@cases_on("cli")
def test_the_command_line_agrees_with_the_walk(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = by_cli(case, tmp_path, monkeypatch, capsys, process=case.name in IN_A_PROCESS)

    check(case, seen)
    assert seen == by_walk(case)


@cases_on("replay")
def test_a_replay_agrees_with_the_walk(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, walked = by_replay(case, tmp_path, monkeypatch), by_walk(case)

    assert walked.requests == case.requests
    assert_same_by_replay(seen, walked)
    check_end(case, seen)


@cases_on("dag", share=3)  # a run in Airflow takes half a second
def test_the_dag_agrees_with_the_walk(case: Case, airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, walked = by_dag(case, monkeypatch), by_walk(case)

    assert_same_by_dag(case, seen, walked)
    check(case, seen)


def test_every_example_flow_has_cases_for_success_and_for_error() -> None:
    for flow in (REPOSITORY / "dags" / "flows").glob("*.json"):
        errors = [
            bool(c.data["expect"].get("errors")) for c in CASES.values() if flow.name in str(c.data.get("flow_file"))
        ]
        assert False in errors, f"{flow.name} has no case without an error"
        assert True in errors, f"{flow.name} has no case with an error"


def test_the_cases_cover_every_body_type_and_comparison() -> None:
    bodies, comparisons = set(), set()
    for case in CASES.values():
        for step in case.flow.steps.values():
            bodies |= {step.plan.body_type.value} if hasattr(step, "plan") else set()
            for path in getattr(step, "paths", ()):
                comparisons |= {condition.comparison for condition in path.conditions}
    assert bodies == BODY_TYPES
    assert comparisons == COMPARISONS


def test_the_cases_cover_every_exit_of_every_step_type() -> None:
    assert set(EXITS) == set(STEP_FORMATS)
    taken: dict[str, set[str]] = {kind: set() for kind in STEP_FORMATS}
    for case in CASES.values():
        types = {step["name"]: step["type"] for step in json.loads(case.source)["steps"]}
        walked = by_walk(case)
        for visit in walked.visits:
            kind = types[visit.step]
            way = visit.exit or ("unanswered" if walked.unanswered else walked.state)
            own = way not in NAMED_EXITS and kind in ("menu", "template", "conditional")
            taken[kind].add("one of its own" if own else way)
    missing = {kind: EXITS[kind] - ways for kind, ways in taken.items() if EXITS[kind] - ways}
    assert missing == {}


def test_the_cases_cover_fitting_and_misfit_answers() -> None:
    fits, misfits = set(), set()
    for case in CASES.values():
        questions = {name: step for name, step in case.flow.steps.items() if isinstance(step, Question)}
        for visit in by_walk(case).visits:
            if visit.step in questions and visit.exit in ("next", "answer failed"):
                (fits if visit.exit == "next" else misfits).add(questions[visit.step].rule.answer_type)
    assert fits == set(get_args(AnswerType))
    assert misfits == fits - {"ANY", "FREE_TEXT"} | {"ANY"}  # a list of options has misfits of every type


def test_the_cases_cover_every_kind_of_loop() -> None:
    kinds = set()
    for case in CASES.values():
        flow, walked = case.flow, by_walk(case)
        kinds |= {f"{len(flow.loops)} in one flow", *(f"{min(len(loop), 2)} step(s)" for loop in flow.loops)}
        kinds |= {"polling" for visit in walked.visits if flow.is_polling(visit.step) and visit.exit == "next"}
        for name, step in flow.steps.items():
            if step.max_visits < 100 and walked.path.count(name) == step.max_visits > 1:
                way = "on_max_visits" if step.on_max_visits in walked.path else walked.state
                kinds.add(f"no visits left: {way}")
    assert kinds >= {"0 in one flow", "1 in one flow", "2 in one flow", "1 step(s)", "2 step(s)", "polling"}
    assert kinds >= {"no visits left: on_max_visits", "no visits left: failed", "no visits left: in_doubt"}


def test_the_cases_use_every_key_of_every_step() -> None:
    used: dict[str, set[str]] = {kind: set() for kind in STEP_FORMATS}
    for case in CASES.values():
        for step in json.loads(case.source)["steps"]:
            used[step["type"]] |= set(step)
    shared = {"name", "type", *AnsweredStep.__struct_fields__} - {"body"}
    missing = {kind: set(STEP_FORMATS[kind].__struct_fields__) - shared - keys for kind, keys in used.items()}
    assert {kind: keys for kind, keys in missing.items() if keys} == {}
    anywhere = set().union(*used.values())
    assert set(AnsweredStep.__struct_fields__) <= anywhere | {"platform_id", "message_type"}


@pytest.mark.parametrize("file", sorted((REPOSITORY / "dags" / "flows").glob("*.json")), ids=lambda file: file.stem)
def test_tests_of_every_example_flow_pass_and_cover_errors(file: Path) -> None:
    flow = load_flow_file(file, in_flows_folder=True)
    runs = [run_flow_test(flow, test) for test in flow.tests]

    assert [(run.name, run.mismatches) for run in runs if not run.passed] == []
    outcomes = {visit.result.outcome for run in runs for visit in run.walk.visits if visit.result is not None}
    assert outcomes == set(Outcome)
    untaken = untaken_exits(flow, runs)
    # Consecutive calls fail in the same way: one is enough.
    assert [way for way in untaken if way.exit not in ("error", "success", "otherwise")] == []


def test_cases_that_cannot_run_on_every_road_give_a_reason() -> None:
    partial = [case for case in CASES.values() if set(case.roads) != set(ROADS)]
    assert all(case.data.get("why") for case in partial)
    assert len(partial) <= len(CASES) // 10

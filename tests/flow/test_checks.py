"""Faults of a flow as a graph."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.checks import find_loop, references_of
from airflow_whatsapp_flows.flow.format import STEP_FORMATS
from tests.flow.samples import FLOW, action, faults_of, flow_of


def faults(*steps: dict[str, Any], **keys: Any) -> list[str]:
    found = faults_of({"flow_format": 1, "id": "f", "steps": list(steps), **keys})
    return [fault.removeprefix("<flow>:") for fault in found]


def say(name: str, body: str = "", **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": "message", "body": body, **keys}


@pytest.mark.parametrize(
    ("step", "place"),
    [
        pytest.param(say("a", next="Nope"), "next", id="next"),
        pytest.param(say("a", on_max_visits="Nope"), "on_max_visits", id="on_max_visits"),
        pytest.param(action(on_success="Nope"), "on_success", id="on_success"),
        pytest.param(action(on_error="Nope"), "on_error", id="on_error"),
        pytest.param({"name": "q", "type": "question", "on_no_answer": "Nope"}, "on_no_answer", id="on_no_answer"),
        pytest.param({"name": "q", "type": "question", "on_answer_failed": "Nope"}, "on_answer_failed", id="failed"),
        pytest.param({"name": "m", "type": "menu", "options": {"A.b": "Nope"}}, "options.A.b", id="option"),
        pytest.param(
            {
                "name": "c",
                "type": "conditional",
                "paths": [{"conditions": [{"field": "contact.a", "comparison": "isnull"}], "next": "Nope"}],
            },
            "paths[0].next",
            id="path",
        ),
        pytest.param(
            {
                "name": "c",
                "type": "conditional",
                "otherwise": "Nope",
                "paths": [{"conditions": [{"field": "contact.a", "comparison": "isnull"}]}],
            },
            "otherwise",
            id="otherwise",
        ),
    ],
)
def test_a_target_that_is_not_there_is_a_fault_where_it_stands(step: dict[str, Any], place: str) -> None:
    assert faults(step) == [f"steps[0].{place}: there is no step called 'Nope'; allowed: {step['name']}"]


def test_the_start_must_be_a_step() -> None:
    assert faults(say("Hello"), start="Helo") == ["start: there is no step called 'Helo'; did you mean 'Hello'?"]


def test_names_are_unique_and_without_blanks_around() -> None:
    assert faults(say("a", next="a "), say("a "), say("a"), say("b\n"), say("c\tc")) == [
        "steps[1].name: a name has no blanks around it and no control characters",
        "steps[2].name: a step called 'a' stands in line 1 already",
        "steps[3].name: a name has no blanks around it and no control characters",
        "steps[4].name: a name has no blanks around it and no control characters",
    ]


def test_a_step_that_nothing_leads_to_is_a_fault_also_beside_a_bad_template() -> None:
    assert faults(say("a", "{{ x }}"), say("b", next="c"), say("c")) == [
        "steps[0].body: 'x' is not a variable of a flow; allowed: contact, flow_execution_variables, global, step",
        "steps[1].name: no step leads here; remove it, or name it as a target",
        "steps[2].name: no step leads here; remove it, or name it as a target",
    ]


def test_a_misspelt_key_does_not_also_make_its_target_unreachable() -> None:
    assert faults(action("a", on_sucess="b"), say("b")) == [
        "steps[0].on_sucess: unknown key 'on_sucess'; did you mean 'on_success'?"
    ]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(
            [say("a", "1 {{ step.b.status_code }}", next="b"), action("b")],
            ["steps[0].body: step.b.status_code: 'b' cannot have run before 'a'"],
            id="a later step",
        ),
        pytest.param(
            [action("a", body={"x": ["{{ step.a.response }}"]})],
            ["steps[0].body.x[0]: step.a.response: a step cannot read its own result"],
            id="itself",
        ),
        pytest.param(
            [say("a", next="b"), say("b", "{{ step.a }}")],
            ["steps[1].body: step.a: a message step leaves no value"],
            id="a message",
        ),
        pytest.param(
            [action("a", on_success="b", on_error="c"), say("b", "{{ step.c.ok }}"), action("c")],
            ["steps[1].body: step.c.ok: 'c' cannot have run before 'b'"],
            id="the other branch",
        ),
        pytest.param(
            [action("a", on_success="b", body="{{ (step.b.ok ~ 1) | upper }}"), action("b")],
            ["steps[0].body: step.b.ok: 'b' cannot have run before 'a'"],
            id="in an expression",
        ),
    ],
)
def test_a_step_reads_only_what_can_have_run_before(steps: list[dict[str, Any]], expected: list[str]) -> None:
    assert faults(*steps) == expected


def test_the_place_of_a_reference_is_where_it_is_written() -> None:
    text = '{"flow_format": 1, "id": "f", "steps": [\n {"name": "a", "type": "message", "body": "Hi {{ step.a.x }}"}]}'

    column = text.split("\n")[1].index("step.") + 1
    assert faults_of(text) == [f"<flow>:2:{column}: step.a.x: a message step leaves no value"]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [action("a", on_success="b", on_error="b"), say("b", "{{ step.a.ok }}")], id="a branch that joins"
        ),
        pytest.param(
            [say("s", next="a"), action("a", on_success="b", body="{{ step.b.ok }}"), action("b", on_error="a")],
            id="a loop",
        ),
        pytest.param([action("a", on_error="a", body="{{ step.a.status_code }}")], id="itself in a loop"),
        pytest.param(
            [
                say("a", max_visits=1, on_max_visits="c", next="b"),
                action("b", on_success="a"),
                say("c", "{{ step.b.ok }}"),
            ],
            id="by the exit of exhausted visits",
        ),
    ],
)
def test_a_step_may_read_whatever_can_have_run_before(steps: list[dict[str, Any]]) -> None:
    assert flow_of(*steps)


def test_the_sample_has_no_loop_and_a_loop_is_found() -> None:
    flow = flow_of(*FLOW["steps"])
    assert find_loop(flow.steps, flow.start) is None

    loop = flow_of(say("s", next="a"), say("a", next="b"), action("b", on_error="a"))
    assert find_loop(loop.steps, loop.start) == ["a", "b", "a"]


def test_references_of_every_step() -> None:
    flow = flow_of(*FLOW["steps"])

    assert {name: [reference.text for reference in references_of(step)] for name, step in flow.steps.items()} == {
        "Ask name": [],
        "Choose": [],
        "Decide": ["contact.meta.age"],
        "Create contact": ["contact.phone", "step.Ask name", "step.Ask name"],
        "Say thanks": ["contact.first_name"],
        "Give up": ["step.Create contact.error.kind"],
    }


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"on_error": "Nope"}, id="a target that is not there"),
        pytest.param({"on_eror": "c"}, id="a misspelt key"),
    ],
)
def test_a_step_that_may_lead_anywhere_hides_only_what_it_makes_uncertain(broken: dict[str, Any]) -> None:
    steps = [
        say("a", "{{ step.d.ok }}", next="b"),
        action("b", on_success="c", body="{{ step.d.ok }}", **broken),
        say("c", "{{ step.a }} {{ step.b.ok }} {{ step.d.ok }}", next="d"),
        action("d", body="{{ step.d.ok }}"),
    ]

    found = faults(*steps)
    # A step whose keys are wrong is not built, so nobody knows what it reads.
    of_b = ["steps[1].body: step.d.ok: 'd' cannot have run before 'b'"] if "on_error" in broken else []
    assert [fault for fault in found if "step." in fault] == [
        "steps[0].body: step.d.ok: 'd' cannot have run before 'a'",
        *of_b,
        "steps[2].body: step.a: a message step leaves no value",
        "steps[2].body: step.d.ok: 'd' cannot have run before 'c'",
        "steps[3].body: step.d.ok: a step cannot read its own result",
    ]
    assert len(found) == 5 + len(of_b)


def test_a_start_that_is_not_there_hides_no_reference() -> None:
    assert faults(say("a", "{{ step.b.ok }}", next="b"), action("b"), start="x") == [
        "steps[0].body: step.b.ok: 'b' cannot have run before 'a'",
        "start: there is no step called 'x'; allowed: a, b",
    ]


def test_what_only_a_dangling_target_could_lead_to_is_not_called_unreachable_or_too_early() -> None:
    assert faults(action("a", on_success="bb"), say("B", "{{ step.a.ok }}")) == [
        "steps[0].on_success: there is no step called 'bb'; did you mean 'B'?"
    ]


@pytest.mark.parametrize("step_type", ["question", "menu", "message", "conditional", "action", "end"])
def test_every_type_of_step_says_whether_it_leaves_a_value(step_type: str) -> None:
    assert STEP_FORMATS[step_type].leaves_value is (step_type in ("question", "menu", "action"))


def test_hundreds_of_targets_that_are_not_there_are_told_in_seconds() -> None:
    steps = [action(str(n), on_success="Nope", body="{{ step.0.ok }}") for n in range(500)]
    started = time.monotonic()

    assert len(faults(*steps)) == 500
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("replay", "expected"),
    [
        pytest.param(
            {"quiet_hours": {"start": "21:00", "end": "21:00"}},
            "replay.quiet_hours.end: quiet hours that end when they start are none, or all day; "
            "give another end, or remove them",
            id="quiet_hours",
        ),
        pytest.param(
            {"query": "SELECT 1"},
            "replay.query: a query needs a 'source': the database that it is asked of",
            id="query",
        ),
        pytest.param(
            {"fail_when": "budget"},
            "replay.fail_when: 'budget' needs 'max_failures': the contacts that may fail",
            id="budget",
        ),
    ],
)
def test_keys_of_the_replay_go_together(replay: dict[str, Any], expected: str) -> None:
    assert faults(action(), replay=replay) == [expected]


def test_a_fault_of_the_replay_has_its_place() -> None:
    text = '{"flow_format": 1, "id": "f", "replay":\n {"query": "SELECT 1"},\n "steps": [{"name": "e", "type": "end"}]}'
    assert [fault.split(": ")[0] for fault in faults_of(text)] == ["<flow>:2:12"]

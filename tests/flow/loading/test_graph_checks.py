"""Faults of a flow as a graph."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.format import STEP_FORMATS
from airflow_whatsapp_flows.flow.loading.graph_checks import references_of
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
def test_a_missing_target_is_a_fault_at_its_location(step: dict[str, Any], place: str) -> None:
    assert faults(step) == [f"steps[0].{place}: there is no step named 'Nope'; allowed: {step['name']}"]


@pytest.mark.parametrize("name", [{}, [], 7, None])
def test_reports_other_faults_of_a_step_with_an_invalid_name(name: Any) -> None:
    assert any("there is no step named 'Nope'" in fault for fault in faults(say(name, next="Nope"), say("a")))


def test_the_start_must_be_a_step() -> None:
    assert faults(say("Hello"), start="Helo") == ["start: there is no step named 'Helo'; did you mean 'Hello'?"]


def test_names_are_unique_and_without_blanks_around() -> None:
    assert faults(say("a", next="a "), say("a "), say("a"), say("b\n"), say("c\tc")) == [
        "steps[1].name: a name cannot have leading or trailing spaces, or control characters",
        "steps[2].name: the name 'a' is already used on line 1",
        "steps[3].name: a name cannot have leading or trailing spaces, or control characters",
        "steps[4].name: a name cannot have leading or trailing spaces, or control characters",
    ]


def test_reports_unreachable_steps_despite_a_bad_template() -> None:
    assert faults(say("a", "{{ x }}"), say("b", next="c"), say("c")) == [
        "steps[0].body: 'x' is not a variable of a flow; allowed: contact, flow_execution_variables, global, step",
        "steps[1].name: no step leads here; remove it, or make it the target of another step",
        "steps[2].name: no step leads here; remove it, or make it the target of another step",
    ]


def test_a_misspelled_key_does_not_make_its_target_unreachable() -> None:
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
            ["steps[1].body: step.a: a message step has no value"],
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
def test_references_to_later_steps_are_faults(steps: list[dict[str, Any]], expected: list[str]) -> None:
    assert faults(*steps) == expected


def test_a_reference_fault_has_the_location_of_the_reference() -> None:
    text = '{"flow_format": 1, "id": "f", "steps": [\n {"name": "a", "type": "message", "body": "Hi {{ step.a.x }}"}]}'

    column = text.split("\n")[1].index("step.") + 1
    assert faults_of(text) == [f"<flow>:2:{column}: step.a.x: a message step has no value"]


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
def test_references_to_possible_earlier_steps_are_allowed(steps: list[dict[str, Any]]) -> None:
    assert flow_of(*steps)


def test_references_of_every_step() -> None:
    flow = flow_of(*FLOW["steps"])

    assert {name: [reference.text for reference in references_of(step)] for name, step in flow.steps.items()} == {
        "Ask name": [],
        "Choose": [],
        "Decide": ["contact.meta.age"],
        "Create contact": ["contact.phone", "step.Ask name", "step.Ask name"],
        "Say thanks": ["contact.first_name"],
        "Remind": ["contact.first_name"],
        "A day later": [],
        "Note it": ["step.Ask name"],
        "Mark": ["step.Choose"],
        "Hand over": [],
        "Onwards": [],
        "Survey": [],
        "Give up": ["step.Create contact.error.kind"],
    }


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"on_error": "Nope"}, id="a target that is not there"),
        pytest.param({"on_eror": "c"}, id="a misspelt key"),
    ],
)
def test_a_step_with_a_bad_exit_suppresses_only_dependent_faults(broken: dict[str, Any]) -> None:
    steps = [
        say("a", "{{ step.d.ok }}", next="b"),
        action("b", on_success="c", body="{{ step.d.ok }}", **broken),
        say("c", "{{ step.a }} {{ step.b.ok }} {{ step.d.ok }}", next="d"),
        action("d", body="{{ step.d.ok }}"),
    ]

    found = faults(*steps)
    assert [fault for fault in found if "step." in fault] == [
        "steps[0].body: step.d.ok: 'd' cannot have run before 'a'",
        "steps[1].body: step.d.ok: 'd' cannot have run before 'b'",
        "steps[2].body: step.a: a message step has no value",
        "steps[2].body: step.d.ok: 'd' cannot have run before 'c'",
        "steps[3].body: step.d.ok: a step cannot read its own result",
    ]
    assert len(found) == 6


def test_a_missing_start_hides_no_reference_fault() -> None:
    assert faults(say("a", "{{ step.b.ok }}", next="b"), action("b"), start="x") == [
        "steps[0].body: step.b.ok: 'b' cannot have run before 'a'",
        "start: there is no step named 'x'; allowed: a, b",
    ]


def test_steps_after_a_missing_target_are_not_unreachable() -> None:
    assert faults(action("a", on_success="bb"), say("B", "{{ step.a.ok }}")) == [
        "steps[0].on_success: there is no step named 'bb'; did you mean 'B'?"
    ]


@pytest.mark.parametrize("step_type", STEP_FORMATS)
def test_every_step_type_declares_whether_it_sets_a_value(step_type: str) -> None:
    assert STEP_FORMATS[step_type].leaves_value is (step_type in ("question", "menu", "template", "action"))


def test_reports_hundreds_of_missing_targets_quickly() -> None:
    steps = [action(str(n), on_success="Nope", body="{{ step.0.ok }}") for n in range(500)]
    started = time.monotonic()

    assert len(faults(*steps)) == 201
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("replay", "expected"),
    [
        pytest.param(
            {"quiet_hours": {"start": "21:00", "end": "21:00"}},
            "replay.quiet_hours.end: quiet hours cannot end when they start; change the end, or remove them",
            id="quiet_hours",
        ),
        pytest.param(
            {"query": "SELECT 1"},
            "replay.query: a query needs a 'source': the database to run it in",
            id="query",
        ),
        pytest.param(
            {"fail_when": "budget"},
            "replay.fail_when: 'budget' needs 'max_failures' or 'max_handled_errors': how many contacts may fail, or "
            "take an error exit",
            id="budget",
        ),
    ],
)
def test_keys_of_the_replay_go_together(replay: dict[str, Any], expected: str) -> None:
    assert faults(action(), replay=replay) == [expected]


def test_a_fault_of_the_replay_has_its_place() -> None:
    text = '{"flow_format": 1, "id": "f", "replay":\n {"query": "SELECT 1"},\n "steps": [{"name": "e", "type": "end"}]}'
    assert [fault.split(": ")[0] for fault in faults_of(text)] == ["<flow>:2:12"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("ask name", id="case"),
        pytest.param("Ask  name", id="two blanks"),
        pytest.param("Ask_name", id="underscore"),
        pytest.param("Ask\u00a0name", id="a blank that does not break"),
        pytest.param("Ａsk name", id="full width"),
    ],
)
def test_confusable_names_are_a_fault_of_the_second_step(other: str) -> None:
    assert faults(say("Ask name", next=other), say(other)) == [
        f"steps[1].name: {other!r} is too similar to 'Ask name' on line 1: people would confuse them; "
        "rename one of them"
    ]


def test_reports_only_similar_names_and_each_once() -> None:
    assert flow_of(say("Ask name", next="Ask names"), say("Ask names", next="Askname"), say("Askname"))
    assert [fault.split(":")[0] for fault in faults(say("a", next="A"), say("A"), say("A"), say(" a"))] == [
        "steps[1].name",
        "steps[2].name",
        "steps[3].name",
    ]


def test_similar_names_hide_no_other_fault() -> None:
    assert [fault.split(":")[0] for fault in faults(say("a", next="A"), say("A"), say("b"))] == [
        "steps[1].name",
        "steps[2].name",
    ]


def ask(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": "question", **keys}


def choose(name: str, otherwise: str | None, *nexts: str | None, **keys: Any) -> dict[str, Any]:
    condition = {"field": "contact.plan", "comparison": "isnull"}
    paths = [{"conditions": [condition], "next": target} for target in nexts]
    return {"name": name, "type": "conditional", "paths": paths, "otherwise": otherwise, **keys}


NO_WAY_OUT = "so the walk cannot get out; add an exit that leads elsewhere or ends the walk (null), or 'on_max_visits'"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([say("a", next="a")], f"steps[0].name: 'a' leads only to itself, {NO_WAY_OUT}", id="itself"),
        pytest.param(
            [say("s", next="a"), say("a", next="b"), say("b", next="a")],
            f"steps[1].name: 'a', 'b' lead only to each other, {NO_WAY_OUT}",
            id="two",
        ),
        pytest.param(
            [action("a", on_success="a")], f"steps[0].name: 'a' leads only to itself, {NO_WAY_OUT}", id="failing"
        ),
        pytest.param(
            [say("a", next="b", max_visits=2), say("b", next="a", max_visits=2, on_max_visits="a")],
            f"steps[0].name: 'a', 'b' lead only to each other, {NO_WAY_OUT}",
            id="visits that end inside",
        ),
        pytest.param(
            [choose("a", "b", "c"), say("b", next="a"), say("c", next="a")],
            f"steps[0].name: 'a', 'b', 'c' lead only to each other, {NO_WAY_OUT}",
            id="branches",
        ),
        pytest.param(
            [ask("a", next="a", on_no_answer="a", on_answer_failed="a")],
            f"steps[0].name: 'a' leads only to itself, {NO_WAY_OUT}",
            id="a question that is asked again and again",
        ),
        pytest.param(
            [{"name": "a", "type": "template", "next": "a"}],
            f"steps[0].name: 'a' leads only to itself, {NO_WAY_OUT}",
            id="a template that nobody need answer",
        ),
    ],
)  # fmt: skip
def test_a_loop_that_cannot_end_is_a_fault(steps: list[dict[str, Any]], expected: str) -> None:
    assert faults(*steps) == [expected]


NO_VISITS_LEFT = "so the walk can only fail; name a step that leads elsewhere"


@pytest.mark.parametrize(
    ("steps", "where"),
    [
        pytest.param(
            [action("a", on_success="b", max_visits=2, on_max_visits="a"), choose("b", "a", None)],
            "itself",
            id="itself",
        ),
        pytest.param([say("a", next="z", on_max_visits="a"), say("z")], "itself", id="itself, in no other loop"),
        pytest.param(
            [action("a", on_success="b", on_max_visits="c"), choose("b", "a", None), say("c", next="a")],
            "'c', and from there every way leads back to 'a'",
            id="a step that leads back",
        ),
    ],
)
def test_max_visits_without_an_exit_is_a_fault(steps: list[dict[str, Any]], where: str) -> None:
    [fault] = faults(*steps)
    assert fault.startswith("steps[0].on_max_visits: when 'a' has no visits left, 'on_max_visits' leads to ")
    assert fault.endswith(f" leads to {where}, {NO_VISITS_LEFT}")


def test_a_long_loop_is_reported_by_its_first_steps() -> None:
    [fault] = faults(*(say(f"s{n}", next=f"s{(n + 1) % 500}") for n in range(500)))
    assert fault.startswith("steps[0].name: 's0', 's1', 's2', 's3', 's4', 's5', 's6', 's7', … lead only to each other")


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([choose("a", None, "b"), say("b", next="a")], id="an exit that ends"),
        pytest.param([choose("a", "c", "b"), say("b", next="a"), say("c")], id="an exit elsewhere"),
        pytest.param([action("a", on_success="a", on_error="b"), say("b")], id="an error exit"),
        pytest.param([say("a", next="a", on_max_visits="b"), say("b")], id="visits"),
        pytest.param(
            [action("a", on_success="a", on_error="z", on_max_visits="b"), choose("b", None, "a"), say("z")],
            id="a step of the loop that takes over, and can leave it",
        ),
        pytest.param([ask("a", next="b"), say("b", next="a")], id="nobody answers any more"),
        pytest.param([{"name": "a", "type": "template", "options": {"x": "a"}}], id="nobody presses a button"),
        pytest.param(
            [{"name": "m", "type": "menu", "options": {"x": "a", "y": "a"}}, say("a", next="m")], id="a main menu"
        ),
    ],
)
def test_a_loop_with_an_exit_is_not_endless(steps: list[dict[str, Any]]) -> None:
    assert flow_of(*steps)


@pytest.mark.parametrize("key", ["on_no_answer", "on_answer_failed", "on_max_visits"])
@pytest.mark.parametrize("step_type", ["question", "menu", "template"])
def test_steps_after_a_no_answer_exit_cannot_read_the_answer(step_type: str, key: str) -> None:
    options = {"options": {"x": None}} if step_type == "menu" else {}
    asking = {"name": "q", "type": step_type, **options, key: "b"}

    assert faults(asking, say("b", "{{ step.q }}", next="c"), say("c", "{{ step.q }}")) == [
        f"steps[{number}].body: step.q: on every way to {name!r}, 'q' is left without an answer to be kept"
        for number, name in [(1, "b"), (2, "c")]
    ]


def test_accepts_answers_of_other_visits() -> None:
    assert flow_of(ask("q", next="a", on_no_answer="b"), say("a", next="q"), say("b", "{{ step.q }}"))
    assert flow_of(ask("q", next="b", on_no_answer="b"), say("b", "{{ step.q }}"))
    assert flow_of(action("a", on_error="b"), say("b", "{{ step.a.status_code }}"))


def test_undeclared_variables_are_a_fault_if_some_are_declared() -> None:
    body = "{{ flow_execution_variables.campain }} {{ flow_execution_variables.x.y }}"
    others = "{{ flow_execution_variables.campaign }}{{ flow_execution_variables }}{{ flow_execution_variables[1+1] }}"
    steps = [say("a", f"{body} {others}")]

    assert faults(*steps, variables={"campaign": {}}) == [
        "steps[0].body: flow_execution_variables.campain: 'campain' is not listed in the flow's 'variables'; "
        "did you mean 'campaign'?",
        "steps[0].body: flow_execution_variables.x.y: 'x' is not listed in the flow's 'variables'; allowed: campaign",
    ]
    assert flow_of(*steps)
    assert flow_of(*steps, variables={})


def test_an_undeclared_variable_has_the_location_of_its_reference() -> None:
    text = (
        '{"flow_format": 1, "id": "f", "variables": {"a": {}}, "steps": [\n'
        ' {"name": "x", "type": "conditional", "paths": [\n'
        '  {"conditions": [{"field": "flow_execution_variables.b", "comparison": "isnull"}]}]}]}'
    )

    column = text.split("\n")[2].index('"flow_execution') + 1
    [fault] = faults_of(text)
    assert fault.startswith(f"<flow>:3:{column}: flow_execution_variables.b: 'b' is not listed in")


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({"name": "m", "type": "menu", "options": {"x": ""}}, id="menu"),
        pytest.param(choose("c", ""), id="conditional"),
        pytest.param(choose("c", None, ""), id="path"),
        pytest.param(action(on_error=""), id="action"),
    ],
)
def test_an_empty_target_explains_how_to_end_a_walk(step: dict[str, Any]) -> None:
    found = [fault for fault in faults(step) if "the name of the step is empty" in fault]
    assert len(found) == 1
    assert found[0].endswith("write a name, or null to end the walk here")


def test_reports_faults_of_every_kind_together() -> None:
    found = faults(
        ask("q", next="Q", on_no_answer="n"),
        say("Q", "{{ flow_execution_variables.y }}", next="loop"),
        say("n", "{{ step.q }}"),
        say("loop", next="loop"),
        say("alone"),
        variables={"x": {}},
    )
    assert [fault.split(":")[0] for fault in found] == [
        "steps[1].name",
        "steps[1].body",
        "steps[2].body",
        "steps[3].name",
        "steps[4].name",
    ]

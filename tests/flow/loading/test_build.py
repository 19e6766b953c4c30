"""Every template of every step is parsed when the flow is loaded, and faults have their location."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.model import Action, Conditional, Delay, Message, Question
from tests.flow.samples import action, faults_of, flow_of

BAD = "{{ conn.crm }}"


@pytest.mark.parametrize(
    ("step", "place"),
    [
        pytest.param({"name": "q", "type": "question", "body": BAD}, "body", id="question"),
        pytest.param({"name": "m", "type": "menu", "body": BAD, "options": {"a": None}}, "body", id="menu"),
        pytest.param({"name": "m", "type": "message", "body": BAD}, "body", id="message"),
        pytest.param({"name": "m", "type": "message", "file_url": BAD}, "file_url", id="file of a message"),
        pytest.param({"name": "e", "type": "end", "reason": BAD}, "reason", id="end"),
        pytest.param(action(url=f"https://x.test/{BAD}"), "url", id="path"),
        pytest.param(action(url=f"https://x.test/?a={BAD}"), "url", id="query"),
        pytest.param(action(headers={"X": BAD}), "headers.X", id="header"),
        pytest.param(action(query_params={"a": ["", BAD]}), "query_params.a[1]", id="query parameter"),
        pytest.param(action(body={"a": [{"b": BAD}]}), "body.a[0].b", id="body"),
        pytest.param(action(body=BAD, body_type="plain"), "body", id="plain body"),
        pytest.param(action(success_when="conn.x"), "success_when", id="success_when"),
        pytest.param(action(retry={"slow_down_when": "step.Send"}), "retry.slow_down_when", id="slow_down_when"),
        pytest.param(
            action(retry={"slow_down_when": "status_code =="}),
            "retry.slow_down_when",
            id="slow_down_when, no expression",
        ),
        pytest.param(action(idempotency_header="Host"), "idempotency_header", id="idempotency_header"),
        pytest.param(action(record_url="javascript:alert(1)"), "record_url", id="record_url"),
    ],
)
def test_a_bad_template_is_a_fault_at_its_location(step: dict[str, Any], place: str) -> None:
    assert any(fault.startswith(f"<flow>:steps[0].{place}: ") for fault in faults_of(_flow(step)))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("conn.x", "'conn' is not a variable of a flow"),
        ("contact", "write one variable, such as contact.name, without filters and operators"),
        ("contact.a | lower", "write one variable"),
        ("contact.__class__", "belong to Python"),
        ("step.Nope", "there is no step named 'Nope'"),
        ("7", "'7' is not a variable"),
        ("{{ }}", "'' is not a variable"),
    ],
)
def test_the_field_of_a_condition_is_one_variable(field: str, message: str) -> None:
    assert message in faults_of(_flow(_conditional(field)))[0]


@pytest.mark.parametrize("field", ["contact.a", "{{contact.a}}", "{{ contact.a }}", " contact.a "])
def test_accepts_a_field_in_braces(field: str) -> None:
    step = flow_of(_conditional(field)).steps["c"]

    assert isinstance(step, Conditional)
    assert step.paths[0].conditions[0].field.path == ("a",)
    assert step.paths[0].label == "path 1"


@pytest.mark.parametrize(
    ("keys", "delivery", "statuses"),
    [
        ({"method": "GET"}, Delivery.IDEMPOTENT, (408, 425, 429, 500, 502, 503, 504)),
        ({"method": "POST"}, Delivery.AT_MOST_ONCE, (429,)),
        ({"method": "POST", "delivery": "keyed"}, Delivery.KEYED, (408, 425, 429, 500, 502, 503, 504)),
        ({"delivery": "keyed", "retry": {"statuses": []}}, Delivery.KEYED, ()),
        ({"retry": {"statuses": [503]}}, Delivery.AT_MOST_ONCE, (503,)),
    ],
)
def test_the_method_sets_delivery_and_delivery_sets_statuses(
    keys: dict[str, Any], delivery: Delivery, statuses: tuple[int, ...]
) -> None:
    step = flow_of(action(**keys)).steps["Send"]

    assert isinstance(step, Action)
    assert (step.retry.delivery, step.retry.statuses) == (delivery, statuses)


def test_an_actions_rule_includes_key_lifetime_error_exit_and_slow_down() -> None:
    step = flow_of(
        action(on_error="Send", key_lifetime=60, retry={"slow_down_when": "response.code == 'slow'", "attempts": 7})
    ).steps["Send"]
    assert isinstance(step, Action)
    assert (step.retry.key_lifetime, step.retry.has_error_exit, step.retry.attempts) == (60.0, True, 7)
    assert step.retry.slow_down_when is not None
    assert step.retry.slow_down_when.source == "response.code == 'slow'"

    plain = flow_of(action()).steps["Send"]
    assert isinstance(plain, Action)
    rule = plain.retry
    assert (rule.key_lifetime, rule.has_error_exit, rule.slow_down_when) == (82_800.0, False, None)


def test_max_visits_of_a_step_overrides_that_of_the_flow() -> None:
    flow = flow_of(action("a", max_visits=3, on_success="b"), action("b"), max_visits=7)

    assert [step.max_visits for step in flow.steps.values()] == [3, 7]


def test_text_without_a_placeholder_stays_text() -> None:
    step = flow_of({"name": "m", "type": "message", "body": "100% { } %"}).steps["m"]

    assert isinstance(step, Message)
    assert step.content.body == "100% { } %"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"body_type": "json"}, "needs a body"),
        ({"body_type": "none", "body": "x"}, "sends no body"),
        ({"body_type": "jsn", "body": "x"}, "'jsn' is not allowed"),
    ],
)
def test_body_and_body_type_must_match(keys: dict[str, Any], message: str) -> None:
    assert message in faults_of(_flow(action(**keys)))[0]


def _conditional(field: str) -> dict[str, Any]:
    conditions = [{"field": field, "comparison": "exact", "value": "x"}]
    return {"name": "c", "type": "conditional", "paths": [{"conditions": conditions}]}


def _flow(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"flow_format": 1, "id": "f", "steps": list(steps)}


@pytest.mark.parametrize(
    ("step", "places"),
    [
        pytest.param(
            {"name": "q", "type": "question", "body": "{{ conn.a }} {{ nope.b }}"}, ["body", "body"], id="text"
        ),
        pytest.param(
            {"name": "m", "type": "message", "body": "{{ x }}{{ y }}", "file_url": "{{ z }}{{ w }}"},
            ["body", "body", "file_url", "file_url"],
            id="two texts",
        ),
    ],
)
def test_every_bad_placeholder_of_a_text_is_reported(step: dict[str, Any], places: list[str]) -> None:
    assert [fault.split(": ")[0] for fault in faults_of(_flow(step))] == [
        f"<flow>:steps[0].{place}" for place in places
    ]


def test_every_bad_placeholder_of_a_text_has_its_column() -> None:
    text = (
        '{"flow_format": 1, "id": "f", "steps": [\n'
        '{"name": "m", "type": "message", "body": "{{ conn.a }} \\u00e9 {{ nope.b }}"}]}'
    )
    line = text.split("\n")[1]

    assert [fault.split(": ")[0] for fault in faults_of(text)] == [
        f"<flow>:2:{line.index('{{ conn') + 1 - 1}",
        f"<flow>:2:{line.index('{{ nope') + 1}",
    ]


def test_an_unknown_key_hides_no_other_fault_of_its_step() -> None:
    step = action(heders={}, body={"a": "{{ conn.x }}"}, retry={"attemps": 1, "attempts": 2}, on_error="")

    found = faults_of(_flow(step))

    assert [fault.split(": ")[0].removeprefix("<flow>:steps[0].") for fault in found] == [
        "heders",
        "body.a",
        "retry.attemps",
        "on_error",
    ]


YEAR = "is longer than a year; at most 365 days are allowed"


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        pytest.param(
            {"type": "delay", "amount": 31_536_000, "unit": "DAY"}, f"amount: 31,536,000 DAY {YEAR}", id="a delay"
        ),
        pytest.param({"type": "delay", "amount": 8761, "unit": "HOUR"}, f"amount: 8,761 HOUR {YEAR}", id="by an hour"),
        pytest.param(
            {"type": "question", "wait": {"amount": 366, "unit": "DAY"}}, f"wait.amount: 366 DAY {YEAR}", id="an answer"
        ),
        pytest.param(
            {"type": "delay", "until": "9999-12-31"}, "until: a year from 1900 to 2199 is expected", id="a moment"
        ),
    ],
)
def test_waits_are_limited(step: dict[str, Any], fault: str) -> None:
    assert faults_of(_flow({"name": "Wait", **step})) == [f"<flow>:steps[0].{fault}"]


@pytest.mark.parametrize(("amount", "unit"), [(365, "DAY"), (8760, "HOUR"), (31_536_000, "SECOND")])
def test_a_wait_may_last_a_year(amount: int, unit: str) -> None:
    wait = {"amount": amount, "unit": unit}
    flow = flow_of({"name": "D", "type": "delay", **wait, "next": "Q"}, {"name": "Q", "type": "question", "wait": wait})

    delay, question = flow.steps.values()
    assert isinstance(delay, Delay)
    assert isinstance(question, Question)
    assert delay.rule.seconds == question.wait == 31_536_000

"""Walking every type of step: its exit, its record, and its effects."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.walk.perform import Effect, SendAction, Wait
from airflow_whatsapp_flows.flow.walk.walk import State, Walk
from tests.flow.samples import action, exits, flow_of, json_reply, walk_flow

CONTACT = {"phone": "+525512345678", "first_name": "Ana", "meta": {"plan": "pro"}}


def message(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": "message", **keys}


def details(record: Walk, step: str) -> Any:
    return next(visit.details for visit in record.visits if visit.step == step)


# Template messages


TEMPLATE = {
    "name": "Offer",
    "type": "template",
    "body": "Hello {{ contact.first_name }}",
    "file_url": "https://shop.example/{{ contact.meta.plan }}.png",
    "whatsapp_template": "offer_1",
    "whatsapp_template_variables": {"name": "{{ contact.first_name }}", "codes": ["{{ contact.meta.plan }}", 7]},
}


def test_a_template_without_buttons_sends_its_message_and_continues() -> None:
    record = walk_flow(flow_of({**TEMPLATE, "next": "Bye"}, message("Bye")), {"contact": CONTACT})

    assert exits(record) == [("Offer", "next"), ("Bye", "next")]
    assert record.visits[0].text == "Hello Ana"
    assert details(record, "Offer") == {
        "file_url": "https://shop.example/pro.png",
        "whatsapp_template": "offer_1",
        "whatsapp_template_variables": {"name": "Ana", "codes": ["pro", 7]},
    }
    assert not record.unanswered


@pytest.mark.parametrize(
    ("keys", "answer", "way", "state"),
    [
        pytest.param({}, "Yes", [("Offer", "Yes"), ("A", "next")], State.COMPLETED, id="a button"),
        pytest.param({}, " yes ", [("Offer", "Yes"), ("A", "next")], State.COMPLETED, id="a button, otherwise spelled"),
        pytest.param({}, "Perhaps", [("Offer", None)], State.FAILED, id="no button"),
        pytest.param({"next": "B"}, "Perhaps", [("Offer", "next"), ("B", "next")], State.COMPLETED, id="any response"),
        pytest.param({"next": None}, "Perhaps", [("Offer", "next")], State.COMPLETED, id="any response ends it"),
        pytest.param(
            {"on_answer_failed": "B"},
            "Perhaps",
            [("Offer", "answer failed"), ("B", "next")],
            State.COMPLETED,
            id="no button, with an exit",
        ),
        pytest.param({}, None, [("Offer", None)], State.COMPLETED, id="no answer"),
        pytest.param(
            {"on_no_answer": "B"}, None, [("Offer", "no answer"), ("B", "next")], State.COMPLETED, id="timeout exit"
        ),
    ],
)
def test_the_buttons_of_a_template_choose_its_exit(keys: Any, answer: str | None, way: Any, state: State) -> None:
    step = {**TEMPLATE, "options": {"Yes": "A", "No": "B"}, **keys}
    steps = {} if answer is None else {"Offer": answer}

    record = walk_flow(flow_of(step, message("A"), message("B")), {"contact": CONTACT, "step": steps})

    assert exits(record) == way
    assert record.state is state
    assert record.unanswered == (answer is None and "on_no_answer" not in keys)


def test_a_template_that_waits_ends_unanswered() -> None:
    step = {**TEMPLATE, "wait": {"amount": 2, "unit": "HOUR"}, "next": "Bye"}

    record = walk_flow(flow_of(step, message("Bye")), {"contact": CONTACT})

    assert record.unanswered
    assert record.path == ["Offer"]


def test_the_answer_to_a_template_is_a_variable() -> None:
    step = {**TEMPLATE, "answer_type": "NUMBER", "next": "Bye"}

    record = walk_flow(
        flow_of(step, message("Bye", body="{{ step.Offer + 1 }}")), {"contact": CONTACT, "step": {"Offer": "41"}}
    )

    assert record.visits[1].text == "42"


# Attempts


def question(**keys: Any) -> dict[str, Any]:
    return {"name": "Age", "type": "question", "answer_type": "NUMBER", "next": "Bye", **keys}


@pytest.mark.parametrize(
    ("keys", "told", "way"),
    [
        pytest.param({}, ["many", "some", "41"], "next", id="asked until it fits"),
        pytest.param({"max_answer_attempts": 3}, ["many", "some", "41"], "next", id="as often as allowed"),
        pytest.param({"max_answer_attempts": 2}, ["many", "some", "41"], None, id="too often"),
        pytest.param(
            {"max_answer_attempts": 2, "on_answer_failed": "Bye"}, ["many", "some", "41"], "answer failed", id="exit"
        ),
        pytest.param({"on_answer_failed": "Bye"}, ["many", "41"], "answer failed", id="an exit takes the first misfit"),
        pytest.param({}, ["many"], None, id="never"),
    ],
)
def test_answers_are_tried_until_one_fits(keys: Any, told: list[str], way: str | None) -> None:
    response = {"step": {"Age": told[-1]}, "history": [{"step": "Age", "value": value} for value in told]}

    record = walk_flow(flow_of(question(**keys), message("Bye")), response)

    assert record.visits[0].exit == way
    assert record.state is (State.FAILED if way is None else State.COMPLETED)


def test_a_repeated_question_uses_the_remaining_answers() -> None:
    flow = flow_of(
        question(next="Check"),
        {
            "name": "Check",
            "type": "conditional",
            "paths": [{"conditions": [{"field": "step.Age", "comparison": "gte", "value": 18}], "next": "Bye"}],
            "otherwise": "Age",
        },
        message("Bye", body="{{ step.Age }}"),
    )
    told = ["many", "7", "few", "41"]

    record = walk_flow(flow, {"step": {"Age": "41"}, "history": [{"step": "Age", "value": value} for value in told]})

    assert record.path == ["Age", "Check", "Age", "Check", "Bye"]
    assert record.visits[-1].text == "41"


def test_an_answer_is_used_once() -> None:
    menu = {"name": "Menu", "type": "menu", "options": {"Sales": "Send", "Bye": None}}
    flow = flow_of(menu, action(on_success="Menu"))
    effects: list[Effect] = []

    record = walk_flow(flow, {"step": {"Menu": "Sales"}}, None, effects)

    assert record.path == ["Menu", "Send", "Menu"]
    assert len(effects) == 1
    assert (record.state, record.unanswered) == (State.COMPLETED, True)


# Options from a variable


LISTED = {
    "name": "Choose",
    "type": "question",
    "options_from_variable": {"list": "step.Load.response.items", "value": "id", "title": "name"},
    "next": "Bye",
}
ITEMS = {"items": [{"id": 7, "name": "Bulbasaur"}, {"id": 8, "name": "Ivysaur"}]}


@pytest.mark.parametrize("answer", ["Ivysaur", "8", 8, " Ivysaur "])
def test_an_option_of_a_list_becomes_its_value(answer: Any) -> None:
    flow = flow_of(action("Load", on_success="Choose"), LISTED, message("Bye", body="{{ step.Choose }}"))

    record = walk_flow(flow, {"step": {"Choose": answer}}, json_reply(200, ITEMS))

    assert record.variables["step"]["Choose"] == 8


@pytest.mark.parametrize(
    ("items", "message_"),
    [
        (ITEMS, "not one of the 2 options: Bulbasaur, Ivysaur"),
        ({"items": []}, "step.Load.response.items contains none"),
        ({"items": "x"}, "step.Load.response.items contains none"),
        ({}, "step.Load.response.items contains none"),
    ],
)
def test_an_unlisted_answer_does_not_fit(items: Any, message_: str) -> None:
    flow = flow_of(action("Load", on_success="Choose"), LISTED, message("Bye"))

    record = walk_flow(flow, {"step": {"Choose": "Mew"}}, json_reply(200, items))

    assert record.state is State.FAILED
    assert message_ in record.reason


# Delays


def waits(flow: Any, response: Any = None, reply: Any = None) -> list[Wait]:
    effects: list[Effect] = []
    walk_flow(flow, response, reply, effects)
    return [effect for effect in effects if isinstance(effect, Wait)]


def test_a_delay_requests_its_length() -> None:
    (wait,) = waits(flow_of({"name": "D", "type": "delay", "amount": 1.5, "unit": "MINUTE"}))
    now = dt.datetime(2026, 11, 23, tzinfo=dt.timezone.utc)

    assert wait.ends(now) == now + dt.timedelta(seconds=90)
    assert (wait.visit, wait.polling, wait.waited_in_replay) == (1, False, False)


def test_a_delay_until_a_moment_is_reported_in_the_flows_zone() -> None:
    delay = {"name": "D", "type": "delay", "until": "{{ contact.meta.day }} 09:00"}
    flow = flow_of(delay, timezone="America/Mexico_City")

    (wait,) = waits(flow, {"contact": {"meta": {"day": "2026-11-23"}}})

    assert wait.until is not None
    assert wait.until.astimezone(dt.timezone.utc) == dt.datetime(2026, 11, 23, 15, tzinfo=dt.timezone.utc)


def test_an_invalid_delay_time_fails_the_contact() -> None:
    flow = flow_of({"name": "D", "type": "delay", "until": "{{ contact.meta.day }}"})

    record = walk_flow(flow, {"contact": {"meta": {"day": "tomorrow"}}})

    assert record.state is State.FAILED
    assert record.reason == "D: until: a date, or a date and time, is expected, such as 2026-11-22T16:04"


@pytest.mark.parametrize(
    ("when", "polling", "waited"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("wait", False, True),
        ("skip", True, False),
    ],
)
def test_a_replay_waits_where_an_action_is_polled(when: str, polling: bool, waited: bool) -> None:
    delay = {"name": "D", "type": "delay", "amount": 10, "unit": "SECOND", "when_replayed": when}
    check = {
        "name": "Ready?",
        "type": "conditional",
        "paths": [{"conditions": [{"field": "step.Poll.response.n", "comparison": "gte", "value": 1}], "next": None}],
        "otherwise": "D",
    }
    flow = flow_of(action("Poll", on_success="Ready?"), check, {**delay, "next": "Poll" if polling else None})

    (wait,) = waits(flow, reply=lambda effect: json_reply(200, {"n": effect.visit - 1}))

    assert (wait.polling, wait.waited_in_replay) == (polling, waited)


def test_a_loop_without_an_action_is_not_polling() -> None:
    delay = {"name": "D", "type": "delay", "amount": 1, "unit": "DAY", "next": "Age"}
    flow = flow_of(question(next=None, on_answer_failed="D"), delay)

    (wait,) = waits(
        flow, {"step": {"Age": 41}, "history": [{"step": "Age", "value": "x"}, {"step": "Age", "value": 41}]}
    )

    assert not wait.polling


# Steps that only record


def test_an_update_of_the_contact_is_seen_by_later_steps() -> None:
    flow = flow_of(
        {
            "name": "Update",
            "type": "contact_update",
            "first_name": "{{ step.Age }}",
            "email": None,
            "meta": {"plan": "basic", "n": "{{ contact.meta.n }}", "email": "x@y.example"},
            "next": "Send",
        },
        action(
            body={
                "name": "{{ contact.first_name }}",
                "plan": "{{ contact.plan }}",
                "n": "{{ contact.n }}",
                "email": "{{ contact.email }}",
                "meta email": "{{ contact.meta.email }}",
            }
        ),
        question(next="Update"),
        start="Age",
    )
    effects: list[Effect] = []
    contact = {**CONTACT, "email": "ana@x.example", "meta": {"plan": "pro", "n": [1, 2]}}

    record = walk_flow(flow, {"contact": contact, "step": {"Age": "41"}}, None, effects)

    assert isinstance(effects[0], SendAction)
    assert effects[0].request.content == (
        b'{"name":41,"plan":"basic","n":[1,2],"email":"ana@x.example","meta email":"x@y.example"}'
    )
    assert details(record, "Update") == {
        "first_name": 41,
        "meta": {"plan": "basic", "n": [1, 2], "email": "x@y.example"},
    }
    assert contact["meta"] == {"plan": "pro", "n": [1, 2]}


def test_tags_and_assignations_are_recorded() -> None:
    flow = flow_of(
        {
            "name": "Mark",
            "type": "tag",
            "contact_tags": ["vip", "{{ contact.meta.plan }}"],
            "conversation_tags": ["new"],
            "append_tags": False,
            "next": "Hand over",
        },
        {"name": "Hand over", "type": "assignation", "assign_to_users": [1, 2], "assign_to_teams": [3]},
    )

    record = walk_flow(flow, {"contact": CONTACT})

    assert details(record, "Mark") == {
        "contact_tags": ["vip", "pro"],
        "conversation_tags": ["new"],
        "append_tags": False,
    }
    assert details(record, "Hand over") == {"assign_to_users": [1, 2], "assign_to_teams": [3]}
    assert record.state is State.COMPLETED


def test_another_flow_is_recorded_and_ends_the_walk() -> None:
    record = walk_flow(flow_of({"name": "Survey", "type": "trigger_flow", "next_flow": "nps"}))

    assert details(record, "Survey") == {"next_flow": "nps"}
    assert (record.state, record.reason) == (State.COMPLETED, "continues in the flow 'nps'")


def test_a_jump_continues_with_its_step() -> None:
    record = walk_flow(flow_of({"name": "Jump", "type": "go_to", "next": "Bye"}, message("Bye")))

    assert exits(record) == [("Jump", "next"), ("Bye", "next")]


# Nothing is sent to WhatsApp or Hilos


@given(st.data())
def test_only_actions_ask_for_a_request(data: st.DataObject) -> None:
    kinds: list[dict[str, Any]] = [
        {**TEMPLATE},
        message("M", body="Hi", file_url="https://x.example/a.png", whatsapp_template="t"),
        {"name": "U", "type": "contact_update", "first_name": "x", "meta": {"a": 1}},
        {"name": "T", "type": "tag", "contact_tags": ["a"]},
        {"name": "A", "type": "assignation", "assign_to_users": [1]},
        {"name": "D", "type": "delay", "amount": 1, "unit": "DAY"},
        action("Send"),
    ]
    steps = data.draw(st.permutations(kinds))
    for step, following in itertools.pairwise(steps):
        step["on_success" if step["type"] == "action" else "next"] = following["name"]
    steps[-1].pop("next", None)
    last = {"name": "F", "type": "trigger_flow", "next_flow": "x"}
    steps[-1]["on_success" if steps[-1]["type"] == "action" else "next"] = "F"
    allowed = {"messages": False, "contact_updates": False, "tags": False, "flows": False}
    effects: list[Effect] = []

    record = walk_flow(flow_of(*steps, last, effects=allowed), {"contact": CONTACT}, None, effects)

    assert record.path == [step["name"] for step in steps] + ["F"]
    assert [effect.step.name for effect in effects if isinstance(effect, SendAction)] == ["Send"]


# Sensitive values


def test_sensitive_values_are_sent_and_not_shown() -> None:
    flow = flow_of(
        message("Hi", body="{{ contact.first_name }}, {{ step.Age }} of {{ contact.ids }}", next="Note"),
        {"name": "Note", "type": "contact_update", "meta": {"a": "{{ step.Age }}", "b": "x"}, "next": "Send"},
        action(body={"age": "{{ step.Age }}"}, on_success="Bye"),
        {"name": "Bye", "type": "end", "state": "failed", "reason": "{{ contact.meta.a }} {{ contact.ids }}"},
        question(next="Hi"),
        start="Age",
        sensitive=["step.Age", "contact.ids", "contact.phone"],
    )
    effects: list[Effect] = []

    record = walk_flow(
        flow, {"contact": {**CONTACT, "ids": ["A-1", {"n": "A-12"}]}, "step": {"Age": "4141"}}, None, effects
    )

    assert isinstance(effects[0], SendAction)
    assert effects[0].request.content == b'{"age":4141}'
    assert record.visits[1].text == 'Ana, *** of ["***",{"n":"***"}]'
    assert details(record, "Note") == {"meta": {"a": "***", "b": "x"}}
    assert record.reason == '*** ["***",{"n":"***"}]'


def test_an_absent_sensitive_variable_hides_nothing() -> None:
    flow = flow_of(message("Hi", body="none and true"), sensitive=["contact.email", "contact.on", "contact.x"])

    assert walk_flow(flow, {"contact": {"email": "", "on": True}}).visits[0].text == "none and true"


def test_previous_sensitive_values_stay_hidden() -> None:
    before = {"before": "{{ contact.first_name }}"}
    flow = flow_of(
        {"name": "Rename", "type": "contact_update", "first_name": "Eva", "meta": before, "next": "Ask"},
        {"name": "Ask", "type": "question", "body": "Not {{ step.Ask | default('x') }}?", "next": "Hi"},
        message("Hi", body="{{ contact.before }} {{ contact.first_name }}", next="Ask"),
        sensitive=["contact.first_name", "step.Ask"],
    )
    history = [{"step": "Ask", "value": "first"}, {"step": "Ask", "value": "second"}]
    record = walk_flow(flow, {"contact": {"first_name": "Ana"}, "history": history})

    assert details(record, "Rename") == {"first_name": "***", "meta": {"before": "***"}}
    assert [visit.text for visit in record.visits[1:5]] == ["Not x?", "*** ***", "Not ***?", "*** ***"]


def test_hides_sensitive_values_in_any_case_and_inside_objects() -> None:
    flow = flow_of(
        message("Hi", body="{{ contact.email | lower }} {{ contact.ids }}"), sensitive=["contact.email", "contact.ids"]
    )
    record = walk_flow(flow, {"contact": {"email": "Ana@X.example", "ids": [{"n": 'A"1\n2'}]}})

    assert record.visits[0].text == '*** [{"n":"***"}]'


def test_recording_sanitizes_values_without_changing_the_request() -> None:
    flow = flow_of(
        {"name": "Ask", "type": "question", "next": "Note"},
        {"name": "Note", "type": "contact_update", "first_name": "{{ step.Ask }}", "next": "Offer"},
        {"name": "Offer", "type": "template", "whatsapp_template_variables": {"a": ["{{ step.Ask }}"]}, "next": "Send"},
        action(body_type="plain", body="{{ contact.first_name }}"),
    )
    effects: list[Effect] = []
    record = walk_flow(flow, {"step": {"Ask": "a\0b"}}, None, effects)

    assert details(record, "Note") == {"first_name": "a\ufffdb"}
    assert details(record, "Offer") == {"whatsapp_template_variables": {"a": ["a\ufffdb"]}}
    assert isinstance(effects[0], SendAction)
    assert effects[0].request.content == b"a\0b"


def test_stores_the_reason_why_a_walk_ends() -> None:
    listed = {"list": "contact.ids", "value": "id"}
    flow = flow_of({"name": "Ask", "type": "question", "options_from_variable": listed})
    record = walk_flow(flow, {"contact": {"ids": [{"id": "a\0b"}]}, "step": {"Ask": "c"}})

    assert record.reason == 'Ask: the answer "c" does not fit: it is not one of the 1 options: a\ufffdb'


def test_a_custom_field_named_meta_keeps_the_others() -> None:
    update = {"name": "Note", "type": "contact_update", "meta": {"meta": "x", "phone": "y"}, "next": "Hi"}
    flow = flow_of(
        update, message("Hi", body="{{ contact.meta.plan }} {{ contact.meta.meta }} {{ contact.meta.phone }}")
    )

    assert walk_flow(flow, {"contact": CONTACT}).visits[1].text == "pro x y"


@pytest.mark.parametrize("until", ["9999-12-31", "2200-01-01T00:00", "0001-01-01T00:00+14:00"])
def test_a_delay_until_an_impossible_year_fails_the_contact(until: str) -> None:
    delay = {"name": "Wait", "type": "delay", "until": "{{ contact.on }}", "time_windows": [{"weekday": 0}]}
    record = walk_flow(flow_of(delay), {"contact": {"on": until}})

    assert record.state is State.FAILED
    assert record.reason == "Wait: until: a year from 1900 to 2199 is expected"

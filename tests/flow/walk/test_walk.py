"""Walking a flow for one contact: every step, every exit, and the final state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.result import SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.start import initial_variables
from airflow_whatsapp_flows.flow.walk.walk import State, Walk, drive, walk
from tests.flow.samples import FLOW, NOW, action, exits, flow_of, json_reply, walk_flow

ANA = {
    "id": "r-1",
    "contact": {"phone": "+52155", "first_name": "Ana", "meta": {"age": "41"}},
    "step": {"Ask name": "Ana", "Choose": "Sales", "Remind": "Stop"},
}
LOST = TransportFailure(ErrorKind.TIMEOUT, "no answer", Sent.UNKNOWN)
END: dict[str, Any] = {"name": "z", "type": "end"}
NOT_SENT = TransportFailure(ErrorKind.CONNECT, "refused", Sent.NO)


def test_walks_the_sample_flow() -> None:
    effects: list[Effect] = []
    record = walk_flow(flow_of(*FLOW["steps"]), ANA, json_reply(201, {"id": 7}), effects)

    assert (record.state, record.handled_errors) == (State.COMPLETED, 0)
    assert record.reason == "continues in the flow 'survey'"
    assert exits(record) == [
        ("Ask name", "next"),
        ("Choose", "Sales"),
        ("Decide", "adults"),
        ("Create contact", "success"),
        ("Say thanks", "next"),
        ("Remind", "Stop"),
        ("Note it", "next"),
        ("Mark", "next"),
        ("Hand over", "next"),
        ("Onwards", "next"),
        ("Survey", None),
    ]
    assert record.visits[4].text == "Thanks Ana"
    (effect,) = effects
    assert isinstance(effect, SendAction)
    assert effect.request == HttpRequest(
        "POST",
        "https://crm.example/v1/contacts/%2B52155?upsert=true&name=Ana",
        (("X-Source", "whatsapp"), ("Content-Type", "application/json")),
        b'{"name":"Ana","tags":["whatsapp",1,null,true]}',
    )


def test_an_error_exit_continues_and_is_counted() -> None:
    record = walk_flow(flow_of(*FLOW["steps"]), ANA, json_reply(500))

    assert exits(record)[-2:] == [("Create contact", "error"), ("Give up", None)]
    assert (record.state, record.reason, record.handled_errors) == (State.FAILED, "status", 1)


@pytest.mark.parametrize(
    ("step", "answers", "expected"),
    [
        pytest.param({}, {}, (None, State.COMPLETED, True), id="unanswered"),
        pytest.param({"on_no_answer": "z"}, {}, ("no answer", State.COMPLETED, False), id="unanswered, with an exit"),
        pytest.param({}, {"q": None}, ("next", State.COMPLETED, False), id="null is an answer"),
        pytest.param({}, {"q": "x"}, (None, State.FAILED, False), id="misfit"),
        pytest.param(
            {"on_answer_failed": "z"}, {"q": "x"}, ("answer failed", State.COMPLETED, False), id="misfit, with an exit"
        ),
        pytest.param({}, {"q": " 41 "}, ("next", State.COMPLETED, False), id="answered"),
    ],
)
def test_answers_questions(step: dict[str, Any], answers: dict[str, Any], expected: tuple[object, ...]) -> None:
    flow = flow_of(
        {"name": "q", "type": "question", "answer_type": "NUMBER", "next": "z", "body": "Age?", **step},
        {"name": "z", "type": "message"},
    )
    record = walk_flow(flow, {"step": answers})

    assert (record.visits[0].exit, record.state, record.unanswered) == expected
    assert record.visits[0].text == "Age?"
    assert record.variables["step"].get("q") == (41 if answers.get("q") == " 41 " else None)
    assert (
        record.state is State.COMPLETED
        or record.reason == 'q: the answer "x" does not fit NUMBER: a number is expected, such as 41 or 3.5'
    )


@pytest.mark.parametrize(
    ("answer", "exit_taken"),
    [
        ("Sales", "Sales"),
        (" sALES ", "Sales"),
        ("sales", "Sales"),
        ("SUPPORT", "Support"),
        ("support", "support"),
        (1, "1"),
    ],
)
def test_a_menu_matches_options_in_any_case_and_exact_ones_first(answer: object, exit_taken: str) -> None:
    flow = flow_of(
        {"name": "m", "type": "menu", "options": {"Sales": None, "support": None, "Support": None, "1": None}}
    )

    assert exits(walk_flow(flow, {"step": {"m": answer}}))[0][1] == exit_taken


@pytest.mark.parametrize("answer", ["Other", "", None, ["Sales"], {"a": 1}], ids=str)
def test_an_unknown_option_fails_or_takes_its_exit(answer: object) -> None:
    menu: dict[str, Any] = {"name": "m", "type": "menu", "options": {"Sales": None}}
    record = walk_flow(flow_of(menu), {"step": {"m": answer}})
    shown = text_of(answer).replace('"', "'")  # type: ignore[arg-type]
    assert (record.state, record.reason) == (
        State.FAILED,
        f'm: the answer "{shown}" does not fit: it is not one of the options: Sales',
    )

    flow = flow_of({**menu, "on_answer_failed": "e"}, {"name": "e", "type": "end"})
    assert exits(walk_flow(flow, {"step": {"m": answer}})) == [("m", "answer failed"), ("e", None)]


def test_a_menu_without_an_answer_ends_the_walk() -> None:
    record = walk_flow(flow_of({"name": "m", "type": "menu", "options": {"Sales": None}}))

    assert (record.state, record.unanswered, record.reason) == (State.COMPLETED, True, "m was not answered")


@pytest.mark.parametrize(("age", "label"), [("17", "path 1"), ("18", "adults"), ("70", "adults"), (None, "otherwise")])
def test_a_conditional_takes_the_first_path_that_is_true(age: str | None, label: str) -> None:
    paths = [
        {"conditions": [_is("lt", "18"), _is("!isnull", None)]},
        {"name": "adults", "conditions": [_is("gte", "18")]},
        {"name": "seniors", "conditions": [_is("gte", "65")]},
    ]
    flow = flow_of({"name": "c", "type": "conditional", "paths": paths})

    assert exits(walk_flow(flow, {"contact.age": age})) == [("c", label)]


def _is(comparison: str, value: str | None) -> dict[str, Any]:
    return {"field": "contact.age", "comparison": comparison, "value": value}


@pytest.mark.parametrize(("state", "expected"), [("completed", State.COMPLETED), ("failed", State.FAILED)])
def test_an_end_sets_state_and_reason(state: str, expected: State) -> None:
    record = walk_flow(
        flow_of({"name": "e", "type": "end", "state": state, "reason": "{{ contact.a }}"}), {"contact.a": "why"}
    )

    assert (record.state, record.reason, record.visits[0].exit) == (expected, "why", None)


def failure(kind: ErrorKind, sent: Sent) -> TransportFailure:
    return TransportFailure(kind, "went wrong", sent)


ONCE, KEYED, IDEMPOTENT = ({"delivery": name} for name in ("at_most_once", "keyed", "idempotent"))


@pytest.mark.parametrize(
    ("keys", "reply", "state"),
    [
        pytest.param(ONCE, NOT_SENT, State.FAILED, id="not sent"),
        pytest.param(ONCE, failure(ErrorKind.POLICY, Sent.NO), State.FAILED, id="policy"),
        pytest.param(ONCE, LOST, State.IN_DOUBT, id="no answer"),
        pytest.param(KEYED, LOST, State.IN_DOUBT, id="no answer, keyed"),
        pytest.param(IDEMPOTENT, LOST, State.IN_DOUBT, id="no answer to a POST that is idempotent"),
        pytest.param({"method": "PUT"}, LOST, State.IN_DOUBT, id="no answer to a PUT"),
        pytest.param({"method": "GET"}, LOST, State.FAILED, id="no answer to a GET"),
        pytest.param({"method": "HEAD"}, LOST, State.FAILED, id="no answer to a HEAD"),
        pytest.param({"method": "OPTIONS"}, LOST, State.FAILED, id="no answer to OPTIONS"),
        pytest.param(ONCE, json_reply(500), State.IN_DOUBT, id="500"),
        pytest.param(ONCE, json_reply(408), State.IN_DOUBT, id="408"),
        pytest.param(KEYED, json_reply(503), State.IN_DOUBT, id="503, keyed"),
        pytest.param({"method": "GET"}, json_reply(500), State.FAILED, id="500 to a GET"),
        pytest.param(ONCE, json_reply(404), State.FAILED, id="404"),
        pytest.param(ONCE, json_reply(302), State.FAILED, id="302"),
        pytest.param(ONCE, json_reply(429), State.FAILED, id="429"),
        pytest.param({"retry": {"statuses": [503]}}, json_reply(503), State.FAILED, id="503, listed as not processed"),
        pytest.param({"retry": {"statuses": [503]}}, json_reply(500), State.IN_DOUBT, id="500, not listed"),
        pytest.param({**KEYED, "retry": {"statuses": [503]}}, json_reply(503), State.IN_DOUBT, id="listed, but keyed"),
        pytest.param(ONCE, failure(ErrorKind.TOO_LARGE, Sent.YES), State.FAILED, id="2xx too large"),
        pytest.param({"success_when": "response.ok"}, json_reply(200, {"ok": False}), State.FAILED, id="success_when"),
    ],
)
def test_an_unhandled_error_fails_the_walk(keys: dict[str, Any], reply: Reply, state: State) -> None:
    record = walk_flow(flow_of(action(**keys)), reply=reply)

    assert (record.state, record.handled_errors) == (state, 0)
    assert record.reason.startswith("Send: ")
    assert record.visits[0].result is not None
    assert record.variables["step"]["Send"]["outcome"] == "error"  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("keys", "reply", "state"),
    [
        pytest.param(ONCE, NOT_SENT, State.COMPLETED, id="not sent"),
        pytest.param(ONCE, json_reply(404), State.COMPLETED, id="404"),
        pytest.param(ONCE, json_reply(500), State.COMPLETED, id="500"),
        pytest.param(ONCE, json_reply(408), State.COMPLETED, id="408"),
        pytest.param(KEYED, json_reply(500), State.IN_DOUBT, id="500, keyed"),
        pytest.param(IDEMPOTENT, json_reply(500), State.IN_DOUBT, id="500 to a POST that is idempotent"),
        pytest.param({"method": "PUT"}, json_reply(408), State.IN_DOUBT, id="408 to a PUT"),
        pytest.param({"method": "GET"}, json_reply(500), State.COMPLETED, id="500 to a GET"),
        pytest.param(ONCE, LOST, State.IN_DOUBT, id="no answer"),
        pytest.param(KEYED, LOST, State.IN_DOUBT, id="no answer, keyed"),
        pytest.param({"method": "PUT"}, LOST, State.IN_DOUBT, id="no answer to a PUT"),
        pytest.param({"method": "GET"}, LOST, State.COMPLETED, id="no answer to a GET"),
        pytest.param({"method": "GET", **ONCE}, LOST, State.COMPLETED, id="no answer to a GET at most once"),
    ],
)
@pytest.mark.parametrize("end", ["completed", "failed"])
def test_an_error_exit_handles_every_error_and_keeps_doubts(
    keys: dict[str, Any], reply: Reply, state: State, end: str
) -> None:
    flow = flow_of(
        action(on_error="z", **keys),
        {"name": "z", "type": "message", "body": "{{ step.Send.error.sent }}", "next": "e"},
        {"name": "e", "type": "end", "state": end, "reason": "over"},
    )
    record = walk_flow(flow, reply=reply)

    in_doubt = state is State.IN_DOUBT
    assert (record.state, record.handled_errors) == (state if in_doubt else State(end), 1)
    assert record.path == ["Send", "z", "e"]
    assert record.visits[1].text in ("unknown", "no", "yes")
    message = record.visits[0].result.error.message  # type: ignore[union-attr]
    assert record.reason == (f"Send: {message}; over" if in_doubt else "over")


def test_an_intentional_resend_has_different_keys() -> None:
    def keys(epoch: str | None) -> list[str]:
        effects: list[Effect] = []

        def do(effect: Effect) -> EffectResult:
            assert isinstance(effect, SendAction)
            effects.append(effect)
            return classify(json_reply(200, {"id": 9}), SentRequest(effect.request))

        drive(walk(flow_of(*CHAIN), read_response({"id": "r"}), now=NOW, epoch=epoch), do)
        return [effect.idempotency_key for effect in effects if isinstance(effect, SendAction)]

    assert keys(None) == keys(None)
    assert len({*keys(None), *keys("replay-1"), *keys("replay-2")}) == 6


def test_an_idempotency_key_is_sent_only_if_keyed() -> None:
    def todo_of(keys: dict[str, Any]) -> SendAction:
        effects: list[Effect] = []
        walk_flow(flow_of(action(**keys)), effects=effects)
        assert isinstance(effects[0], SendAction)
        return effects[0].with_key("other")

    keyed, once = todo_of({**KEYED, "idempotency_header": "X-Key"}), todo_of(ONCE)
    assert (keyed.idempotency_key, keyed.request.headers) == ("other", (("X-Key", "other"),))
    assert (once.idempotency_key, once.request.headers) == ("other", ())


def test_later_steps_read_replies() -> None:
    flow = flow_of(
        action("Create contact", on_success="z"),
        {
            "name": "z",
            "type": "message",
            "body": "{{ step.Create contact.response.items.1.id }} {{step.Create contact.status_code}}",
        },
    )

    assert walk_flow(flow, reply=json_reply(201, {"items": [{}, {"id": 7}]})).visits[1].text == "7 201"


def test_a_missing_value_fails_the_walk_and_names_the_step() -> None:
    record = walk_flow(flow_of(action(body={"a": "{{ contact.nope }}"})))

    assert (record.state, exits(record)) == (State.FAILED, [("Send", None)])
    assert record.reason == "Send: body.a: contact.nope has no value for this contact"


@pytest.mark.parametrize(("missing", "content"), [("null", b'{"a":null}'), ("empty", b'{"a":""}')])
def test_a_flow_configures_missing_values(missing: str, content: bytes) -> None:
    effects: list[Effect] = []
    walk_flow(flow_of(action(body={"a": "{{ contact.nope }}"}), missing=missing), effects=effects)

    assert isinstance(effects[0], SendAction)
    assert effects[0].request.content == content


@pytest.mark.parametrize("answer", ["{{ 7*7 }}", "{{ conn.crm.password }}", "{% for a in b %}", "{# x #}"])
def test_an_answer_is_never_evaluated(answer: str) -> None:
    flow = flow_of(
        {"name": "Ask", "type": "question", "next": "Send"},
        action(body={"a": "{{ step.Ask }}", "b": "x {{ step.Ask }}"}, on_success="Again"),
        action("Again", body="{{ step.Send.response.echo }}", body_type="plain"),
    )
    effects: list[Effect] = []
    walk_flow(flow, {"step": {"Ask": answer}}, json_reply(200, {"echo": answer}), effects)

    first, second = effects
    assert isinstance(first, SendAction)
    assert isinstance(second, SendAction)
    assert json.loads(first.request.content) == {"a": answer, "b": f"x {answer}"}
    assert second.request.content == answer.encode()


def test_no_naughty_string_stops_a_walk(naughty_strings: list[str]) -> None:
    flow = flow_of(
        {"name": "Ask", "type": "question", "next": "Send"},
        action(body={"a": "{{ step.Ask }}"}, query_params={"q": "{{ step.Ask }}"}),
    )
    for text in naughty_strings:
        effects: list[Effect] = []
        assert walk_flow(flow, {"step": {"Ask": text}}, effects=effects).state is State.COMPLETED
        assert isinstance(effects[0], SendAction)
        assert json.loads(effects[0].request.content) == {"a": text}


def test_a_lone_surrogate_fails_one_contact_without_raising() -> None:
    flow = flow_of({"name": "Ask", "type": "question", "next": "Send"}, action(body={"a": "{{ step.Ask }}"}))

    record = walk_flow(flow, {"step": {"Ask": "\ud800"}})
    assert record.state is State.FAILED
    assert record.reason.startswith("Send: body")


def test_a_loop_ends_when_its_step_has_no_visits_left() -> None:
    effects: list[Effect] = []
    flow = flow_of(action("a", on_success="b", max_visits=3), action("b", on_success="a", on_error="z"), END)
    record = walk_flow(flow, {"id": "r"}, effects=effects)

    assert record.path == ["a", "b"] * 3
    assert (record.state, record.reason) == (State.FAILED, "a was visited 3 times, which is the limit")
    assert [visit.number for visit in record.visits] == [1, 1, 2, 2, 3, 3]
    assert len({effect.idempotency_key for effect in effects if isinstance(effect, SendAction)}) == 6


def test_a_loop_without_its_own_limit_is_still_limited() -> None:
    record = walk_flow(flow_of(action("a", on_success="b"), action("b", on_success="a", on_error="z"), END))

    assert len(record.visits) == 200
    assert record.state is State.FAILED


def test_exhausted_visits_can_take_an_exit() -> None:
    flow = flow_of(action("a", on_success="a", max_visits=2, on_max_visits="z"), {"name": "z", "type": "message"})

    assert walk_flow(flow).path == ["a", "a", "z"]
    assert walk_flow(flow).state is State.COMPLETED


def test_mutually_exhausted_steps_end_the_walk() -> None:
    flow = flow_of(
        action("a", on_success="b", on_error="z", max_visits=1, on_max_visits="b"),
        action("b", on_success="a", on_error="z", max_visits=1, on_max_visits="a"),
        END,
    )

    assert walk_flow(flow).path == ["a", "b"]
    assert walk_flow(flow).state is State.FAILED


def test_each_visit_of_a_response_has_a_stable_key() -> None:
    def keys(response: dict[str, Any], flow: Flow) -> list[str]:
        effects: list[Effect] = []
        walk_flow(flow, response, effects=effects)
        return [effect.idempotency_key for effect in effects if isinstance(effect, SendAction)]

    flow = flow_of(action("a", on_success="b"), action("b"))
    other = flow_of(action("a", on_success="b"), action("b"), id="g")

    assert keys({"id": "r-1"}, flow) == keys({"id": "r-1", "contact.phone": "1"}, flow)
    unique = [*keys({"id": "r-1"}, flow), *keys({"id": "r-2"}, flow), *keys({"id": "r-1"}, other)]
    assert len(set(unique)) == 6
    assert keys({"contact.phone": "1"}, flow) != keys({"contact.phone": "2"}, flow)


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({}, None),
        ({"delivery": "idempotent"}, None),
        ({"delivery": "keyed"}, "Idempotency-Key"),
        ({"delivery": "keyed", "idempotency_header": "X-Request"}, "X-Request"),
    ],
    ids=str,
)
def test_the_key_is_sent_when_keyed_and_only_then(keys: dict[str, Any], header: str | None) -> None:
    effects: list[Effect] = []
    walk_flow(flow_of(action(headers={"x-request": "author"}, **keys)), effects=effects)

    (effect,) = effects
    assert isinstance(effect, SendAction)
    sent = [name for name, value in effect.request.headers if value == effect.idempotency_key]
    assert sent == ([header] if header else [])
    assert (("x-request", "author") in effect.request.headers) is (header != "X-Request")


def test_with_header_replaces_one_of_the_same_name() -> None:
    request = HttpRequest("GET", "/", (("A", "1"), ("b", "2")), b"x", "crm")

    assert request.with_header("B", "3") == HttpRequest("GET", "/", (("A", "1"), ("B", "3")), b"x", "crm")


SEND_FILE = action(body=[{"name": "doc", "file": "{{ contact.file }}"}], body_type="multipart")
CONTACT = {"contact": {"file": {"url": "https://media.example/a.png", "filename": "a.png"}}}


def with_file(fetched: EffectResult, keys: dict[str, Any] | None = None) -> tuple[Walk, list[Effect]]:
    effects: list[Effect] = []

    def do(effect: Effect) -> EffectResult:
        effects.append(effect)
        return fetched if isinstance(effect, FetchFile) else classify(json_reply(), SentRequest(effect.request))

    return drive(walk(flow_of({**SEND_FILE, **(keys or {})}), read_response(CONTACT), now=NOW), do), effects


def test_a_file_is_fetched_and_then_sent() -> None:
    record, effects = with_file(FileContent(b"\x89PNG", None, "image/png"))

    assert [type(effect) for effect in effects] == [FetchFile, SendAction]
    fetch, send = effects
    assert isinstance(fetch, FetchFile)
    assert isinstance(send, SendAction)
    assert (fetch.source.url_or_path, fetch.visit) == ("https://media.example/a.png", 1)
    assert b'filename="a.png"' in send.request.content
    assert b"\x89PNG" in send.request.content
    assert record.state is State.COMPLETED


def test_a_failed_fetch_is_an_error_of_kind_file() -> None:
    record, effects = with_file(TransportFailure(ErrorKind.TIMEOUT, "too slow", Sent.UNKNOWN))

    assert [type(effect) for effect in effects] == [FetchFile]
    result = record.visits[0].result
    assert record.state is State.FAILED
    assert result is not None
    assert result.error is not None
    assert (result.error.kind, result.error.sent, result.attempts) == (ErrorKind.FILE, Sent.NO, 0)
    assert "too slow" in result.error.message


def test_needs_no_file_if_a_result_is_recorded() -> None:
    recorded = classify(HttpResponse(201), SentRequest(HttpRequest("POST", "https://crm.example/")))
    record, effects = with_file(recorded)

    assert len(effects) == 1
    assert record.visits[0].result is recorded


def test_a_request_is_answered_with_a_result() -> None:
    walking = walk(flow_of(action()), read_response({}), now=NOW)
    next(walking)

    with pytest.raises(TypeError, match="ActionResult"):
        walking.send(NOT_SENT)


def test_rejects_an_unusable_response_without_effects() -> None:
    flow = flow_of(action(), variables={"campaign": {"required": True}, "n": {"type": "number"}})
    effects: list[Effect] = []

    record = walk_flow(flow, {"id": "r"}, effects=effects)
    assert (record.state, record.visits, effects) == (State.REJECTED, [], [])
    assert record.reason == "flow_execution_variables.campaign is required, but is missing"
    assert walk_flow(flow, {"flow_execution_variables": {"campaign": "x", "n": "7"}}).state is State.REJECTED


def test_the_record_is_updated_during_the_walk() -> None:
    record = Walk(Variables())
    walking = walk(flow_of(*FLOW["steps"]), read_response(ANA), now=NOW, record=record)
    next(walking)

    assert record.path == ["Ask name", "Choose", "Decide"]
    assert record.state is None


def test_global_time_uses_the_flows_zone_and_keeps_given_values() -> None:
    flow = flow_of(action(), timezone="Asia/Tokyo")
    values = initial_variables(flow, read_response({"global.Shop": "Roma", "global.Weekday": "Someday"}), NOW)["global"]

    assert values["Datetime"] == "2026-11-23T01:04:05+09:00"
    assert (values["Shop"], values["Weekday"]) == ("Roma", "Someday")


CHAIN = [
    action("First", connection="crm", url="/first", on_success="Second", on_error="Second"),
    action("Second", connection="crm", url="/second", body="{{ step.First.outcome }} {{ step.First.response.id }}"),
]


def _walk_recorded(
    actions: dict[str, Any], exits: dict[str, str] | None = None, *, resend: bool = False
) -> tuple[Walk, list[str]]:
    asked: list[str] = []

    def do(effect: Effect) -> EffectResult:
        assert isinstance(effect, SendAction)
        asked.append(f"{effect.step.name}: {effect.request.content.decode()}")
        return classify(json_reply(200, {"id": 9}), SentRequest(effect.request))

    response = read_response({"id": "r-1", "actions": actions, "exits": exits or {}})
    return drive(walk(flow_of(*CHAIN), response, now=NOW, resend=resend), do), asked


def test_reuses_the_result_of_an_action_that_succeeded() -> None:
    record, asked = _walk_recorded({"First": [{"outcome": "success", "response": {"id": 7}}]})
    assert asked == ["Second: success 7"]
    assert record.path == ["First", "Second"]


def test_an_action_that_failed_before_or_never_ran_is_sent() -> None:
    failed_before = {"outcome": "error", "error": {"kind": "status", "message": "", "sent": "yes"}}
    _, asked = _walk_recorded({"First": [failed_before]})
    assert asked == ["First: ", "Second: success 9"]


def test_unreadable_recorded_results_reject_the_response() -> None:
    record, asked = _walk_recorded({"First": [{"status": 200}]})
    assert (record.state, asked) == (State.REJECTED, [])
    assert "actions.First" in record.reason


def test_resends_everything_on_request() -> None:
    recorded = {"First": [{"outcome": "success", "response": {"id": 7}}]}
    _, asked = _walk_recorded(recorded, {"Second": "success"}, resend=True)
    assert asked == ["First: ", "Second: success 9"]


def test_does_not_resend_a_success_with_an_unknown_reply() -> None:
    record, asked = _walk_recorded({}, {"Second": "success"})
    assert asked == ["First: "]
    assert [visit.exit for visit in record.visits] == ["success", "success"]
    assert record.visits[1].result is not None
    assert (record.visits[1].result.response, record.visits[1].result.status_code) == (None, None)


def test_sends_a_failed_action_unless_its_result_is_recorded() -> None:
    _, asked = _walk_recorded({}, {"First": "error", "Second": "error"})
    assert asked == ["First: ", "Second: success 9"]
    failed_before = {"outcome": "error", "error": {"kind": "status", "message": "", "sent": "yes"}}
    _, asked = _walk_recorded({"First": [failed_before]}, {"First": "success"})
    assert asked == ["First: ", "Second: success 9"]


def test_an_exit_that_no_action_has_rejects_the_response() -> None:
    record, asked = _walk_recorded({}, {"First": "succes", "Nobody": "x"})
    assert (record.state, asked) == (State.REJECTED, [])
    assert record.reason == "exits.First: the exit of an action must be 'success' or 'error', not 'succes'"


def test_repeated_questions_use_their_answers_in_order() -> None:
    flow = flow_of(
        {"name": "q", "type": "question", "answer_type": "NUMBER", "next": "m", "on_answer_failed": "q"},
        {"name": "m", "type": "menu", "options": {"Again": "q", "Done": None}},
    )
    history = [{"step": "q", "value": "many"}, {"step": "m", "value": "Again"}, {"step": "q", "value": 3}]
    record = walk_flow(flow, {"step": {"q": 4, "m": "Done"}, "history": history})

    assert exits(record) == [("q", "answer failed"), ("q", "next"), ("m", "Again"), ("q", "next"), ("m", "Done")]
    assert record.variables["step"]["q"] == 4
    assert record.visits[3].number == 3


def test_questions_beyond_the_given_answers_are_unanswered() -> None:
    flow = flow_of({"name": "q", "type": "question", "next": "q", "max_visits": 5})
    record = walk_flow(flow, {"history": [{"step": "q", "value": None}, {"step": "q", "value": "x"}]})

    assert (record.state, record.unanswered, record.path) == (State.COMPLETED, True, ["q"] * 3)


def test_a_recorded_exit_covers_one_visit_only() -> None:
    flow = flow_of(action(on_success="Send", max_visits=3, on_max_visits="z"), {"name": "z", "type": "end"})
    effects: list[Effect] = []
    walk_flow(flow, {"exits": {"Send": "success"}}, effects=effects)
    assert [effect.visit for effect in effects] == [2, 3]


def _loop(text: str, visits: int, **keys: Any) -> Flow:
    again = {"name": "Say", "type": "message", "body": text, "next": "Say", "on_max_visits": "z", "max_visits": visits}
    return flow_of({**again, **keys}, END)


def test_limits_the_texts_of_a_walk_and_marks_cuts() -> None:
    text = "x" * 400_000
    record = walk_flow(_loop("{{ contact.first_name }}", 10_000), {"id": "r-1", "contact": {"first_name": text}})

    said = [visit.text or "" for visit in record.visits[:-1]]
    assert (record.state, len(said)) == (State.COMPLETED, 10_000)
    assert said[:2] == [text, text]
    assert said[2].startswith("x" * (1_048_576 - 800_000) + "… (truncated: ")
    assert set(said[3:]) == {"… (truncated: the messages of a walk can have 1,048,576 characters in total)"}
    assert sum(map(len, set(said))) < 2 * 1_048_576


def test_the_text_limit_includes_literal_text() -> None:
    beside = {"whatsapp_template": "hi", "whatsapp_template_variables": {"1": "{{ contact.first_name }}"}}
    record = walk_flow(_loop("Hi", 100, **beside), {"id": "r-1", "contact": {"first_name": "x" * 400_000}})

    kept = [visit.details or {} for visit in record.visits[:-1]]
    assert [len(str(one.get("whatsapp_template_variables", ""))) > 400_000 for one in kept] == [True] * 2 + [False] * 98
    assert all("can have 1,048,576 characters in total" in str(one["left_out"]) for one in kept[2:])


def test_an_empty_text_is_never_cut() -> None:
    record = walk_flow(_loop("{{ contact.first_name }}", 10), {"id": "r-1", "contact": {"first_name": ""}})

    assert {visit.text for visit in record.visits[:-1]} == {""}

"""A flow's own tests: canned replies in, mismatches out; nothing is sent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.inspect.compare import differences
from airflow_whatsapp_flows.flow.inspect.testing import FlowTestRun, run_flow_test, untaken_exits
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.request.messages import ErrorKind
from airflow_whatsapp_flows.flow.template.references import MISSING

ASK = {"name": "Ask name", "type": "question", "next": "Save", "on_no_answer": "Sorry"}
SAVE = {
    "name": "Save", "type": "action", "connection": "crm", "url": "/v1/contacts",
    "query_params": {"upsert": "true"}, "headers": {"X-Source": "whatsapp"},
    "body": {"name": "{{ step.Ask name }}", "tags": ["a", "b"], "age": 41},
    "on_success": "Thanks", "on_error": "Sorry",
}  # fmt: skip
THANKS = {"name": "Thanks", "type": "message", "body": "Number {{ step.Save.response.id }}"}
SORRY = {"name": "Sorry", "type": "message", "body": "Sorry"}
ANA: dict[str, Any] = {"contact": {"phone": "+52"}, "step": {"Ask name": "Ana"}}
OK = {"step": "Save", "status_code": 201, "response": {"id": 7}}


def run_steps(
    *steps: dict[str, Any], expect: Any = None, replies: Any = (OK,), response: Any = None, **more: Any
) -> FlowTestRun:
    """Run one test of a flow of these steps."""
    test = {"name": "a test", "response": ANA if response is None else response, "replies": list(replies)}
    test |= {key: more.pop(key) for key in ("now",) if key in more}
    written = {"flow_format": 1, "id": "a", **more, "steps": list(steps or (ASK, SAVE, THANKS, SORRY))}
    flow = load_flow({**written, "tests": [{**test, "expect": expect or {}}]})
    return run_flow_test(flow, flow.tests[0])


def mismatches_of(run: FlowTestRun) -> dict[str, str]:
    return {one.where: one.message for one in run.mismatches}


def test_a_test_passes_if_expectations_match() -> None:
    run = run_steps(
        expect={
            "path": ["Ask name", "Save", "Thanks"],
            "state": "completed",
            "requests": [
                {
                    "step": "Save",
                    "method": "POST",
                    "url": "/v1/contacts?upsert=true",
                    "headers": {"x-source": "whatsapp"},
                    "body": {"age": 41, "name": "Ana", "tags": ["a", "b"]},
                }
            ],
            "variables": {"step.Ask name": "Ana", "step.Save.response": {"id": 7}, "{{ step.Save.status_code }}": 201},
        }
    )

    assert (run.passed, run.mismatches, run.unused) == (True, (), ())


def test_unspecified_values_match_anything() -> None:
    assert run_steps(expect={}).passed
    assert run_steps(expect={"requests": [{}]}).passed


@pytest.mark.parametrize(
    ("expect", "where", "message"),
    [
        ({"path": ["Ask name", "Save", "Sorry"]}, "path",
         "step 3: expected 'Sorry', got 'Thanks', because 'Save' was left by 'success'"),
        ({"path": ["Save"]}, "path", "step 1: expected 'Save', got 'Ask name'"),
        ({"path": ["Ask name", "Save"]}, "path", "expected to end after step 2, continues with 'Thanks'"),
        ({"path": ["Ask name", "Save", "Thanks", "Sorry"]}, "path", "ends after step 3, expected 'Sorry' next"),
        ({"state": "failed"}, "state", 'expected "failed", got "completed"'),
        ({"requests": []}, "requests", "expected 0, got 1 ('Save': POST /v1/contacts?upsert=true)"),
        ({"requests": [{}, {}]}, "requests", "expected 2, got 1 ('Save': POST /v1/contacts?upsert=true)"),
        ({"requests": [{"method": "PUT"}]}, "requests[0].method", 'expected "PUT", got "POST"'),
        ({"requests": [{"url": "/v1"}]}, "requests[0].url", 'expected "/v1", got "/v1/contacts?upsert=true"'),
        ({"requests": [{"headers": {"X-Source": "b"}}]}, "requests[0].headers.X-Source",
         'expected "b", got "whatsapp"'),
        ({"requests": [{"headers": {"X-Other": "b"}}]}, "requests[0].headers.X-Other", 'expected "b", got nothing'),
        ({"requests": [{"body": {"name": "Ana", "tags": ["a"], "age": 41}}]}, "requests[0].body.tags[1]",
         'expected nothing, got "b"'),
        ({"requests": [{"body": {"name": "Ana", "tags": ["a", "b"], "age": "41"}}]}, "requests[0].body.age",
         'expected "41", got 41'),
        ({"requests": [{"body": None}]}, "requests[0].body",
         'expected null, got {"name": "Ana", "tags": ["a", "b"], "age": 41}'),
        ({"requests": [{"body": '{"name":"Ana"}'}]}, "requests[0].body",
         'expected "{\\"name\\":\\"Ana\\"}", got "{\\"name\\":\\"Ana\\",\\"tags\\":[\\"a\\",\\"b\\"],\\"age\\":41}"'),
        ({"variables": {"step.Save.response.id": True}}, "variables.step.Save.response.id", "expected true, got 7"),
        ({"variables": {"contact.email": None}}, "variables.contact.email", "expected null, got nothing"),
    ],
)  # fmt: skip
def test_reports_each_difference_with_its_location(expect: dict[str, Any], where: str, message: str) -> None:
    run = run_steps(expect=expect)

    assert not run.passed
    assert mismatches_of(run) == {where: message}


def test_a_long_text_is_shown_at_its_first_difference() -> None:
    got = "a" * 100 + "b" + "c" * 200
    (found,) = differences("a" * 100 + "x" + "c" * 200, got, "body")

    assert found.message.startswith("differs at character 101: expected …")
    assert len(found.message) < 250


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)
                          | st.dictionaries(st.text(), inner), max_leaves=8))  # fmt: skip
def test_a_value_equals_only_its_copies(value: Any) -> None:
    assert list(differences(value, copy.deepcopy(value), "x")) == []
    assert list(differences(value, [value], "x"))
    assert list(differences(value, MISSING, "x"))


@pytest.mark.parametrize(("one", "other"), [(True, 1), (False, 0), (None, ""), ("1", 1), ({}, []), (None, MISSING)])
def test_values_of_other_types_are_not_the_same(one: Any, other: Any) -> None:
    assert len(list(differences(one, other, "x"))) == 1
    assert len(list(differences(other, one, "x"))) == 1


def test_reports_missing_and_unexpected_keys_and_items() -> None:
    one, other = {"a": 1, "b": {"c": [1]}}, {"a": 1, "b": {"c": [1, None]}, "d": None}

    assert [found.where for found in differences(one, other, "x")] == ["x.b.c[1]", "x.d"]
    assert [found.where for found in differences(other, one, "x")] == ["x.b.c[1]", "x.d"]


def test_numbers_are_equal_in_any_notation() -> None:
    assert list(differences(1, 1.0, "x")) == []


@pytest.mark.parametrize(
    ("body_type", "body", "expected"),
    [
        ("form", {"name": "{{ step.Ask name }}", "tag": ["a", "b"]}, {"name": "Ana", "tag": ["a", "b"]}),
        ("form", {"name": "{{ step.Ask name }}"}, "name=Ana"),
        ("xml", "<lead><name>{{ step.Ask name }}</name></lead>", {"lead": {"name": "Ana"}}),
        ("yaml", {"name": "{{ step.Ask name }}", "n": 1}, {"name": "Ana", "n": 1}),
        ("plain", "Hi {{ step.Ask name }}", "Hi Ana"),
        ("multipart", {"name": "{{ step.Ask name }}", 'a"b\n': ["c", "d"]}, {"name": "Ana", 'a"b\n': ["c", "d"]}),
        ("json", '{"name": "{{ step.Ask name }}", "n": 1}', {"name": "Ana", "n": 1}),
    ],
)
def test_bodies_are_compared_as_parsed(body_type: str, body: Any, expected: Any) -> None:
    save = {**SAVE, "body_type": body_type, "body": body}
    right = run_steps(ASK, save, THANKS, SORRY, expect={"requests": [{"body": expected}]})
    wrong = run_steps(ASK, save, THANKS, SORRY, expect={"requests": [{"body": expected}]},
                response={"step": {"Ask name": "Eva"}})  # fmt: skip

    assert right.mismatches == ()
    assert [one.where.startswith("requests[0].body") for one in wrong.mismatches] == [True]


def test_a_body_is_parsed_by_its_body_type() -> None:
    save = {**SAVE, "body_type": "json", "headers": {"Content-Type": "application/vnd.lead"}, "body": {"a": 1}}

    assert run_steps(ASK, save, THANKS, SORRY, expect={"requests": [{"body": {"a": 1}}]}).passed


FILE_BODY = [{"name": "note", "value": "hi"}, {"name": "photo", "file": "https://files.example/p.png"}]


def test_flow_tests_fetch_no_files() -> None:
    save = {**SAVE, "body_type": "multipart", "body": FILE_BODY}
    expected = {"note": "hi", "photo": {"filename": "p.png", "content_type": "application/octet-stream"}}

    run = run_steps(ASK, save, THANKS, SORRY, expect={"requests": [{"body": expected}]})

    assert run.mismatches == ()


def test_a_missing_file_is_an_error_of_kind_file() -> None:
    save = {**SAVE, "body_type": "multipart", "body": FILE_BODY}

    run = run_steps(ASK, save, THANKS, SORRY, replies=[{"step": "Save", "error": "file"}],
              expect={"path": ["Ask name", "Save", "Sorry"], "requests": []})  # fmt: skip

    assert run.mismatches == ()


def test_sends_a_file_that_is_available_at_the_second_visit() -> None:
    save = {**SAVE, "body_type": "multipart", "body": FILE_BODY, "on_error": "Save"}

    run = run_steps(save, THANKS, replies=[{"step": "Save", "error": "file"}, OK],
              expect={"path": ["Save", "Save", "Thanks"], "requests": [{}]})  # fmt: skip

    assert (run.mismatches, run.unused) == ((), ())


@pytest.mark.parametrize("kind", ["status", "unparsable", "success_when", "response_check", "file"])
def test_refuses_an_impossible_error_kind(kind: str) -> None:
    run = run_steps(replies=[{"step": "Save", "error": kind}])

    assert list(mismatches_of(run)) == ["replies[0]"]
    assert kind in mismatches_of(run)["replies[0]"]


@pytest.mark.parametrize(
    "kind", [kind for kind in ErrorKind if kind.value in ("timeout", "connect", "tls", "protocol", "interrupted",
                                                           "too_large", "policy")]
)  # fmt: skip
def test_every_other_error_takes_the_error_exit(kind: ErrorKind) -> None:
    run = run_steps(replies=[{"step": "Save", "error": kind.value}],
              expect={"path": ["Ask name", "Save", "Sorry"],
                      "variables": {"step.Save.error.kind": kind.value}})  # fmt: skip

    assert run.mismatches == ()


def test_an_unknown_outcome_puts_the_contact_in_doubt() -> None:
    for kind, state in (("interrupted", "in_doubt"), ("connect", "completed")):
        assert run_steps(replies=[{"step": "Save", "error": kind}], expect={"state": state}).mismatches == ()


def test_a_reply_that_is_too_large_has_a_status() -> None:
    variables = {"step.Save.status_code": 201, "step.Save.error.sent": "yes", "step.Save.response": None}
    reply = {"step": "Save", "status_code": 201, "error": "too_large"}

    assert run_steps(replies=[reply], expect={"state": "completed", "variables": variables}).mismatches == ()


def test_a_request_without_a_reply_fails_the_test_and_reports_it() -> None:
    run = run_steps(replies=[], expect={"path": ["Ask name", "Save", "Thanks"], "state": "completed"})

    assert mismatches_of(run) == {"replies": "'Save' sends a request, and the test has no reply for it"}
    assert [effect.step.name for effect in run.requests] == ["Save"]


def test_replies_are_used_in_order_and_the_last_one_repeats() -> None:
    poll = {"name": "Poll", "type": "action", "method": "GET", "connection": "crm", "url": "/", "on_success": "Ready?"}
    ready = {
        "name": "Ready?", "type": "conditional", "otherwise": "Wait",
        "paths": [{"conditions": [{"field": "step.Poll.response.n", "comparison": "exact", "value": 3}],
                   "next": "Done"}],
    }  # fmt: skip
    wait = {"name": "Wait", "type": "delay", "amount": 10, "unit": "HOUR", "next": "Poll"}
    done = {"name": "Done", "type": "message", "body": "Done"}

    replies = [{"step": "Poll", "response": {"n": n}} for n in (1, 2, 3)]
    run = run_steps(poll, ready, wait, done, replies=replies, expect={"state": "completed", "requests": [{}, {}, {}]})
    never = run_steps(poll, ready, wait, done, replies=replies[:2], expect={"state": "failed"}, max_visits=5)

    assert run.mismatches == ()
    assert never.mismatches == ()
    assert len(never.requests) == 5


def test_a_retried_reply_counts_as_the_last_one() -> None:
    save = {**SAVE, "retry": {"attempts": 3, "slow_down_when": "response.slow"}}
    slow = {"step": "Save", "status_code": 200, "response": {"slow": True}}

    run = run_steps(
        ASK, save, THANKS, SORRY, replies=[slow], expect={"path": ["Ask name", "Save", "Sorry"], "requests": [{}]}
    )
    busy = run_steps(replies=[{"step": "Save", "status_code": 429}], expect={"path": ["Ask name", "Save", "Sorry"]})

    assert run.mismatches == ()
    assert busy.mismatches == ()
    assert len(busy.requests) == 1


def test_success_when_is_evaluated_on_the_reply() -> None:
    save = {**SAVE, "success_when": "response.ok"}

    for ok, last in ((True, "Thanks"), (False, "Sorry")):
        reply = {"step": "Save", "response": {"ok": ok, "id": 1}}
        assert run_steps(ASK, save, THANKS, SORRY, replies=[reply], expect={"path": ["Ask name", "Save", last]}).passed


@pytest.mark.parametrize(
    ("reply", "response"),
    [
        ({"response": {"a": 1}}, {"a": 1}),
        ({"response": "text"}, "text"),
        ({"response": '{"a": 1}', "headers": {"content-type": "application/json"}}, {"a": 1}),
        ({"response": {"a": 1}, "headers": {"Content-Type": "text/plain"}}, '{"a": 1}'),
        ({}, None),
    ],
)
def test_a_reply_is_parsed_by_its_content_type(reply: dict[str, Any], response: Any) -> None:
    run = run_steps(
        {**SAVE, "body": {"a": 1}, "on_success": None, "on_error": None},
        replies=[{"step": "Save", **reply}],
        expect={"variables": {"step.Save.response": response}},
    )

    assert run.mismatches == ()


def test_a_response_that_cannot_be_walked_is_rejected() -> None:
    variables = {"campaign": {"required": True}}

    for response in ({"stepp": {}}, {}):
        run = run_steps(
            response=response, variables=variables, expect={"state": "rejected", "path": [], "requests": []}, replies=[]
        )
        assert run.mismatches == ()


def test_uses_the_tests_time_in_the_flows_zone() -> None:
    expect = {"variables": {"global.Datetime": "2026-11-22T16:04:00-06:00", "global.Weekday": "Sunday"}}

    run = run_steps(SORRY, replies=[], now="2026-11-22T16:04", timezone="America/Mexico_City", expect=expect)

    assert run.mismatches == ()


def test_a_test_without_a_time_uses_a_fixed_one() -> None:
    run = run_steps(SORRY, replies=[], expect={"variables": {"global.Datetime": "2026-01-01T12:00:00+00:00"}})

    assert run.mismatches == ()


def test_an_unused_reply_is_reported() -> None:
    run = run_steps(replies=[OK, OK], expect={"state": "completed"})

    assert run.passed
    assert run.unused == (1,)


def test_exits_and_steps_that_no_test_takes_are_reported() -> None:
    flow = load_flow({"flow_format": 1, "id": "a", "steps": [ASK, SAVE, THANKS, SORRY], "tests": [
        {"name": "one", "response": ANA, "replies": [OK], "expect": {}},
        {"name": "two", "response": {}, "expect": {}},
    ]})  # fmt: skip
    one, two = (run_flow_test(flow, test) for test in flow.tests)

    assert [(way.step, way.exit) for way in untaken_exits(flow, [one])] == [
        ("Ask name", "no answer"),
        ("Save", "error"),
        ("Sorry", None),
    ]
    assert [(way.step, way.exit) for way in untaken_exits(flow, [one, two])] == [("Save", "error")]


def test_literal_secrets_of_the_flow_are_not_shown() -> None:
    send = {
        "name": "Save", "type": "action", "url": "https://crm.example/x?api_key=s3cr%20t-1", "body_type": "json",
        "query_params": {"token": "s3cr t/3"},
        "headers": {"Authorization": "Bearer hunter", "X-Key": "{{ step.Ask name }}"},
        "body": {"password": "s3cr t-2", "key": "Kind", "note": "s3cr t-2 and {{ step.Ask name }}"},
    }  # fmt: skip
    request = {
        "url": "https://crm.example/y?api_key=s3cr%20t-1",
        "headers": {"Authorization": "Bearer hunter2", "X-Key": "Eva"},
        "body": {"password": "other", "note": "Eva"},
    }

    allowed = ["api_key", "token", "Authorization", "password"]  # refused otherwise
    run = run_steps({**ASK, "on_no_answer": None}, send, expect={"requests": [request]}, not_secret=allowed)
    counted = run_steps({**ASK, "on_no_answer": None}, send, expect={"requests": []}, not_secret=allowed)

    assert not any(secret in repr(run.mismatches + counted.mismatches) for secret in ("s3cr", "hunter"))
    assert mismatches_of(run) == {
        "requests[0].url": 'expected "https://crm.example/y?api_key=***", got '
        '"https://crm.example/x?api_key=***&token=***"',
        "requests[0].headers.Authorization": 'expected "Bearer ***2", got "Bearer ***"',
        "requests[0].headers.X-Key": 'expected "Eva", got "Ana"',
        "requests[0].body.password": 'expected "other", got "***"',
        "requests[0].body.key": 'expected nothing, got "Kind"',
        "requests[0].body.note": 'expected "Eva", got "*** and Ana"',
    }
    assert "api_key=***" in mismatches_of(counted)["requests"]


def test_the_last_reply_decides_whatever_the_waits_would_have_been() -> None:
    keyed = {**SAVE, "delivery": "keyed", "key_lifetime": 1, "retry": {"attempts": 3, "wait": 60, "max_wait": 60}}
    busy = {"step": "Save", "status_code": 503}

    reasons = {run_steps(ASK, keyed, THANKS, SORRY, replies=(busy,)).walk.visits[1].result.error for _ in range(30)}

    assert len(reasons) == 1

"""Excerpts of replies are short and safe to show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.reply.excerpt import EXCERPT_LENGTH, error_line, reply_excerpt
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, HttpResponse, Sent, TransportFailure

REQUEST = HttpRequest("POST", "https://crm.example/v1/contacts")


def classify_refusal(content: Any, content_type: str = "application/json", status: int = 422) -> ActionResult:
    body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    reply = HttpResponse(status, "Unprocessable Entity", (("Content-Type", content_type),), body)
    return classify(reply, SentRequest(REQUEST))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param({"error": "email is taken", "code": 17}, '{"error":"email is taken","code":17}', id="json"),
        pytest.param({"phone": "+525512345678"}, '{"phone":"+52…78"}', id="phone"),
        pytest.param({"msg": "ana@example.com is taken"}, '{"msg":"a…@example.com is taken"}', id="email"),
        pytest.param({"since": "2026-11-22"}, '{"since":"2026-11-22"}', id="date"),
        pytest.param({"at": "2026-11-22T10:00:00Z"}, '{"at":"2026-11-22T10:00:00Z"}', id="time"),
        pytest.param({"password": "hunter2!"}, '{"password":"***"}', id="secret-by-name"),
        pytest.param({"sent": "Bearer abc.def.ghi-1"}, '{"sent":"Bearer ***"}', id="secret-by-scheme"),
        pytest.param({"name": "María"}, '{"name":"María"}', id="letters"),
        pytest.param({"x": "a\u202eb\u200b"}, '{"x":"a\\u202eb\\u200b"}', id="bidi"),
        pytest.param(["one", None, 4], '["one",null,4]', id="list"),
    ],
)
def test_a_json_reply_is_compact_and_masked(content: Any, expected: str) -> None:
    assert reply_excerpt(classify_refusal(content)) == expected


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        pytest.param("  no\n\n such   phone ", "text/plain", "no such phone", id="blanks"),
        pytest.param("\x1b[31mred\x9b", "text/plain", "\\x1b[31mred\\x9b", id="escapes"),
        pytest.param(
            "<!doctype html><html><head><style>p {}</style><title>502</title></head><p>Bad <b>gateway</b></p></html>",
            "text/html",
            "502 Bad gateway",
            id="page",
        ),
        pytest.param("x < 3 and y > 4", "text/plain", "x < 3 and y > 4", id="not-a-page"),
    ],
)
def test_a_text_reply_is_one_line(content: str, content_type: str, expected: str) -> None:
    assert reply_excerpt(classify_refusal(content, content_type)) == expected


def test_an_excerpt_is_bounded() -> None:
    found = reply_excerpt(classify_refusal({"errors": ["no"] * 10_000}))
    assert found is not None
    assert len(found) == EXCERPT_LENGTH
    assert found.endswith("…")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=2000))
def test_every_character_of_an_excerpt_prints(text: str) -> None:
    found = reply_excerpt(classify_refusal(text, "text/plain")) or ""
    assert found.isprintable()
    assert len(found) <= EXCERPT_LENGTH


def test_successes_and_empty_replies_have_no_excerpt() -> None:
    assert reply_excerpt(classify(HttpResponse(200, "OK", (), b"fine"), SentRequest(REQUEST))) is None
    assert reply_excerpt(classify_refusal("")) is None
    failure = TransportFailure(ErrorKind.TIMEOUT, "no reply within 30 s", Sent.UNKNOWN)
    assert reply_excerpt(classify(failure, SentRequest(REQUEST))) is None


def test_hides_values_that_the_flow_marks_as_sensitive() -> None:
    step = {"name": "Ask pin", "type": "question"}
    flow = load_flow({"flow_format": 1, "id": "f", "steps": [step], "sensitive": ["step.Ask pin"]})
    hidden = Hidden(flow.sensitive)
    hidden.note({"step": {"Ask pin": "blue horse"}})

    assert reply_excerpt(classify_refusal({"why": "'Blue horse' is wrong"}), hidden) == '{"why":"\'***\' is wrong"}'


def test_the_values_of_the_contact_are_hidden_on_request() -> None:
    contact = {"first_name": "Ana María", "meta": {"city": "Ulm", "n": 2}}
    result = classify_refusal({"input": {"name": "ana maría", "city": "Ulm"}, "why": "Ulmer is no city"})
    expected = '{"input":{"name":"***","city":"***"},"why":"Ulmer is no city"}'
    assert reply_excerpt(result, own=[contact]) == expected


def test_a_number_and_a_long_text_of_the_contact_are_hidden_too() -> None:
    contact, told = {"employee": 30123, "balance": 17.25, "vip": True}, "my knee hurts " * 300
    result = classify_refusal(
        {"input": {"employee": 30123, "balance": 17.25, "vip": True, "note": told}, "why": "too long"}
    )
    expected = '{"input":{"employee":***,"balance":***,"vip":true,"note":"*** "},"why":"too long"}'
    assert reply_excerpt(result, own=[contact, {"Ask": told}]) == expected
    assert reply_excerpt(classify_refusal({"password": "hunter2!"}), own=[{"Ask": "password"}]) == '{"***":"***"}'


def test_an_error_is_one_line_with_the_servers_message() -> None:
    assert error_line(classify_refusal({"error": "email is taken"})) == (
        "POST https://crm.example/v1/contacts: the server answered 422 Unprocessable Entity (status; sent: yes); "
        'reply: {"error":"email is taken"}'
    )

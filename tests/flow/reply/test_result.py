"""From a reply to the exit of an action and its result."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.reply.result import (
    RESULT_NAMES,
    ActionResult,
    Outcome,
    SentRequest,
    classify,
    mask_url,
)
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.flow.secrets import SecretFinder
from airflow_whatsapp_flows.flow.template.cage import Expression
from tests.flow.samples import json_reply

SENT = SentRequest(HttpRequest("POST", "https://crm.example/v1?token=s3cret&b=2"), 2, "k-1")


def result(reply: Reply, success_when: str | None = None) -> ActionResult:
    return classify(reply, SENT, None if success_when is None else Expression(success_when, RESULT_NAMES))


def test_the_result_has_the_keys_of_the_contract() -> None:
    reply = HttpResponse(
        201, "Created", (("Content-Type", "application/json"), ("X-A", "1"), ("x-a", "2")), b'{"id":7}', 12
    )

    assert result(reply).as_value() == {
        "outcome": "success",
        "ok": True,
        "status_code": 201,
        "reason": "Created",
        "response": {"id": 7},
        "headers": {"content-type": "application/json", "x-a": "1, 2"},
        "method": "POST",
        "url": "https://crm.example/v1?token=***&b=2",
        "elapsed_ms": 12,
        "attempts": 2,
        "idempotency_key": "k-1",
        "error": None,
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_a_complete_2xx_is_success(status: int) -> None:
    assert result(HttpResponse(status)).outcome is Outcome.SUCCESS
    assert result(HttpResponse(status)).response is None


@pytest.mark.parametrize("status", [103, 199, 300, 302, 304, 400, 404, 429, 500, 599])
def test_every_other_status_is_an_error_with_its_content(status: int) -> None:
    found = result(json_reply(status, {"message": "no"}))

    assert (found.outcome, found.status_code, found.response) == (Outcome.ERROR, status, {"message": "no"})
    assert found.error is not None
    assert (found.error.kind, found.error.sent) == (ErrorKind.STATUS, Sent.YES)


def test_a_redirect_is_reported_without_the_values_of_its_query() -> None:
    found = result(HttpResponse(302, "Found", (("Location", "https://u:p@evil.test/a?token=s3cret"),)))

    assert found.error is not None
    assert found.error.message == (
        "the server answered 302 Found; redirects are not followed, and it points to https://evil.test/a?token=***"
    )


def test_an_unreadable_2xx_is_an_error_with_its_status() -> None:
    found = result(HttpResponse(200, headers=(("content-type", "application/json"),), content=b"<html>"))

    assert (found.status_code, found.response) == (200, None)
    assert found.error is not None
    assert (found.error.kind, found.error.sent) == (ErrorKind.UNPARSABLE, Sent.YES)
    assert "declared as JSON, but does not parse" in found.error.message


def test_an_error_status_with_unreadable_content_reports_the_status() -> None:
    found = result(HttpResponse(500, headers=(("content-type", "application/json"),), content=b"<html>"))

    assert found.error is not None
    assert found.error.kind is ErrorKind.STATUS


@pytest.mark.parametrize(
    ("success_when", "value", "success"),
    [
        ("response.error is none", {"result": 1}, True),
        ("response.error is none", {"error": None}, True),
        ("response.error is none", {"error": {"code": 1}}, False),
        ("response.error is not defined", {"result": 1}, True),
        ("response.ok", {"ok": True}, True),
        ("response.ok", {"ok": False}, False),
        ("response.ok", {}, False),
        ("response.ok", None, False),
        ("status_code == 200 and response.items | length > 0", {"items": [1]}, True),
        ("response.items | length > 0", {"items": []}, False),
        ("response.count > 0", {"count": "x"}, False),
        ("'x' in headers['content-type']", {}, False),
        ("headers['content-type'] == 'application/json'", {}, True),
    ],
)
def test_success_when_decides_about_a_2xx(success_when: str, value: Any, success: bool) -> None:
    found = result(json_reply(200, value), success_when)

    assert (found.outcome is Outcome.SUCCESS) is success
    assert success or (found.error and (found.error.kind, found.error.sent) == (ErrorKind.SUCCESS_WHEN, Sent.YES))


def test_success_when_does_not_apply_to_other_statuses() -> None:
    assert result(json_reply(500, {}), "true").outcome is Outcome.ERROR


def test_a_failure_without_a_reply_has_no_status() -> None:
    found = result(TransportFailure(ErrorKind.TIMEOUT, "no answer in 30 s", Sent.UNKNOWN, elapsed_ms=30_000))

    assert (found.status_code, found.response, found.elapsed_ms) == (None, None, 30_000)
    assert found.as_value()["error"] == {"kind": "timeout", "message": "no answer in 30 s", "sent": "unknown"}


def test_a_failure_after_the_headers_keeps_them() -> None:
    head = HttpResponse(200, "OK", (("X-A", "1"),))
    found = result(TransportFailure(ErrorKind.TOO_LARGE, "more than 1 MiB", Sent.YES, head))

    assert (found.outcome, found.status_code, found.headers) == (Outcome.ERROR, 200, {"x-a": "1"})


def test_credentials_of_the_server_are_left_out() -> None:
    headers = (("Set-Cookie", "s=1"), ("WWW-Authenticate", "Basic"), ("Authorization", "x"), ("X-A", "a\x00\ud800"))

    assert result(HttpResponse(200, headers=headers)).headers == {"www-authenticate": "Basic", "x-a": "a\ufffd\ufffd"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@x.test:1/a?b=c&d", "https://x.test:1/a?b=***&d"),
        ("/v1?a=1#f", "/v1?a=1"),
        ("//x.test/a", "//x.test/a"),
        ("http://[::", "(not a URL)"),
        ("", ""),
        ("?a=b=c&=d", "?a=***&=***"),
        ("/v1?upsert=true&Draft=FALSE&limit=100&q=Ana", "/v1?upsert=true&Draft=FALSE&limit=100&q=***"),
        ("/v1?code=1234&pin=123&api%5Fkey=no&x=true1", "/v1?code=***&pin=***&api%5Fkey=***&x=***"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_a_recorded_result_round_trips() -> None:
    for reply in (json_reply(201, {"id": 7}), json_reply(500), TransportFailure(ErrorKind.TLS, "x", Sent.NO)):
        assert ActionResult.from_value(result(reply).as_value()) == result(reply)
    assert ActionResult.from_value({"outcome": "success"}).outcome is Outcome.SUCCESS


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"outcome": "maybe"},
        {"outcome": "error", "error": "x"},
        {"outcome": "error", "error": {"kind": "x", "sent": "no"}},
        {"outcome": "error", "status_code": "500"},
        {"outcome": "success", "headers": "x"},
        {"outcome": "success", "attempts": "2"},
        {"outcome": "success", "status_code": True},
        {"outcome": ["success"]},
        {"outcome": "success", "url": 7},
    ],
    ids=str,
)
def test_refuses_invalid_recorded_results(value: dict[str, Any]) -> None:
    with pytest.raises(ResponseError):
        ActionResult.from_value(value)


@given(
    st.integers(100, 599), st.binary(max_size=30), st.sampled_from(["application/json", "text/xml", "text/yaml", "a"])
)
def test_every_reply_has_an_outcome(status: int, content: bytes, content_type: str) -> None:
    found = result(HttpResponse(status, "", (("Content-Type", content_type),), content))

    assert (found.outcome is Outcome.SUCCESS) is (found.error is None)
    assert found.status_code == status


def test_reports_redirect_targets_without_query_values() -> None:
    found = result(HttpResponse(301, headers=(("Location", "https://crm.example/x?api_key=SECRET"),)))

    assert found.headers == {"location": "https://crm.example/x?api_key=***"}


def test_renames_keys_reserved_by_airflow() -> None:
    content = b'{"__classname__": "x", "list": [{"__id__": 1}]}'
    headers = (("Content-Type", "application/json"), ("__classname__", "x"))
    found = result(HttpResponse(200, headers=headers, content=content))

    assert found.response == {"___classname__": "x", "list": [{"___id__": 1}]}
    assert "___classname__" in found.headers


def test_masks_secrets_echoed_by_the_server() -> None:
    reply = HttpResponse(
        500, headers=(("X-Echo", "Bearer s3cr3t"), ("Content-Type", "application/json")), content=b'{"a": ["s3cr3t!"]}'
    )
    found = result(reply).without(SecretFinder(["s3cr3t"]))

    assert "s3cr3t" not in str(found.as_value())
    assert found.response == {"a": ["***!"]}

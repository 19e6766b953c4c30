"""When a request may be sent again."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, default_delivery, fate_of, idempotency_key, retry_after
from airflow_whatsapp_flows.flow.delivery.table import Delivery, Fate
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)

ONCE, KEYED, IDEMPOTENT = Delivery.AT_MOST_ONCE, Delivery.KEYED, Delivery.IDEMPOTENT
NOW = dt.datetime(2026, 11, 22, 10, tzinfo=dt.timezone.utc)


def failure(kind: ErrorKind, sent: Sent) -> TransportFailure:
    return TransportFailure(kind, "", sent)


def classify_reply(reply: Reply) -> ActionResult:
    return classify(reply, SentRequest(HttpRequest("", "")))


@pytest.mark.parametrize(
    ("reply", "again"),
    [
        pytest.param(failure(ErrorKind.CONNECT, Sent.NO), (True, True, True), id="DNS or connect"),
        pytest.param(failure(ErrorKind.TIMEOUT, Sent.NO), (True, True, True), id="connect timeout"),
        pytest.param(failure(ErrorKind.TLS, Sent.NO), (False, False, False), id="certificate"),
        pytest.param(failure(ErrorKind.POLICY, Sent.NO), (False, False, False), id="policy"),
        pytest.param(failure(ErrorKind.FILE, Sent.NO), (False, False, False), id="file"),
        pytest.param(HttpResponse(200), (False, False, False), id="2xx"),
        pytest.param(failure(ErrorKind.TOO_LARGE, Sent.YES), (False, False, False), id="2xx too large"),
        pytest.param(HttpResponse(302), (False, False, False), id="3xx"),
        pytest.param(HttpResponse(404), (False, False, False), id="4xx"),
        pytest.param(HttpResponse(429), (True, True, True), id="429"),
        pytest.param(HttpResponse(408), (False, True, True), id="408"),
        pytest.param(HttpResponse(425), (False, True, True), id="425"),
        pytest.param(HttpResponse(500), (False, True, True), id="500"),
        pytest.param(HttpResponse(501), (False, False, False), id="501"),
        pytest.param(HttpResponse(503), (False, True, True), id="503"),
        pytest.param(failure(ErrorKind.TIMEOUT, Sent.UNKNOWN), (False, True, True), id="no answer"),
        pytest.param(failure(ErrorKind.INTERRUPTED, Sent.UNKNOWN), (False, True, True), id="cut answer"),
        pytest.param(failure(ErrorKind.PROTOCOL, Sent.UNKNOWN), (False, True, True), id="nonsense"),
    ],
)
def test_the_event_table(reply: Reply, again: tuple[bool, bool, bool]) -> None:
    assert (
        tuple(RetryRule.of(delivery).may_send_again(classify_reply(reply)) for delivery in (ONCE, KEYED, IDEMPOTENT))
        == again
    )


def test_under_at_most_once_a_listed_status_means_not_processed() -> None:
    rule = RetryRule.of(ONCE, statuses=[503])

    assert rule.may_send_again(classify_reply(HttpResponse(503)))
    assert not rule.may_send_again(classify_reply(HttpResponse(429)))
    assert not rule.may_send_again(classify_reply(failure(ErrorKind.TIMEOUT, Sent.UNKNOWN)))


@given(st.sampled_from(ErrorKind), st.sampled_from([Sent.UNKNOWN, Sent.YES]))
def test_at_most_once_never_resends_possibly_applied_requests(kind: ErrorKind, sent: Sent) -> None:
    assert not RetryRule.of(ONCE).may_send_again(classify_reply(failure(kind, sent)))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_an_idempotent_method_is_idempotent(method: str) -> None:
    assert default_delivery(method) is IDEMPOTENT


@pytest.mark.parametrize("method", ["POST", "PATCH", "get", "TRACE"])
def test_every_other_method_is_sent_at_most_once(method: str) -> None:
    assert default_delivery(method) is ONCE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        (" 0 ", 0.0),
        ("99999999999", 1e9),
        ("9" * 10_000, 1e9),
        ("0000000000005", 5.0),
        ("007", 7.0),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30.0),
        ("Sunday, 22-Nov-26 10:00:30 GMT", 30.0),
        ("Sun Nov 22 10:00:30 2026", 30.0),
        ("Sun, 22 Nov 2026 11:00:30 +0100", 30.0),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("abc", None),
        ("", None),
        ("10, 20", None),
        ("٣", None),
        ("+5", None),
        ("5s", None),
        ("1e3", None),
        ("Sun, 99 Nov 2026 10:00:30 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 +99999999999999999999", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_ignores_a_retry_after_that_is_no_seconds_or_date(text: str, seconds: float | None) -> None:
    assert retry_after(classify_reply(HttpResponse(503, headers=(("retry-after", text),))), NOW) == seconds


def test_without_retry_after_no_wait_is_requested() -> None:
    assert retry_after(classify_reply(HttpResponse(503)), NOW) is None


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d{1,9} \w{3} \d{1,9} [\d:]{1,12} [+-]\d{1,30}", fullmatch=True))
def test_no_retry_after_raises(text: str) -> None:
    seconds = retry_after(classify_reply(HttpResponse(503, headers=(("Retry-After", text),))), NOW)

    assert seconds is None or seconds >= 0


def test_waits_grow_to_their_limit() -> None:
    rule = RetryRule.of(IDEMPOTENT, wait=1, backoff=2, max_wait=5)

    assert [rule.cap(retry) for retry in (1, 2, 3, 4, 100)] == [1.0, 2.0, 4.0, 5.0, 5.0]


PARTS = st.lists(st.text() | st.integers() | st.none(), max_size=5)


@given(PARTS, PARTS)
def test_keys_differ_exactly_if_their_parts_do(first: list[str | int | None], second: list[str | int | None]) -> None:
    assert (idempotency_key(*first) == idempotency_key(*second)) is (first == second)


def test_a_key_is_the_same_in_every_process_and_fits_a_header() -> None:
    assert idempotency_key("f", "Send", "r-1", 1, None) == "5771733d5b8ce79534efdacf568576be"
    assert idempotency_key("a", "b") != idempotency_key("a,b") != idempotency_key("ab")
    assert len(idempotency_key("\ud800")) == 32


def _fate(reply: Reply, delivery: Delivery = Delivery.AT_MOST_ONCE, statuses: list[int] | None = None) -> Fate:
    rule = RetryRule.of(delivery, statuses=statuses)
    return fate_of(classify(reply, SentRequest(HttpRequest("POST", "/"))), rule)


def _json(status: int, content: bytes = b"{}") -> HttpResponse:
    return HttpResponse(status, headers=(("Content-Type", "application/json"),), content=content)


@pytest.mark.parametrize(
    ("reply", "fate"),
    [
        pytest.param(_json(201), Fate.SUCCEEDED, id="2xx"),
        pytest.param(_json(200, b"<html>"), Fate.APPLIED, id="2xx-unusable"),
        pytest.param(
            TransportFailure(ErrorKind.TOO_LARGE, "", Sent.YES, HttpResponse(200)), Fate.APPLIED, id="2xx-too-large"
        ),
        pytest.param(_json(302), Fate.ANSWERED, id="3xx"),
        pytest.param(_json(404), Fate.ANSWERED, id="4xx"),
        pytest.param(_json(429), Fate.ANSWERED, id="429"),
        pytest.param(_json(408), Fate.UNKNOWN, id="408"),
        pytest.param(_json(500), Fate.UNKNOWN, id="5xx"),
        pytest.param(failure(ErrorKind.CONNECT, Sent.NO), Fate.NOT_SENT, id="connect"),
        pytest.param(failure(ErrorKind.TLS, Sent.NO), Fate.NOT_SENT, id="tls"),
        pytest.param(failure(ErrorKind.INTERRUPTED, Sent.UNKNOWN), Fate.UNKNOWN, id="cut"),
        pytest.param(failure(ErrorKind.TIMEOUT, Sent.UNKNOWN), Fate.UNKNOWN, id="no-answer"),
    ],
)
def test_the_fate_of_an_attempt(reply: Reply, fate: Fate) -> None:
    assert _fate(reply) is fate


def test_the_fate_of_a_listed_status_depends_on_the_mode() -> None:
    assert _fate(_json(503), statuses=[503]) is Fate.ANSWERED
    assert _fate(_json(503), Delivery.KEYED) is Fate.UNKNOWN
    assert _fate(_json(503), Delivery.IDEMPOTENT, [503]) is Fate.UNKNOWN

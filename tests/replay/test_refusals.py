"""A server that refuses everything stops the batch, however the flow handles refusals."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.replay.refusals import Refusal, Refusals

HOST = "crm.example:443"
OK = HttpResponse(201, "Created")


def a_step(name: str = "Create", **keys: Any) -> Action:
    written = {"name": name, "type": "action", "connection": "crm", "url": "/v1", **keys}
    step = load_flow({"flow_format": 1, "id": "f", "steps": [written]}).steps[name]
    assert isinstance(step, Action)
    return step


STEP = a_step()


def result(reply: Reply | int) -> ActionResult:
    reply = HttpResponse(reply, "No", (), b"go away") if isinstance(reply, int) else reply
    return classify(reply, SentRequest(HttpRequest("POST", "https://crm.example/v1")))


def find_stop(refusals: Refusals, replies: list[Reply | int], step: Action = STEP) -> int | None:
    for number, reply in enumerate(replies, start=1):
        if refusals.note(number, HOST, step, result(reply), number) is not None:
            return number
    return None


@pytest.mark.parametrize("statuses", [[401], [403], [401, 403]])
def test_twenty_refusals_of_credentials_stop_the_batch(statuses: list[int]) -> None:
    refusals = Refusals(clock=lambda: 0.0)
    assert find_stop(refusals, [OK, *(statuses * 30)]) == 21
    assert refusals.turned_away == list(range(2, 22))


@pytest.mark.parametrize(("reply", "method", "served"), [
    (OK, "POST", True), (HttpResponse(502, ""), "POST", True), (OK, "GET", False),
    (HttpResponse(422, ""), "POST", False),
    (TransportFailure(ErrorKind.TIMEOUT, "late", Sent.UNKNOWN), "POST", True),
    (TransportFailure(ErrorKind.CONNECT, "nobody there", Sent.NO), "POST", False),
])  # fmt: skip
@pytest.mark.parametrize("late", [False, True], ids=["before the stop", "under way when it stopped"])
def test_does_not_reset_contacts_with_handled_errors(reply: Reply, method: str, served: bool, late: bool) -> None:
    refusals, other = Refusals(clock=lambda: 0.0), a_step("Other", method=method, connection="other")
    for number in range(10 if late else 25):
        refusals.note(number, HOST, STEP, result(401), number)
        if not late and number == 3:
            refusals.note(number, "other.example:443", other, result(reply), number)
    if late:
        assert find_stop(refusals, [401] * 10) == 10
        refusals.note(3, "other.example:443", other, result(reply), 30.0)
    assert (3 not in refusals.turned_away) == served
    assert {2, 4} <= set(refusals.turned_away)


def test_the_reason_has_the_connection_and_the_servers_reply() -> None:
    refusals = Refusals(clock=lambda: 0.0)
    stops = [refusals.note(number, HOST, STEP, result(401), number) for number in range(25)]
    (stop,) = [one for one in stops if one is not None]
    assert stop.reason.startswith(
        "crm.example:443 rejected the credentials of the connection 'crm' 20 times in a row (401 No; reply: go away)"
    )
    assert stop.needs_help
    assert refusals.turned_away == list(range(25))  # those that were under way too


@pytest.mark.parametrize("between", [OK, HttpResponse(404, ""), HttpResponse(503, "")])
def test_any_other_answer_ends_the_series(between: Reply) -> None:
    assert find_stop(Refusals(clock=lambda: 0.0), [*([401] * 19), between] * 5) is None


def test_a_request_without_an_answer_does_not_end_the_series() -> None:
    lost = TransportFailure(ErrorKind.TIMEOUT, "late", Sent.UNKNOWN)
    assert find_stop(Refusals(clock=lambda: 0.0), [*([401] * 10), lost, *([401] * 10)]) == 21


def test_each_connection_has_its_own_series() -> None:
    refusals, other = Refusals(), a_step("Other", connection="other")
    for number in range(19):
        assert refusals.note(number, HOST, STEP, result(401), number) is None
        assert refusals.note(number, HOST, other, result(OK), number) is None
    assert refusals.note(19, HOST, STEP, result(401), 19) is not None


@pytest.mark.parametrize("status", [302, 400, 404, 405, 410, 415, 422])
def test_fifty_initial_refusals_of_a_step_stop_the_batch(status: int) -> None:
    refusals = Refusals(clock=lambda: 0.0)
    assert find_stop(refusals, [status] * 60) == 50
    assert refusals.turned_away == []


def test_refusals_after_a_first_success_never_stop_the_batch() -> None:
    assert find_stop(Refusals(clock=lambda: 0.0), [*([422] * 49), OK, *([422] * 500)]) is None


def test_an_accepted_step_does_not_hide_a_refused_one() -> None:
    refusals, other = Refusals(), a_step("Look up", method="GET")
    for number in range(49):
        assert refusals.note(number, HOST, STEP, result(422), number) is None
        assert refusals.note(number, HOST, other, result(OK), number) is None
    assert refusals.note(49, HOST, STEP, result(422), 49) is not None


@pytest.mark.parametrize("status", [409, 423, 425, 429, 408, 500, 503])
def test_replies_about_one_contact_or_time_are_not_refusals(status: int) -> None:
    assert find_stop(Refusals(clock=lambda: 0.0), [status] * 200) is None


@pytest.mark.parametrize("status", [404, 410])
def test_a_lookup_without_a_match_returns_none(status: int) -> None:
    assert find_stop(Refusals(clock=lambda: 0.0), [status] * 200, a_step(method="GET")) is None


def test_a_custom_slow_down_reply_is_not_a_server_failure() -> None:
    step = a_step(retry={"slow_down_when": "response == 'go away'"})
    assert find_stop(Refusals(clock=lambda: 0.0), [400] * 200, step) is None


def test_omits_the_reply_if_the_flow_has_secrets_of_the_contact() -> None:
    refusals = Refusals(shows_reply=False)
    stops = [refusals.note(number, HOST, STEP, result(422), number) for number in range(50)]
    assert stops[-1] is not None
    assert "go away" not in stops[-1].reason


def test_requests_in_flight_do_not_reset_the_series() -> None:
    refusals = Refusals(clock=lambda: 100.0)
    assert all(refusals.note(number, HOST, STEP, result(401), 90.0) is None for number in range(5))
    assert refusals.note(5, HOST, STEP, result(OK), 99.0) is None
    stops = [refusals.note(number, HOST, STEP, result(401), 90.0) for number in range(6, 26)]

    assert [stop is not None for stop in stops] == [False] * 19 + [True]
    assert refusals.turned_away == [*range(5), *range(6, 26)]


def test_reports_refusals_before_the_first_success() -> None:
    refused: list[Refusal] = []
    accepted: list[tuple[str, str | None]] = []
    refusals = Refusals(clock=lambda: 0.0)
    refusals.on_refused, refusals.on_credentials_accepted = refused.append, accepted.append

    assert find_stop(refusals, [401, 403, 422, 401, OK, 422, 401, OK]) is None

    assert [(refusal.account, refusal.step, refusal.status) for refusal in refused] == [
        ((HOST, "crm"), None, 401), ((HOST, "crm"), None, 403), ((HOST, "crm"), "Create", 422)
    ]  # fmt: skip
    assert accepted == [(HOST, "crm")]


def test_a_success_in_another_process_counts() -> None:
    accepted: list[str] = []
    refusals, other = Refusals(), Refusals()
    other.on_accepted = accepted.append
    assert find_stop(other, [OK, OK]) is None
    assert accepted == ["Create"]

    refusals.accept("Create")

    assert find_stop(refusals, [422] * 60) is None


def test_refusals_count_once_another_process_has_found_the_credentials_refused() -> None:
    refusals = Refusals(clock=lambda: 0.0)
    assert find_stop(refusals, [401] * 3) is None
    account = (HOST, "crm")

    refusals.turn_away(account)
    assert refusals.note(4, HOST, STEP, result(401), 1.0) is None  # it was in progress

    assert (refusals.turned_away, refusals.refused_account) == ([1, 2, 3, 4], account)

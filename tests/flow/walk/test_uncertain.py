"""Requests that may have reached the server stay in doubt, also when a loop returns to them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpResponse, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.uncertain import UncertainRequests
from airflow_whatsapp_flows.flow.walk.walk import State, Walk, drive, walk
from tests.flow.samples import NOW, action, exits, flow_of, json_reply, walk_flow

ONCE, KEYED, IDEMPOTENT = ({"delivery": name} for name in ("at_most_once", "keyed", "idempotent"))
LOST = TransportFailure(ErrorKind.TIMEOUT, "no answer", Sent.UNKNOWN)
NOT_SENT = TransportFailure(ErrorKind.CONNECT, "refused", Sent.NO)


def _loop(replies: list[Reply], body: str | None = "same", **keys: Any) -> tuple[Walk, list[SendAction]]:
    """An action whose error exit returns to it, with up to three visits."""
    effects: list[Effect] = []
    left = iter(replies)
    content = {} if body is None else {"body": body, "body_type": "plain"}
    step = action(on_error="Send", max_visits=3, on_max_visits="z", **content, **keys)
    flow = flow_of(step, {"name": "z", "type": "message"})
    record = walk_flow(flow, {"id": "r"}, lambda _: next(left), effects)
    assert next(left, None) is None
    return record, [effect for effect in effects if isinstance(effect, SendAction)]


SENT_COUNT = "{{ step.Send.attempts | default(0) }}"


@pytest.mark.parametrize("body", ["same", SENT_COUNT], ids=["equal bytes", "other bytes"])
def test_a_loop_does_not_resend_at_most_once_requests_in_doubt(body: str) -> None:
    record, effects = _loop([LOST], body, **ONCE)

    assert len(effects) == 1
    assert exits(record) == [("Send", "error"), ("Send", None)]
    assert (record.state, record.handled_errors) == (State.IN_DOUBT, 1)
    assert record.reason.startswith("Send: no answer; Send: stopped at its next visit")
    assert "'at_most_once' never sends a request twice" in record.reason


@pytest.mark.parametrize("reply", [json_reply(500), json_reply(404), NOT_SENT], ids=["500", "404", "not sent"])
def test_a_loop_resends_answered_and_unsent_requests(reply: Reply) -> None:
    record, effects = _loop([reply, json_reply()], **ONCE)

    assert record.state is State.COMPLETED
    assert len({effect.idempotency_key for effect in effects}) == 2


def test_at_most_once_does_not_resend_even_equal_bytes() -> None:
    _, (effect,) = _loop([LOST], **ONCE)
    uncertain_requests = UncertainRequests()
    assert uncertain_requests.admit(effect) is effect
    uncertain_requests.conclude(effect.step, classify(LOST, SentRequest(effect.request)), effect)
    assert uncertain_requests.admit(effect) is None
    assert uncertain_requests.forbid(effect.step)


def test_a_keyed_loop_sends_equal_bytes_with_the_same_key() -> None:
    record, effects = _loop([LOST, json_reply()], **KEYED)

    assert (record.state, record.reason, record.handled_errors) == (State.COMPLETED, "", 1)
    assert [effect.visit for effect in effects] == [1, 2]
    assert effects[0].idempotency_key == effects[1].idempotency_key
    assert effects[0].request == effects[1].request


def test_a_loop_keeps_a_key_in_doubt() -> None:
    cut = TransportFailure(ErrorKind.INTERRUPTED, "cut off", Sent.UNKNOWN)
    record, effects = _loop([LOST, json_reply(404), cut], **KEYED)

    assert (record.state, record.reason) == (State.IN_DOUBT, "Send: cut off")
    assert len({effect.idempotency_key for effect in effects}) == 1


def test_a_loop_does_not_resend_keyed_requests_with_different_bytes() -> None:
    record, effects = _loop([LOST], SENT_COUNT, **KEYED)

    assert len(effects) == 1
    assert record.state is State.IN_DOUBT
    assert "a different request cannot be sent under its key" in record.reason


def test_every_visit_has_its_own_key_unless_in_doubt() -> None:
    _, effects = _loop([json_reply(404), json_reply(404), json_reply()], **KEYED)
    assert len({effect.idempotency_key for effect in effects}) == 3


@pytest.mark.parametrize("keys", [IDEMPOTENT, {"method": "PUT"}, {"method": "DELETE"}], ids=str)
def test_resending_equal_idempotent_bytes_resolves_the_doubt(keys: dict[str, Any]) -> None:
    record, effects = _loop([LOST, json_reply()], **keys)
    assert (record.state, len(effects), len({effect.idempotency_key for effect in effects})) == (State.COMPLETED, 2, 2)

    record, _ = _loop([LOST, json_reply()], SENT_COUNT, **keys)
    assert (record.state, record.reason) == (State.IN_DOUBT, "Send: no answer")

    record, _ = _loop([LOST, json_reply(404), json_reply(404)], **keys)
    assert record.state is State.IN_DOUBT


def test_an_applied_request_is_no_longer_in_doubt() -> None:
    unusable = HttpResponse(200, headers=(("Content-Type", "application/json"),), content=b"<html>")
    record, _ = _loop([LOST, unusable, json_reply(404)], **IDEMPOTENT)
    assert record.state is State.COMPLETED


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("delivery", [ONCE, KEYED, IDEMPOTENT], ids=str)
def test_read_only_requests_are_never_in_doubt(method: str, delivery: dict[str, str]) -> None:
    record, effects = _loop([LOST, LOST, LOST], None, method=method, **delivery)
    assert (record.state, len(effects)) == (State.COMPLETED, 3)


def test_every_request_in_doubt_is_named_once() -> None:
    flow = flow_of(action("a", on_error="b"), action("b", on_error="c"), action("c"))
    record = walk_flow(flow, reply=LOST)
    assert (record.state, record.reason) == (State.IN_DOUBT, "a: no answer; b: no answer; c: no answer")
    assert record.handled_errors == 2


def test_a_render_error_does_not_hide_a_doubt() -> None:
    flow = flow_of(action(on_error="z"), {"name": "z", "type": "message", "body": "{{ contact.nope }}"})
    record = walk_flow(flow, reply=LOST)
    assert record.state is State.IN_DOUBT
    assert record.reason == "Send: no answer; z: contact.nope has no value for this contact"


def _loop_with_a_file(record_of: dict[int, ActionResult], **keys: Any) -> tuple[Walk, list[Effect]]:
    """Two visits of an action that sends a file; recorded visits fetch nothing."""
    effects: list[Effect] = []

    def do(effect: Effect) -> EffectResult:
        effects.append(effect)
        if effect.visit in record_of:
            return record_of[effect.visit]
        if isinstance(effect, FetchFile):
            return FileContent(b"x", "a.png", "image/png")
        reply = LOST if effect.visit == 1 else json_reply()
        return classify(reply, SentRequest(effect.request, 1, effect.idempotency_key))

    body = [{"name": "doc", "file": "https://media.example/a.png"}]
    flow = flow_of(action(body=body, body_type="multipart", on_error="Send", **keys))
    return drive(walk(flow, read_response({"id": "r"}), now=NOW), do), effects


@pytest.mark.parametrize("keys", [ONCE, KEYED], ids=str)
def test_walking_again_from_the_record_ends_the_same(keys: dict[str, str]) -> None:
    first, _ = _loop_with_a_file({}, **keys)
    results = {visit.number: visit.result for visit in first.visits if visit.result}
    again, asked = _loop_with_a_file(results, **keys)

    assert again.path == first.path == ["Send", "Send"]
    assert first.state is (State.IN_DOUBT if keys == ONCE else State.COMPLETED)
    assert (again.reason, again.state) == (first.reason, first.state)
    assert all(isinstance(effect, FetchFile) for effect in asked)


def test_unrecorded_bytes_are_never_equal() -> None:
    first, _ = _loop_with_a_file({}, **IDEMPOTENT)
    again, _ = _loop_with_a_file({v.number: v.result for v in first.visits if v.result}, **IDEMPOTENT)
    assert (first.state, again.state) == (State.COMPLETED, State.IN_DOUBT)


def test_fetches_no_file_for_a_request_that_will_not_be_sent() -> None:
    _, effects = _loop_with_a_file({}, **ONCE)
    assert [(type(effect), effect.visit) for effect in effects] == [(FetchFile, 1), (SendAction, 1)]


def test_a_result_recorded_without_bytes_binds_later_visits() -> None:
    first, _ = _loop_with_a_file({}, **KEYED)
    assert first.visits[0].result is not None
    record, effects = _loop_with_a_file({1: first.visits[0].result}, **KEYED)

    assert record.state is State.IN_DOUBT
    assert not any(isinstance(effect, SendAction) for effect in effects)

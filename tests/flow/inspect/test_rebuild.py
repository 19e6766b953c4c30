"""Requests that were sent are rendered again from what is recorded, and proved by their digests."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.inspect import rebuild as rebuild_module
from airflow_whatsapp_flows.flow.inspect.rebuild import (
    DIFFERS,
    HAS_FILE,
    LONG_REPLY,
    NO_BASE,
    NOT_REACHED,
    NOT_RENDERED,
    TOO_LONG,
    RebuiltRequest,
    RecordedAttempt,
    rebuild_requests,
)
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse, Reply
from airflow_whatsapp_flows.flow.walk.deliver import (
    Answer,
    Exchange,
    Intend,
    Note,
    Prepare,
    Recall,
    Step,
    carry_out,
    deliver,
)
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response import ContactResponse, read_response
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.walk import walk
from tests.cases.case import Case, reply_of
from tests.roads.roads import all_cases

NOW = dt.datetime(2026, 11, 22, 16, 4, tzinfo=dt.timezone.utc)
BASE = "https://crm.example/api/v2"
FLOW: dict[str, Any] = {
    "flow_format": 1,
    "id": "lead",
    "sensitive": ["step.Ask name"],
    "steps": [
        {"name": "Ask name", "type": "question", "next": "Create"},
        {
            "name": "Create", "type": "action", "connection": "crm", "url": "/contacts/{{ step.Ask name }}",
            "delivery": "keyed", "retry": {"attempts": 3}, "body": {"name": "{{ step.Ask name }}"},
            "on_success": "Tell",
        },
        {
            "name": "Tell", "type": "action", "connection": "crm", "url": "/told",
            "body": {"id": "{{ step.Create.response.id }}", "greeting": "{{ step.Create.response.greeting }}"},
        },
    ],
}  # fmt: skip
RESPONSE = {"id": "r-1", "contact": {"phone": "+5215512345678"}, "step": {"Ask name": "Guadalupe"}}


def record(
    flow: Flow, response: ContactResponse, exchange: Callable[[str, HttpRequest], Reply], now: dt.datetime = NOW
) -> tuple[list[RecordedAttempt], list[HttpRequest]]:
    """Walk, and return what a ledger would hold, with the requests that were sent."""
    recording = _Recording(exchange, now)
    walking = walk(flow, response, now=now)
    done: Any = None
    while True:
        try:
            done = recording.do(walking.send(done))
        except StopIteration:
            return recording.recorded, recording.sent


@dataclass
class _Recording:
    exchange: Callable[[str, HttpRequest], Reply]
    now: dt.datetime
    recorded: list[RecordedAttempt] = field(default_factory=list)
    sent: list[HttpRequest] = field(default_factory=list)

    def do(self, effect: Effect) -> EffectResult:
        if isinstance(effect, Wait):
            return Waited()
        if isinstance(effect, FetchFile):
            return FileContent(b"%PDF", None, "application/pdf")
        return carry_out(deliver(effect), self._carry)

    def _carry(self, step: Step) -> Answer:
        match step:
            case Prepare():
                request = step.effect.request
                url = BASE + request.url if request.url.startswith("/") else request.url
                return HttpRequest(request.method, url, request.headers, request.content, request.connection)
            case Recall():
                return []
            case Intend():
                self._intend(step)
                return time.time()
            case Exchange():
                return self.exchange(self.recorded[-1].step, step.request)
            case Note():
                self.recorded[-1] = replace(self.recorded[-1], result=step.result_for_ledger())
        return True

    def _intend(self, step: Intend) -> None:
        effect = step.effect
        self.sent.append(step.request)
        self.recorded.append(
            RecordedAttempt(
                len(self.sent), effect.step.name, effect.step_id, effect.visit, effect.idempotency_key, step.digest,
                "crm.example:443", self.now.timestamp(), 1, None,
            )
        )  # fmt: skip


def rebuild(flow: Flow, response: ContactResponse, recorded: list[RecordedAttempt]) -> dict[int, RebuiltRequest | str]:
    return rebuild_requests(flow, response, recorded, StepIdentities.of(flow, {}))


def answers(*replies: Any) -> Callable[[str, HttpRequest], Reply]:
    """Send these in order; a number is a status."""
    left: Iterator[Any] = iter(replies)

    def exchange(_step: str, _request: HttpRequest) -> Reply:
        reply = next(left)
        status, value = (reply, {}) if isinstance(reply, int) else (201, reply)
        return HttpResponse(status, "", (("Content-Type", "application/json"),), json.dumps(value).encode())

    return exchange


def lead_flow(flow: Mapping[str, Any] = FLOW) -> Flow:
    return load_flow(dict(flow))


@pytest.fixture
def requests_sent() -> tuple[list[RecordedAttempt], list[HttpRequest]]:
    """Two attempts of the first action, and one of the second, which reads the first one's reply."""
    return record(
        lead_flow(), read_response(RESPONSE), answers(503, {"id": 7, "greeting": "Hello Guadalupe"}, {"ok": True})
    )


def test_every_attempt_is_rendered_to_the_byte(requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]]) -> None:
    recorded, requests = requests_sent
    assert len(requests) == 3
    found = rebuild(lead_flow(), read_response(RESPONSE), recorded)
    shown = [found[one.id] for one in recorded]
    assert [one.request for one in shown if isinstance(one, RebuiltRequest)] == requests
    assert "Guadalupe" not in (recorded[1].result or "")  # the second request is made of a reply with marks in it


@pytest.mark.parametrize("case", [pytest.param(one, id=one.name) for one in all_cases()])
def test_the_requests_of_every_case_are_rendered_again(case: Case) -> None:
    replies = iter(case.data.get("replies", []))

    def exchange(step: str, _request: HttpRequest) -> Reply:
        reply = next(reply for reply in replies if reply["step"] == step and "url" not in reply)
        return reply_of(reply)

    flow, response = case.flow, read_response(case.response())
    recorded, requests = record(flow, response, exchange, case.now)
    found = rebuild(flow, response, recorded)
    shown = [found[one.id] for one in recorded]
    if '"file"' in json.dumps(flow.source["steps"]):
        assert set(shown) <= {HAS_FILE}
        return
    assert [one.request if isinstance(one, RebuiltRequest) else one for one in shown] == requests


def test_says_that_the_flow_has_changed(requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]]) -> None:
    recorded, requests = requests_sent
    changed = json.loads(json.dumps(FLOW).replace('"greeting"', '"salutation"', 1))
    found = rebuild(lead_flow(changed), read_response(RESPONSE), recorded)
    assert found[3] == DIFFERS
    assert isinstance(found[1], RebuiltRequest)
    assert found[1].request == requests[0]


def test_says_that_the_answers_are_others(requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]]) -> None:
    found = rebuild(lead_flow(), read_response({**RESPONSE, "step": {"Ask name": "Ana"}}), requests_sent[0])
    assert [found[1], found[2]] == [DIFFERS, DIFFERS]


def test_says_that_the_walk_does_not_come_there(requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]]) -> None:
    found = rebuild(lead_flow(), read_response({"id": "r-1"}), requests_sent[0])
    assert set(found.values()) == {NOT_REACHED}


def test_a_long_reply_ends_what_can_be_shown(requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]]) -> None:
    recorded = [replace(one, result=None, is_long=True) if one.id == 2 else one for one in requests_sent[0]]
    found = rebuild(lead_flow(), read_response(RESPONSE), recorded)
    assert isinstance(found[1], RebuiltRequest)
    assert found[3] == LONG_REPLY


def test_a_request_with_a_file_is_not_rendered() -> None:
    body = [{"name": "cv", "file": "{{ step.Ask cv }}"}]
    steps = [
        {"name": "Ask cv", "type": "question", "answer_type": "DOCUMENT", "next": "Send"},
        {"name": "Send", "type": "action", "url": "https://crm.example/x", "body_type": "multipart", "body": body},
    ]
    flow = lead_flow({"flow_format": 1, "id": "lead", "steps": steps})
    response = read_response({**RESPONSE, "step": {"Ask cv": {"url": "https://x.example/a.pdf"}}})
    recorded, _ = record(flow, response, answers({}))
    assert rebuild(flow, response, recorded) == {1: HAS_FILE}


def test_a_moment_that_is_none_is_no_error(requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]]) -> None:
    recorded = [replace(one, moment=1e300) for one in requests_sent[0]]
    assert set(rebuild(lead_flow(), read_response(RESPONSE), recorded).values()) == {NOT_RENDERED}


@pytest.mark.parametrize("result", ["", "[]", "{", '{"url": 7}', '{"outcome": "success"}'])
def test_results_that_are_none_are_no_error(
    requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]], result: str
) -> None:
    recorded = [replace(one, result=result or None) for one in requests_sent[0]]
    # Without a recorded URL the path of the connection is unknown.
    assert rebuild(lead_flow(), read_response(RESPONSE), recorded)[1] == NO_BASE


def test_a_request_without_reply_gets_its_base_url_from_another_one(
    requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]],
) -> None:
    recorded, requests = requests_sent
    in_doubt = replace(recorded[0], id=9, moment=recorded[0].moment + 60, result=None)
    found = rebuild_requests(
        lead_flow(), read_response(RESPONSE), [in_doubt, *recorded], StepIdentities.of(lead_flow(), {}), [9]
    )
    [shown] = found.values()
    assert isinstance(shown, RebuiltRequest)
    assert shown.request == requests[0]


def test_a_masked_base_url_is_no_base_url(requests_sent: tuple[list[RecordedAttempt], list[HttpRequest]]) -> None:
    recorded = [replace(one, result=(one.result or "").replace("/api/v2", "/***")) for one in requests_sent[0]]
    assert rebuild(lead_flow(), read_response(RESPONSE), recorded)[1] == NO_BASE


def looping_flow() -> Flow:
    send = {
        "name": "Send", "type": "action", "url": "https://crm.example/x", "body": {"a": "{{ step.Ask }}"},
        "on_success": "Later", "max_visits": 30,
    }  # fmt: skip
    later = {"name": "Later", "type": "delay", "amount": 1, "unit": "MINUTE", "next": "Send", "max_visits": 30}
    end = {"name": "End", "type": "message"}
    send["on_max_visits"] = later["on_max_visits"] = "End"
    steps = [{"name": "Ask", "type": "question", "next": "Send"}, send, later, end]
    return lead_flow({"flow_format": 1, "id": "lead", "steps": steps})


def test_keeps_only_the_requests_that_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, response = looping_flow(), read_response({**RESPONSE, "step": {"Ask": "x" * 10_000}})
    recorded, _ = record(flow, response, answers(*({"id": number} for number in range(30))))
    assert len(recorded) == 30
    effects: list[object] = []
    answer = rebuild_module._answer
    monkeypatch.setattr(rebuild_module, "_answer", lambda *given: (effects.append(given[0]), answer(*given))[1])
    steps = StepIdentities.of(flow, {})
    found = rebuild_requests(flow, response, recorded, steps, [2, 4])
    assert found.keys() == {2, 4}
    assert all(isinstance(one, RebuiltRequest) for one in found.values())
    assert len(effects) == 4  # and none after the last one that is wanted
    monkeypatch.setattr(rebuild_module, "_MOST_BYTES", 35_000)
    found = rebuild_requests(flow, response, recorded, steps)
    assert [number for number, one in found.items() if isinstance(one, RebuiltRequest)] == [1, 2, 3]
    assert found[4] == TOO_LONG

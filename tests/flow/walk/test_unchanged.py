"""Whether a contact would send what was last sent for it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Waited
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.unchanged import Comparison, SentWalk, SettledRequest, find_lookups
from airflow_whatsapp_flows.flow.walk.walk import drive, walk

NOON = dt.datetime(2026, 11, 30, 12, tzinfo=dt.timezone.utc)
SAVE = {"name": "Save", "type": "action", "url": "http://crm.example/", "body": {"name": "{{ contact.first_name }}"}}


def a_flow(*steps: Mapping[str, Any]) -> Flow:
    return load_flow({"flow_format": 1, "id": "crm", "steps": list(steps)})


def person(name: str = "Ana", **more: Any) -> dict[str, Any]:
    return {"id": "r-1", "contact": {"first_name": name}, **more}


def send(flow: Flow, response: dict[str, Any], now: dt.datetime = NOON) -> SentWalk:
    """Walk a contact with replies that say 200."""
    sent: list[SettledRequest] = []

    def do(effect: Effect) -> EffectResult:
        if isinstance(effect, FetchFile):
            return FileContent(b"x", "x.txt", "text/plain")
        if not isinstance(effect, SendAction):
            return Waited()
        request, key = effect.request, effect.idempotency_key
        result = ActionResult(
            outcome=Outcome.SUCCESS, status_code=200, headers={}, method=request.method, url="", idempotency_key=key,
            response={"id": effect.visit},
        )  # fmt: skip
        kept = json.dumps(result.as_value())
        sent.append(
            SettledRequest(effect.step.name, effect.visit, key, request.digest(), request.method, True, kept, 200)
        )
        return result

    drive(walk(flow, read_response(response), now=now), do)
    return SentWalk("r-1", "the replay first", 0.0, tuple(sent))


def is_unchanged(flow: Flow, response: dict[str, Any], last: SentWalk, now: dt.datetime = NOON) -> bool:
    return Comparison(flow, lambda effect: effect.request).is_unchanged(read_response(response), last, now)


def test_compares_the_rendered_requests() -> None:
    flow = a_flow(SAVE)
    last = send(flow, person())

    assert is_unchanged(flow, {**person(), "id": "r-2"}, last)
    assert not is_unchanged(flow, person("Eva"), last)


def test_a_request_with_the_date_differs_from_day_to_day() -> None:
    flow = a_flow({**SAVE, "body": {"day": "{{ global.Date }}"}})
    last = send(flow, person())

    assert is_unchanged(flow, person(), last)
    assert not is_unchanged(flow, person(), last, NOON + dt.timedelta(days=1))


def test_more_fewer_or_other_requests_are_a_change() -> None:
    note = {**SAVE, "name": "Note", "body": "x"}
    both = a_flow({**SAVE, "on_success": "Note"}, note)
    swapped = load_flow(
        {
            "flow_format": 1, "id": "crm", "start": "Note",
            "steps": [SAVE, {**note, "on_success": "Save"}],
        }
    )  # fmt: skip

    assert is_unchanged(both, person(), send(both, person()))
    assert not is_unchanged(both, person(), send(a_flow(SAVE), person()))
    assert not is_unchanged(a_flow(SAVE), person(), send(both, person()))
    assert not is_unchanged(swapped, person(), send(both, person()))


def test_a_loop_is_compared_visit_by_visit() -> None:
    again = {"name": "Again", "type": "conditional", "paths": [], "otherwise": None}
    more = {"field": "step.Save.response.id", "comparison": "lt", "value": 3}
    flow = a_flow(
        {**SAVE, "on_success": "Again", "max_visits": 5},
        {**again, "paths": [{"name": "more", "next": "Save", "conditions": [more]}]},
    )
    last = send(flow, person())

    assert len(last.requests) == 3
    assert is_unchanged(flow, person(), last)
    assert not is_unchanged(flow, person(), SentWalk("r-1", "", 0.0, last.requests[:2]))


def test_a_walk_that_fails_is_not_unchanged() -> None:
    flow = a_flow({**SAVE, "on_success": "Fail"}, {"name": "Fail", "type": "end", "state": "failed"})

    assert not is_unchanged(flow, person(), send(flow, person()))


def test_a_request_with_a_file_is_not_compared() -> None:
    file = {"name": "photo", "file": "{{ contact.first_name }}"}
    flow = a_flow({**SAVE, "body_type": "multipart", "body": [file]})

    assert not is_unchanged(flow, person("https://crm.example/a.txt"), send(flow, person("https://crm.example/a.txt")))


FIND = {"name": "Find", "type": "action", "method": "GET", "url": "http://crm.example/", "on_success": "Save"}
READS = {**SAVE, "body": {"owner": "{{ step.Find.response.id }}"}}


def test_what_a_lookup_replied_is_no_evidence() -> None:
    """Its reply, or its exit, may be another one today, and decides about what is sent after it."""
    note = {**SAVE, "name": "Note"}
    read = a_flow(FIND, READS)
    chosen = a_flow({**FIND, "on_error": "Note"}, SAVE, note)
    after = a_flow(
        {**SAVE, "on_success": "Poll"},
        {**FIND, "name": "Poll", "on_success": "Choose"},
        {
            "name": "Choose", "type": "conditional", "otherwise": None,
            "paths": [{"name": "lost", "next": "Note", "conditions": [
                {"field": "step.Poll.response.id", "comparison": "gt", "value": 5}]}],
        },
        note,
    )  # fmt: skip

    for flow, lookup in ((read, "Find"), (chosen, "Find"), (after, "Poll")):
        assert find_lookups(flow) == {lookup}
        assert not is_unchanged(flow, person(), send(flow, person()))


def test_a_request_that_decides_about_nothing_is_no_lookup() -> None:
    unread = a_flow({**FIND, "on_error": "Save"}, SAVE)
    polled = a_flow(
        {**SAVE, "on_success": "Poll"},
        {**FIND, "name": "Poll", "on_success": "Choose", "max_visits": 5},
        {
            "name": "Choose", "type": "conditional", "otherwise": None,
            "paths": [{"name": "wait", "next": "Poll", "conditions": [
                {"field": "step.Poll.response.id", "comparison": "lt", "value": 3}]}],
        },
    )  # fmt: skip
    posted = a_flow({**FIND, "method": "POST"}, READS)  # such as a login: its reply differs each time

    for flow in (unread, polled, posted):
        assert find_lookups(flow) == frozenset()
        assert is_unchanged(flow, person(), send(flow, person()))

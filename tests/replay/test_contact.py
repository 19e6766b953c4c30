"""One contact of a replay, without network and database."""

from __future__ import annotations

import datetime as dt
import json
import tracemalloc
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import IntentConflictError
from airflow_whatsapp_flows.flow.delivery.decision import Attempt
from airflow_whatsapp_flows.flow.delivery.rule import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.reply.result import SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpResponse, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, SendAction, Wait, Waited
from airflow_whatsapp_flows.ledger.records import PendingContact, ResponseRecord
from airflow_whatsapp_flows.ledger.rows import ContactEnd, ContactState
from airflow_whatsapp_flows.replay.contact import ContactWalker
from airflow_whatsapp_flows.replay.contact_run import ContactRun
from airflow_whatsapp_flows.replay.guards import GuardRules, Guards
from airflow_whatsapp_flows.replay.prior_sends import Postponed

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
STEPS = [
    {"name": "Create", "type": "action", "url": "http://crm.example/", "body": {"day": "{{ global.Date }}"}},
]


class FakeSender:
    """Answers every request with the same reply, except for some steps."""

    def __init__(self, reply: Reply | Exception, **replies: Reply) -> None:
        self.reply = reply
        self.replies = replies
        self.asked: list[SendAction] = []

    async def do(self, run: ContactRun, effect: Effect) -> EffectResult:
        assert isinstance(effect, SendAction)
        self.asked.append(effect)
        reply = self.replies.get(effect.step.name, self.reply)
        if isinstance(reply, Exception):
            raise reply
        result = classify(reply, SentRequest(effect.request, 1, effect.idempotency_key), effect.step.success_when)
        if result.error is not None:
            run.note_error(effect.step.name, "crm.example:80", result)
        return result


def _walker(sender: FakeSender, steps: list[dict[str, Any]] = STEPS, **keys: Any) -> ContactWalker:
    flow = load_flow({"flow_format": 1, "id": "crm_flow", "steps": steps})
    keys = {"guards": Guards(GuardRules()), "clock": lambda: NOON, **keys}
    return ContactWalker(flow=flow, replay_no=1, sender=sender, **keys)  # type: ignore[arg-type]


def _contact(record: ResponseRecord | None = None, **response: Any) -> PendingContact:
    said = {"id": "r-1", "contact": {"phone": "+525512345678"}, **response}
    return PendingContact(7, "r.jsonl:1", "r-1", "+525512345678", json.dumps(said), 1, record or ResponseRecord())


async def _end(walker: ContactWalker, contact: PendingContact) -> ContactEnd:
    end = await walker.walk(contact)
    assert isinstance(end, ContactEnd)
    return end


CREATED = HttpResponse(201, "Created", (), b"{}", 1)


async def test_completes_a_walk() -> None:
    end = await _end(_walker(FakeSender(CREATED)), _contact())

    assert (end.contact_id, end.state, end.path, end.error) == (7, ContactState.COMPLETED, '["Create"]', None)


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (HttpResponse(404, "Not Found", (), b"", 1), ContactState.FAILED),
        (HttpResponse(500, "", (), b"", 1), ContactState.IN_DOUBT),
        (TransportFailure(ErrorKind.CONNECT, "refused", Sent.NO), ContactState.FAILED),
        (TransportFailure(ErrorKind.INTERRUPTED, "cut", Sent.UNKNOWN), ContactState.IN_DOUBT),
    ],
)
async def test_an_error_without_an_exit_names_step_host_and_fingerprint(reply: Reply, state: ContactState) -> None:
    end = await _end(_walker(FakeSender(reply)), _contact())

    error = json.loads(end.error or "{}")
    assert (end.state, error["step"], error["host"]) == (state, "Create", "crm.example:80")
    assert end.fingerprint


async def test_a_contact_in_doubt_is_listed_under_the_error_that_caused_it() -> None:
    refused, cut = (
        HttpResponse(404, "Not Found", (), b"", 1),
        TransportFailure(ErrorKind.INTERRUPTED, "cut", Sent.UNKNOWN),
    )
    tell = {"name": "Tell", "type": "action", "url": "http://crm.example/", "on_error": "Bye"}
    steps = [{**STEPS[0], "on_error": "Tell"}, tell, {"name": "Bye", "type": "message"}]
    end = await _end(_walker(FakeSender(refused, Create=cut), steps), _contact())

    error = json.loads(end.error or "{}")
    assert (end.state, end.handled_errors) == (ContactState.IN_DOUBT, 2)
    assert (error["step"], error["kind"], error["sent"]) == ("Create", "interrupted", "unknown")
    assert end.fingerprint != (await _end(_walker(FakeSender(refused), steps), _contact())).fingerprint


async def test_a_render_error_fails_one_contact_without_sending() -> None:
    sender = FakeSender(CREATED)
    steps = [{**STEPS[0], "body": {"name": "{{ contact.last_name }}"}}]

    end = await _end(_walker(sender, steps), _contact())

    assert (end.state, sender.asked) == (ContactState.FAILED, [])
    assert "contact.last_name" in end.reason
    assert end.fingerprint


async def test_a_resumed_walk_keeps_its_start_time() -> None:
    sender = FakeSender(CREATED)

    await _walker(sender).walk(_contact(ResponseRecord(walk_started_at=NOON - 86_400)))
    await _walker(sender).walk(_contact())

    days = [json.loads(effect.request.content)["day"] for effect in sender.asked]
    assert days[0] != days[1]


async def test_force_changes_every_key_and_nothing_else() -> None:
    sender = FakeSender(CREATED)

    await _walker(sender).walk(_contact())
    await _walker(sender, epoch="the-replay").walk(_contact())

    first, forced = sender.asked
    assert first.idempotency_key != forced.idempotency_key
    assert first.request == forced.request


async def test_resends_what_the_platform_sent_only_on_request() -> None:
    sender = FakeSender(CREATED)
    sent = {"actions": {"Create": [{"outcome": "success", "status_code": 201, "method": "POST"}]}}

    done = await _end(_walker(sender), _contact(**sent))
    assert (done.state, sender.asked) == (ContactState.COMPLETED, [])

    await _walker(sender, resend=True).walk(_contact(**sent))
    assert len(sender.asked) == 1


class WaitingSender(FakeSender):
    """Adds an hour at every delay."""

    def __init__(self) -> None:
        super().__init__(CREATED)
        self.reached: list[float] = []

    async def do(self, run: ContactRun, effect: Effect) -> EffectResult:
        if isinstance(effect, Wait):
            run.reached += 3_600
            return Waited()
        self.reached.append(run.reached)
        return await super().do(run, effect)


POLLING: list[dict[str, Any]] = [
    {"name": "Find", "type": "action", "url": "http://crm.example/", "max_visits": 2, "on_success": "Pause",
     "on_max_visits": "Create"},
    {"name": "Pause", "type": "delay", "amount": 1, "unit": "HOUR", "next": "Find"},
    {"name": "Create", "type": "action", "url": "http://crm.example/"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent_before", "waited"),
    [({"Find": 2}, [3_600]), ({"Find": 1}, [3_600, 7_200]), ({"Find": 2, "Create": 1}, [])],
)
async def test_skips_a_delay_before_an_action_sent_by_the_platform(
    sent_before: dict[str, int], waited: list[float]
) -> None:
    sender, result = WaitingSender(), {"outcome": "success", "status_code": 200, "method": "POST"}

    await _end(_walker(sender, POLLING), _contact(actions={step: [result] * n for step, n in sent_before.items()}))

    assert [reached - NOON for reached in sender.reached] == waited


LOOP: list[dict[str, Any]] = [
    {"name": "Page", "type": "action", "url": "http://crm.example/", "max_visits": 20, "on_success": "Page",
     "on_max_visits": "Last"},
    {"name": "Last", "type": "action", "url": "http://crm.example/", "body": {"of": "{{ step.Page.response.page }}"}},
]  # fmt: skip


async def test_a_loop_keeps_one_reply_of_a_step_in_memory() -> None:
    class PagingSender(FakeSender):
        async def do(self, run: ContactRun, effect: Effect) -> EffectResult:
            assert isinstance(effect, SendAction)
            content = json.dumps({"page": len(self.asked), "text": "x" * 1_000_000}).encode()
            self.reply = HttpResponse(200, "OK", (("Content-Type", "application/json"),), content, 1)
            result = await super().do(run, effect)
            attempt = Attempt(1, "", NOON, Fate.SUCCEEDED, result)
            run.record.add(effect, attempt)
            return result

    sender = PagingSender(CREATED)
    walker = _walker(sender, LOOP)
    tracemalloc.start()
    try:
        end = await _end(walker, _contact())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (end.state, len(sender.asked)) == (ContactState.COMPLETED, 21)
    assert b'"of":19' in sender.asked[-1].request.content.replace(b" ", b"")
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (GuardRules(opt_out=("+525512345678",)), "opted_out"),
        (GuardRules(max_age=60), "no_created_on"),
    ],
)
async def test_a_guard_skips_a_contact_and_sends_nothing(rules: GuardRules, reason: str) -> None:
    sender = FakeSender(CREATED)

    end = await _end(_walker(sender, guards=Guards(rules)), _contact())

    assert (end.state, end.reason, sender.asked) == (ContactState.SKIPPED, reason, [])


async def test_quiet_hours_leave_a_contact_pending() -> None:
    sender = FakeSender(CREATED)
    guards = Guards(GuardRules(quiet_hours=("00:00", "23:59")))

    later = await _walker(sender, guards=guards).walk(_contact())

    assert isinstance(later, Postponed)
    assert later.reason == "quiet_hours: until 2027-01-16 05:59 UTC"
    assert later.until == dt.datetime(2027, 1, 16, 5, 59, tzinfo=dt.timezone.utc)  # 23:59 in Mexico
    assert sender.asked == []


async def test_a_concurrent_send_leaves_the_contact_pending() -> None:
    walker = _walker(FakeSender(IntentConflictError("it is there")))

    held = await walker.walk(_contact())

    assert isinstance(held, Postponed)
    assert held.until is None
    assert walker.in_flight == 0
    assert walker.runs == {}


async def test_a_response_that_does_not_fit_the_flow_is_rejected() -> None:
    end = await _end(_walker(FakeSender(CREATED)), _contact(exits={"Create": "sideways"}))

    assert end.state is ContactState.REJECTED

"""The plan of a replay, made without sending or writing anything."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.delivery.rule import idempotency_key
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.replay.plan import Plan, PlanRequest, plan
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import Row
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings
from tests.ledger.filling import FLOW_ID, a_replay, attempt, end, response, result

CREATE = {
    "name": "Create", "type": "action", "connection": "crm", "url": "/v1/contacts/{{ contact.phone }}",
    "headers": {"X-Source": "whatsapp", "X-Token": "abc", "X-Phone": "{{ contact.phone }}"},
    "query_params": {"q": "{{ contact.phone }}"}, "body": {"name": "{{ step.Ask name }}"},
}  # fmt: skip
ASK = {"name": "Ask name", "type": "question", "next": "Create"}


def a_flow(*steps: Mapping[str, Any], **more: Any) -> Any:
    return load_flow({"flow_format": 1, "id": FLOW_ID, "steps": [ASK, *(steps or (CREATE,))], **more})


def make_plan(values: Iterable[Mapping[str, Any] | None], ledger: Ledger | None = None, **more: Any) -> Plan:
    flow, run = more.pop("flow", None) or a_flow(), more.pop("run", RunSettings())
    return plan(PlanRequest(flow=flow, rows=rows(values), request_sender=request_sender(), run=run, **more), ledger)


def rows(values: Iterable[Mapping[str, Any] | None]) -> Iterator[Row]:
    for number, value in enumerate(values, start=1):
        yield Row(number, f"x:{number}", value, None if value is not None else "not_json: no")


def request_sender() -> RequestSender:
    def find(conn_id: str) -> ActionConnection:
        if conn_id != "crm":
            raise ConnectionConfigError(f"the connection {conn_id!r} does not exist")
        return ActionConnection("crm", "https://crm.example/api", headers=(("Authorization", "Bearer s3cret"),))

    return RequestSender(Settings(), find)


def test_every_row_is_counted_once() -> None:
    found = make_plan(
        [response(1), response(2), response(1), None, response(2, step={"Ask name": "Eva"}), {"contact": {}}]
    )

    assert (found.rows, found.valid, found.total_walked, found.rejected) == (6, 3, 2, 3)
    assert dict(found.skipped) == {"duplicate: an earlier row of this source is the same response": 1}
    assert [place for place, _ in found.rejections] == ["x:4", "x:5", "x:6"]
    assert [reason.partition(":")[0] for _, reason in found.rejections] == ["not_json", "id_reused", "missing_id"]


def test_finds_duplicates_across_the_whole_source() -> None:
    found = make_plan([*map(response, range(1200)), response(3)])

    assert (found.total_walked, found.skipped.total()) == (1200, 1)


def test_skips_contacts_done_earlier_unless_forced(ledger: Ledger) -> None:
    earlier = a_replay(ledger, [response(1), response(2), response(3)])
    end(ledger, earlier, [ContactState.COMPLETED, ContactState.IN_DOUBT, ContactState.FAILED])
    attempt(ledger, "r-1", Fate.SUCCEEDED, earlier, key=idempotency_key(FLOW_ID, "Create", "r-1", 1, None))
    values = [response(1), response(2), response(3), response(4)]

    found = make_plan(values, ledger)

    assert dict(found.skipped) == {"done: the replay first completed it": 1}
    assert (found.in_doubt, found.total_walked, found.calls) == (1, 2, 2)
    forced = make_plan(values, ledger, run=RunSettings(force=True))
    assert (forced.total_walked, forced.calls) == (4, 4)


def test_an_action_with_a_known_outcome_is_not_called_again(ledger: Ledger) -> None:
    steps = [
        {**CREATE, "on_success": "Note"},
        {**CREATE, "name": "Note", "body": {"id": "{{ step.Create.response.id }}"}},
    ]
    earlier = a_replay(ledger, [response(1), response(2)])
    end(ledger, earlier, [ContactState.FAILED, ContactState.FAILED])
    key = idempotency_key(FLOW_ID, "Create", "r-1", 1, None)
    attempt(ledger, "r-1", Fate.SUCCEEDED, earlier, key=key, result=result({"id": 7}))

    found = make_plan([response(1), response(2)], ledger, flow=a_flow(*steps))

    assert dict(found.counts.recorded) == {"Create": 1}
    assert dict(found.counts.calls) == {"Create": 1, "Note": 2}
    assert dict(found.counts.ends) == {"completed": 1, "depends_on_reply": 1}


def test_blocked_requests_in_doubt_are_not_calls(ledger: Ledger) -> None:
    earlier = a_replay(ledger, [response(1)])
    end(ledger, earlier, [ContactState.FAILED])
    key = idempotency_key(FLOW_ID, "Create", "r-1", 1, None)
    attempt(ledger, "r-1", None, earlier, key=key)

    found = make_plan([response(1)], ledger)

    assert (found.calls, dict(found.counts.ends)) == (0, {"in_doubt": 1})


def test_uses_platform_successes_unless_send_all(ledger: Ledger) -> None:
    steps = [
        {**CREATE, "on_success": "Note"},
        {**CREATE, "name": "Note", "body": {"id": "{{ step.Create.response.id }}"}},
    ]
    value = response(1, actions={"Create": [{"outcome": "success", "response": {"id": 7}}]})

    assert dict(make_plan([value], flow=a_flow(*steps)).counts.calls) == {"Note": 1}
    again = make_plan([value], flow=a_flow(*steps), run=RunSettings(resend=True))
    assert dict(again.counts.calls) == {"Create": 1, "Note": 1}
    assert dict(again.counts.ends) == {"completed": 1}


@pytest.mark.parametrize(
    ("behind", "calls", "depends"),
    [
        ({"name": "Then", "type": "message", "body": "{{ step.Create.response.id }}"}, {"Create": 1}, {"Then": 1}),
        (
            {
                "name": "Then",
                "type": "action",
                "url": "https://b.example/x",
                "body": {"id": "{{ step.Create.response.id }}"},
            },
            {"Create": 1, "Then": 1},
            {"Then": 1},
        ),
        (
            {
                "name": "Then",
                "type": "conditional",
                "paths": [
                    {
                        "conditions": [{"field": "step.Create.response.id", "comparison": "exact", "value": 1}],
                        "next": "Create",
                    }
                ],
            },
            {"Create": 1},
            {"Then": 1},
        ),
        ({"name": "Then", "type": "message", "body": "{{ step.Create.status_code }}"}, {"Create": 1}, {}),
        ({"name": "Then", "type": "message", "body": "{{ step.Create.response.id | default('') }}"}, {"Create": 1}, {}),
    ],
)
def test_a_walk_ends_at_the_first_unknown_reply(
    behind: dict[str, Any], calls: dict[str, int], depends: dict[str, int]
) -> None:
    found = make_plan([response(1)], flow=a_flow({**CREATE, "on_success": "Then"}, behind))

    assert dict(found.counts.calls) == calls
    assert dict(found.counts.depends) == depends
    assert dict(found.counts.ends) == ({"depends_on_reply": 1} if depends else {"completed": 1})


def test_groups_reasons_of_render_errors() -> None:
    values = [response(number, step={}) for number in range(3)]
    flow = load_flow({**a_flow().source, "steps": [{**ASK, "on_no_answer": "Create"}, CREATE]})

    found = make_plan(values, flow=flow)

    assert dict(found.counts.ends) == {"failed": 3}
    ((reason, number),) = found.counts.reasons.items()
    assert number == 3
    assert reason.startswith("Create: body.name")


def test_guards_skip_and_postpone(monkeypatch: pytest.MonkeyPatch) -> None:
    value = response(2, created_on="2001-01-01T00:00:00Z")
    found = make_plan(
        [response(1, created_on="2999-01-01T00:00:00Z"), value],
        flow=a_flow(replay={"max_age": 60, "opt_out": ["525500000001"]}),
    )
    assert dict(found.skipped) == {"opted_out": 1, "too_old": 1}

    quiet = make_plan([response(1)], flow=a_flow(replay={"quiet_hours": {"start": "00:00", "end": "23:59"}}))
    assert dict(quiet.postponed) in ({"quiet_hours": 1}, {})  # empty during one minute of the day


def test_leaves_contacts_pending_in_another_replay_to_it(ledger: Ledger) -> None:
    a_replay(ledger, [response(1)])

    found = make_plan([response(1), response(2)], ledger)

    assert found.total_walked == 1
    ((reason, number),) = found.postponed.items()
    assert (reason.startswith("pending in the replay first"), number) == (True, 1)


def test_only_once_counts_each_phone_once(ledger: Ledger) -> None:
    earlier = a_replay(ledger, [response(1)])
    end(ledger, earlier, [ContactState.COMPLETED])
    attempt(ledger, "r-1", Fate.SUCCEEDED, earlier)
    again = response(9, contact={"phone": "+525500000001"})
    twice = response(10, contact={"phone": "+525500000002"})

    found = make_plan([again, response(2), twice], ledger, flow=a_flow(replay={"only_once": True}))

    assert found.total_walked == 1
    assert [reason.partition(":")[0] for reason in found.skipped.elements()] == ["only_once"] * 2
    assert make_plan([again, response(2), twice], ledger).total_walked == 3


def test_only_once_knows_a_phone_however_it_is_written() -> None:
    spelt = [response(n, contact={"phone": phone}) for n, phone in enumerate(["+52 1 55 1234 5678", "+525512345678"])]
    found = make_plan(spelt, flow=a_flow(replay={"only_once": True}))
    assert (found.total_walked, sum(found.skipped.values())) == (1, 1)


def test_samples_are_masked_and_hold_no_secret() -> None:
    found = make_plan([response(number, step={"Ask name": "Xochitl"}) for number in range(5)])

    samples = found.counts.samples["Create"]
    assert len(samples) == 3
    first = samples[0]
    assert (first.method, first.url) == ("POST", "https://crm.example/api/v1/contacts/+52…00?q=***")
    assert dict(first.headers) == {
        "X-Source": "whatsapp",
        "X-Token": "***",
        "X-Phone": "+52…00",
        "Content-Type": "application/json",
    }
    assert json.loads(first.body) == {"name": "X…"}
    assert "s3cret" not in repr(samples)


@pytest.mark.parametrize(
    ("body_type", "body", "shown"),
    [
        ("form", {"name": "{{ step.Ask name }}", "n": "12"}, "name=X…&n=12"),
        ("xml", '<a b="{{ step.Ask name }}"><c>{{ step.Ask name }}</c></a>', '<a b="X…"><c>X…</c></a>'),
        ("yaml", {"name": "{{ step.Ask name }}"}, '"name": "X…"'),
        ("plain", "{{ step.Ask name }} was here", "X…"),
        ("multipart", {"name": "{{ step.Ask name }}"}, None),
        ("none", None, ""),
    ],
)
def test_bodies_of_every_type_are_shown_masked(body_type: str, body: Any, shown: str | None) -> None:
    step = {**CREATE, "body_type": body_type, "body": body}
    if body is None:
        del step["body"]

    (sample,) = make_plan([response(1, step={"Ask name": "Xochitl"})], flow=a_flow(step)).counts.samples["Create"]

    assert "Xochitl" not in sample.body
    if shown is None:
        assert sample.body.endswith("bytes of multipart/form-data)")
    else:
        assert sample.body.removeprefix('<?xml version="1.0" encoding="UTF-8"?>').lstrip("\n") == shown


def test_the_duration_is_that_of_the_slowest_host(ledger: Ledger) -> None:
    earlier = a_replay(ledger, [response(900)], "earlier")
    attempt(
        ledger, "r-900", Fate.SUCCEEDED, earlier, host="crm.example:443", begun_at=1.0, ended_at=1.5, status_code=200
    )
    note = {"name": "Note", "type": "action", "url": "https://acme.api-us1.com/x", "body": {}}
    run = RunSettings(concurrency=10, rates={"": 50.0})

    found = make_plan(map(response, range(100)), ledger, flow=a_flow({**CREATE, "on_success": "Note"}, note), run=run)

    preset, seen = found.loads
    assert (preset.host, preset.calls, preset.rate) == ("acme.api-us1.com:443", 100, 5.0)
    assert (preset.latency, preset.seen, preset.seconds) == (0.2, False, 20.0)
    assert (seen.host, seen.rate, seen.latency, seen.seen, seen.seconds) == ("crm.example:443", 50.0, 0.5, True, 5.0)
    assert found.seconds == 20.0


def test_a_loop_counts_each_contact_once_and_predicts_its_delays() -> None:
    poll = {**CREATE, "name": "Poll", "max_visits": 3, "on_success": "Pause", "on_max_visits": "Create"}
    pause = {"name": "Pause", "type": "delay", "amount": 1, "unit": "MINUTE", "next": "Poll"}
    flow = {"flow_format": 1, "id": FLOW_ID, "steps": [{**ASK, "next": "Poll"}, poll, pause, CREATE]}

    found = make_plan(map(response, range(2)), flow=load_flow(flow))

    assert (found.counts.exits["Poll", "success"], found.counts.calls["Poll"]) == (2, 6)
    assert 180 <= found.seconds < 185


def test_nothing_is_written_to_the_ledger(ledger: Ledger) -> None:
    end(ledger, a_replay(ledger, [response(1), response(2)]), [ContactState.COMPLETED])
    assert ledger.file is not None
    before = _dump(ledger)

    make_plan(map(response, range(10)), ledger)

    assert _dump(ledger) == before


def test_a_connection_that_is_missing_is_refused() -> None:
    with pytest.raises(ConnectionConfigError, match="the connection 'other' does not exist"):
        make_plan([], flow=a_flow({**CREATE, "connection": "other"}))


def test_limit_takes_the_first_rows() -> None:
    assert make_plan(map(response, range(10)), limit=4).rows == 4


def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    flow = a_flow()

    def peak(number: int) -> int:
        tracemalloc.start()
        make_plan(map(response, range(number)), flow=flow)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)
    assert peak(8000) - peak(1000) < 500_000


def _dump(ledger: Ledger) -> list[Any]:
    with ledger.read() as connection:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
        return [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in tables]

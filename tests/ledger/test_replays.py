"""Replays: how far they have come."""

from __future__ import annotations

from airflow_whatsapp_flows.flow.delivery import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import (
    change_flow,
    create_replay,
    find_replay,
    list_replays,
    mark_ended,
    mark_started,
    pending_chunks,
    tally,
)
from tests.ledger.filling import a_replay, attempt, end, response


def test_a_replay_keeps_what_it_was_begun_with(ledger: Ledger) -> None:
    made = create_replay(
        ledger, "r", "lead", '{"ñ": 1}', ("x.csv", "m"), options={"rates": {"": 5.0}, "send": "all"}, note="why"
    )

    assert find_replay(ledger, "r") == made
    assert (made.flow_id, made.flow, made.source, made.source_mark) == ("lead", '{"ñ": 1}', "x.csv", "m")
    assert (made.options, made.note, made.sealed) == ({"rates": {"": 5.0}, "send": "all"}, "why", False)
    assert (made.started_at, made.ended_at) == (None, None)
    assert find_replay(ledger, "R") is None


def test_the_newest_is_listed_first(ledger: Ledger) -> None:
    for name in "abc":
        create_replay(ledger, name, "lead", "{}", ("x", None))

    assert [replay.id for replay in list_replays(ledger)] == ["c", "b", "a"]


def test_it_began_once_and_ended_last(ledger: Ledger) -> None:
    replay = create_replay(ledger, "r", "lead", "{}", ("x", None))
    mark_started(ledger, replay.no)
    first = find_replay(ledger, "r")
    mark_ended(ledger, replay.no)
    mark_started(ledger, replay.no)
    mark_ended(ledger, replay.no)
    last = find_replay(ledger, "r")

    assert first is not None
    assert last is not None
    assert first.started_at is not None
    assert last.started_at == first.started_at
    assert last.ended_at is not None
    assert last.ended_at >= first.started_at


def test_states_add_up_to_the_rows(ledger: Ledger) -> None:
    replay = a_replay(ledger, [*(response(number) for number in range(6)), None, response(1)], chunk_size=4)
    a_replay(ledger, [response(70)], "other")
    states = [ContactState.COMPLETED, ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT]
    end(ledger, replay, states, handled_errors=2, unanswered=True)
    for number, fate in enumerate([Fate.SUCCEEDED, Fate.NOT_SENT, Fate.UNKNOWN, None]):
        attempt(ledger, f"r-{number}", fate, replay)
    attempt(ledger, "r-70", Fate.SUCCEEDED)

    found = tally(ledger, replay.no)

    assert found.total == 8 == sum(found.states.values())
    assert found.states == {
        ContactState.PENDING: 2,
        ContactState.COMPLETED: 2,
        ContactState.FAILED: 1,
        ContactState.IN_DOUBT: 1,
        ContactState.REJECTED: 1,
        ContactState.SKIPPED: 1,
    }
    assert (found.handled_errors, found.unanswered, found.requests) == (8, 4, 3)
    assert tally(ledger, replay.no, chunk=0).total == 5  # a duplicate is beside its first
    assert pending_chunks(ledger, replay.no) == [1]


def test_a_replay_without_rows_adds_up_to_nothing(ledger: Ledger) -> None:
    replay = a_replay(ledger, [])

    found = tally(ledger, replay.no)

    assert (found.total, found.requests, found.handled_errors, set(found.states.values())) == (0, 0, 0, {0})


def test_a_flow_is_replaced(ledger: Ledger) -> None:
    replay = a_replay(ledger, [])
    change_flow(ledger, replay.no, '{"v": 2}')

    found = find_replay(ledger, replay.id)
    assert found is not None
    assert found.flow == '{"v": 2}'

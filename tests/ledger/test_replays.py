"""Replays and their progress."""

from __future__ import annotations

from sqlalchemy import update

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactEnd, ContactState, Ledger
from airflow_whatsapp_flows.ledger.attempts import AGAIN, group_by_type, write_entries
from airflow_whatsapp_flows.ledger.replays import (
    change_flow,
    create_replay,
    find_pending_chunks,
    find_replay,
    list_replays,
    mark_ended,
    mark_started,
    tally,
)
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveSelection, resolve
from airflow_whatsapp_flows.ledger.schema import contacts
from tests.ledger.filling import a_replay, attempt, change, end, response


def test_stores_the_settings_of_a_replay(ledger: Ledger) -> None:
    made = create_replay(
        ledger, "r", "lead", '{"ñ": 1}', ("x.csv", "m"), options={"rates": {"": 5.0}, "send": "all"}, note="why"
    )

    assert find_replay(ledger, "r") == made
    assert (made.flow_id, made.flow, made.source, made.source_mark) == ("lead", '{"ñ": 1}', "x.csv", "m")
    assert (made.options, made.note, made.sealed) == ({"rates": {"": 5.0}, "send": "all"}, "why", False)
    assert (made.started_at, made.ended_at) == (None, None)
    assert find_replay(ledger, "R") is None


def test_lists_the_newest_replay_first(ledger: Ledger) -> None:
    for name in "abc":
        create_replay(ledger, name, "lead", "{}", ("x", None))

    assert [replay.id for replay in list_replays(ledger)] == ["c", "b", "a"]


def _running_time(ledger: Ledger, now: float) -> float:
    found = find_replay(ledger, "r")
    assert found is not None
    return found.run_seconds(now)


def test_the_running_time_excludes_time_between_runs(ledger: Ledger) -> None:
    replay = create_replay(ledger, "r", "lead", "{}", ("x", None))
    assert _running_time(ledger, 50.0) == 0
    mark_started(ledger, replay.no, 100.0)
    assert _running_time(ledger, 104.0) == 4
    mark_ended(ledger, replay.no, 110.0)
    assert _running_time(ledger, 500.0) == 10
    mark_started(ledger, replay.no, 1000.0)
    assert _running_time(ledger, 1005.0) == 15
    mark_ended(ledger, replay.no, 1030.0)
    assert _running_time(ledger, 5000.0) == 40


def test_a_killed_run_lasts_until_its_last_contact(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3)], "r")
    mark_started(ledger, replay.no, 100.0)
    end(ledger, replay, [ContactState.COMPLETED], at=107.0)  # and there it dies
    mark_started(ledger, replay.no, 1000.0)
    assert _running_time(ledger, 1002.0) == 9
    mark_ended(ledger, replay.no, 1003.0)
    assert _running_time(ledger, 9000.0) == 10


def test_a_run_killed_immediately_takes_no_time(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)], "r")
    mark_started(ledger, replay.no, 100.0)
    mark_started(ledger, replay.no, 1000.0)
    assert _running_time(ledger, 1002.0) == 2


def test_a_clock_set_back_gives_no_negative_time(ledger: Ledger) -> None:
    replay = create_replay(ledger, "r", "lead", "{}", ("x", None))
    mark_started(ledger, replay.no, 1000.0)
    mark_ended(ledger, replay.no, 900.0)
    assert _running_time(ledger, 900.0) == 0
    mark_started(ledger, replay.no, 950.0)
    assert _running_time(ledger, 951.0) == 1


def test_states_add_up_to_the_rows(ledger: Ledger) -> None:
    replay = a_replay(ledger, [*(response(number) for number in range(6)), None, response(1)], chunk_size=4)
    a_replay(ledger, [response(70)], "other")
    states = [ContactState.COMPLETED, ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT]
    ids = end(ledger, replay, states, handled_errors=2, unanswered=True)
    change(ledger, ids[1], handled_errors=0)
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
    assert (found.handled_errors, found.handled, found.unanswered, found.requests) == (6, 1, 4, 3)
    assert tally(ledger, replay.no, [0]).total == 5  # a duplicate is beside its first
    assert find_pending_chunks(ledger, replay.no) == [1]


def test_requests_of_the_chunks_add_up_to_those_of_the_replay(ledger: Ledger) -> None:
    values = [*(response(number) for number in range(4)), response(1), response(0, step={"Ask name": "Eva"})]
    replay = a_replay(ledger, values, chunk_size=1)  # the last two are a duplicate, and an id with different content
    ids = end(ledger, replay, [ContactState.COMPLETED, ContactState.FAILED])
    attempt(ledger, "r-0", Fate.SUCCEEDED, replay)
    attempt(ledger, "r-1", Fate.NOT_SENT, replay)  # it was intended, and never left
    attempt(ledger, "r-1", Fate.UNKNOWN, replay, number=2)
    attempt(ledger, "r-2", Fate.ANSWERED, replay, status_code=422)
    attempt(ledger, "r-3", Fate.SUCCEEDED)  # in a DAG run
    with ledger.write() as connection:  # a guard stops it in the next round
        connection.execute(update(contacts).where(contacts.c.id == ids[2]).values(AGAIN))
        write_entries(connection, group_by_type([ContactEnd(ids[2], ContactState.SKIPPED, "opt_out", 1000.0)]))
    change(ledger, ids[1], state="in_doubt")
    resolve(ledger, replay, ResolveSelection(response_id="r-1"), Resolution(sent=False, by="ana"))

    assert tally(ledger, replay.no).requests == 3
    assert [tally(ledger, replay.no, [chunk]).requests for chunk in range(6)] == [1, 1, 1, 0, 0, 0]
    assert tally(ledger, replay.no, list(range(6))).requests == 3


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

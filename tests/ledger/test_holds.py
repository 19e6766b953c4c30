"""Holds: which contacts of a replay are sent first."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.holds import (
    count_sendable,
    find_sendable_chunks,
    hold_after,
    hold_of,
    last_sendable,
    release_held,
)
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay, tally
from tests.ledger.filling import a_replay, change, response, rows_of


def reload(ledger: Ledger, replay: Replay) -> Replay:
    found = find_replay(ledger, replay.id)
    assert found is not None
    return found


def sendable(ledger: Ledger, replay: Replay) -> int:
    now = reload(ledger, replay)
    return count_sendable(ledger, now, tally(ledger, now.no).states[ContactState.PENDING])


def fill(ledger: Ledger, count: int, name: str = "r") -> Replay:
    return a_replay(ledger, [response(number) for number in range(count)], replay_id=name, chunk_size=4)


def test_the_first_pending_contacts_are_not_held(ledger: Ledger) -> None:
    fill(ledger, 3, "other")  # its rows come first in the table
    replay = fill(ledger, 10)
    rows = rows_of(ledger, replay)
    change(ledger, rows[1].id, state="rejected")

    hold = hold_after(ledger, replay.no, "canary", 5)

    assert hold is not None
    assert (hold.size, hold.last, hold.first) == (5, rows[5].id, rows[0].id)
    assert last_sendable(reload(ledger, replay)) == rows[5].id
    assert sendable(ledger, replay) == 5
    assert find_sendable_chunks(ledger, reload(ledger, replay)) == [0, 1]


def test_the_same_number_chooses_the_same_contacts_again(ledger: Ledger) -> None:
    replay = fill(ledger, 10)
    first = hold_after(ledger, replay.no, "canary", 3)
    assert first is not None
    for row in rows_of(ledger, replay)[:3]:
        change(ledger, row.id, state="completed")

    assert hold_after(ledger, replay.no, "canary", 3) == first
    assert sendable(ledger, replay) == 0
    assert find_sendable_chunks(ledger, reload(ledger, replay)) == []


def test_a_larger_number_adds_contacts(ledger: Ledger) -> None:
    replay = fill(ledger, 10)
    rows = rows_of(ledger, replay)
    hold_after(ledger, replay.no, "canary", 3)
    for row in rows[:3]:
        change(ledger, row.id, state="completed")

    hold = hold_after(ledger, replay.no, "canary", 7)

    assert hold is not None
    assert (hold.size, hold.last) == (7, rows[6].id)
    assert sendable(ledger, replay) == 4


def test_a_smaller_number_is_refused(ledger: Ledger) -> None:
    replay = fill(ledger, 10)
    hold_after(ledger, replay.no, "canary", 5)

    with pytest.raises(LedgerError, match="already has 5 contacts"):
        hold_after(ledger, replay.no, "canary", 4)

    assert sendable(ledger, replay) == 5


@pytest.mark.parametrize("size", [10, 11])
def test_nothing_is_held_if_there_are_no_others(ledger: Ledger, size: int) -> None:
    replay = fill(ledger, 10)

    assert hold_after(ledger, replay.no, "canary", size) is None
    assert last_sendable(reload(ledger, replay)) is None
    assert sendable(ledger, replay) == 10


def test_released_contacts_are_sendable_until_they_are_held_again(ledger: Ledger) -> None:
    replay = fill(ledger, 10)
    hold_after(ledger, replay.no, "canary", 3)

    assert release_held(ledger, replay.no, "canary")
    assert not release_held(ledger, replay.no, "canary")
    assert sendable(ledger, replay) == 10
    assert len(find_sendable_chunks(ledger, reload(ledger, replay))) == 3

    hold_after(ledger, replay.no, "canary", 3)
    assert sendable(ledger, replay) == 3


def test_another_request_chooses_again(ledger: Ledger) -> None:
    replay = fill(ledger, 10)
    hold_after(ledger, replay.no, "canary", 6, "one")
    for row in rows_of(ledger, replay)[:6]:
        change(ledger, row.id, state="completed")

    hold = hold_after(ledger, replay.no, "canary", 2, "two")

    assert hold is not None
    assert hold.last == rows_of(ledger, replay)[7].id


def test_the_narrower_of_two_holds_counts(ledger: Ledger) -> None:
    replay = fill(ledger, 10)
    hold_after(ledger, replay.no, "limit", 6)
    hold_after(ledger, replay.no, "canary", 2)
    assert sendable(ledger, replay) == 2

    release_held(ledger, replay.no, "canary")

    assert sendable(ledger, replay) == 6
    assert hold_of(reload(ledger, replay), "canary") is not None

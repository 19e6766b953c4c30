"""When contacts ended is known from the counts of chunks, or of a small replay from its contacts; sums are exact."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger, ended_contacts
from airflow_whatsapp_flows.ledger.counts import refresh_counts
from airflow_whatsapp_flows.ledger.ended_contacts import EndedContacts, count_ended_of_flows, tally_over_time
from airflow_whatsapp_flows.ledger.replays import Replay, tally
from airflow_whatsapp_flows.ledger.schema import chunks, replays
from tests.ledger.filling import FLOW, FLOW_ID, a_replay, attempt, change, end, response, rows_of
from tests.ledger.plans import full_scans, record_statements

C, F, S = ContactState.COMPLETED, ContactState.FAILED, ContactState.SKIPPED


@pytest.fixture
def replay(ledger: Ledger) -> Replay:
    """Six contacts in two chunks: four completed, one failed, and one is pending."""
    found = a_replay(ledger, [response(number) for number in range(6)], chunk_size=3)
    end(ledger, found, [C, C, F, C, C])
    for number, row in enumerate(rows_of(ledger, found)[:5]):
        change(ledger, row.id, ended_at=1000.0 + 10 * number)
    attempt(ledger, "r-0", Fate.SUCCEEDED, found)
    store_counts(ledger, found)
    return found


def store_counts(ledger: Ledger, replay: Replay) -> None:
    """Store the counts of a replay, as at its end."""
    with ledger.write() as connection:
        connection.execute(update(replays).where(replays.c.no == replay.no).values(started_at=990.0, ended_at=1050.0))
        connection.execute(update(chunks).where(chunks.c.replay_no == replay.no).values(requests=0))
        refresh_counts(connection, replay.no)


def test_contacts_of_a_small_replay_are_known_one_by_one(ledger: Ledger, replay: Replay) -> None:
    counted, ended = tally_over_time(ledger, replay.no)
    assert counted == tally(ledger, replay.no)
    states = [C, C, F, C, C]
    expected = [EndedContacts(state, 1, 1000.0 + 10 * n, 1000.0 + 10 * n) for n, state in enumerate(states)]
    assert sorted(ended, key=lambda one: one.first) == expected


@pytest.mark.parametrize("is_counted", [True, False], ids=["counted", "running"])
def test_contacts_of_a_large_replay_are_known_by_chunk(
    ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch, is_counted: bool
) -> None:
    monkeypatch.setattr(ended_contacts, "SMALL", 5)
    if not is_counted:
        with ledger.write() as connection:
            connection.execute(update(chunks).values(requests=None))
    counted, ended = tally_over_time(ledger, replay.no)
    expected = [
        EndedContacts(C, 2, 1000.0, 1010.0), EndedContacts(F, 1, 1020.0, 1020.0), EndedContacts(C, 2, 1030.0, 1040.0),
    ]  # fmt: skip
    if is_counted:
        assert counted == tally(ledger, replay.no)
        assert sorted(ended, key=lambda one: one.first) == expected


def test_counts_the_contacts_of_flows_between_times(ledger: Ledger, replay: Replay) -> None:
    other = a_replay(ledger, [response(7)], "other", flow={**FLOW, "id": "other"})
    end(ledger, other, [S], at=1031.0)
    store_counts(ledger, replay)
    store_counts(ledger, other)
    times = [1005.0, 1025.0, 1045.0]
    # Two contacts of a chunk, the first of which ended before, count when the second one ended.
    expected = {FLOW_ID: [(2, 1), (2, 0)], "other": [(0, 0), (1, 0)]}
    assert count_ended_of_flows(ledger, [FLOW_ID, "other", "none"], times) == expected
    assert count_ended_of_flows(ledger, ["other"], times) == {"other": expected["other"]}
    assert count_ended_of_flows(ledger, [FLOW_ID], [2000.0, 3000.0]) == {}
    assert count_ended_of_flows(ledger, [], times) == {}


def test_replays_of_one_flow_are_added_up(ledger: Ledger, replay: Replay) -> None:
    again = a_replay(ledger, [response(0), response(1)], "again", force=True)
    end(ledger, again, [C, F], at=1040.0)
    store_counts(ledger, replay)
    store_counts(ledger, again)
    assert count_ended_of_flows(ledger, [FLOW_ID], [0.0, 2000.0]) == {FLOW_ID: [(5, 2)]}


@pytest.mark.parametrize("small", [5000, 0])
def test_no_statement_reads_contacts_of_others(
    ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(ended_contacts, "SMALL", small)
    with record_statements(ledger) as statements:
        tally_over_time(ledger, replay.no)
        count_ended_of_flows(ledger, [FLOW_ID], [0.0, 2000.0])
    assert full_scans(ledger, statements) == []

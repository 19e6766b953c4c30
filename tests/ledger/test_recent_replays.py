"""Lists of replays are paged, counted, and read no contacts."""

from __future__ import annotations

from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.recent_replays import latest_of_flows, recent_replays
from tests.ledger.filling import a_replay, end, response
from tests.ledger.plans import full_scans, record_statements


def test_counts_the_contacts_of_each_replay(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(number) for number in range(5)], chunk_size=2)
    a_replay(ledger, [response(9)], "second")
    end(ledger, first, [ContactState.COMPLETED, ContactState.COMPLETED, ContactState.FAILED])
    [second, found] = recent_replays(ledger, 10)
    assert (second.id, second.total) == ("second", 1)
    assert (found.id, found.total) == ("first", 5)
    assert found.states[ContactState.COMPLETED] == 2
    assert found.states[ContactState.FAILED] == 1
    assert set(found.states) == set(ContactState)


def test_pages_start_after_the_last_replay_shown(ledger: Ledger) -> None:
    for number in range(5):
        a_replay(ledger, [], f"r{number}")
    page = recent_replays(ledger, 2)
    assert [replay.id for replay in page] == ["r4", "r3"]
    assert [replay.id for replay in recent_replays(ledger, 2, page[-1].no)] == ["r2", "r1"]


def test_finds_replays_by_name_flow_and_note(ledger: Ledger) -> None:
    a_replay(ledger, [], "Spring 100%")
    a_replay(ledger, [], "autumn")
    assert [replay.id for replay in recent_replays(ledger, 5, text="spring 100%")] == ["Spring 100%"]
    assert [replay.id for replay in recent_replays(ledger, 5, text="%")] == ["Spring 100%"]
    assert len(recent_replays(ledger, 5, text="LEAD")) == 2
    assert recent_replays(ledger, 5, text="nothing") == []


def test_finds_the_last_replay_of_each_flow(ledger: Ledger) -> None:
    a_replay(ledger, [], "first")
    a_replay(ledger, [response(1)], "second")
    found = latest_of_flows(ledger, ["lead", "other"])
    assert {flow: replay.id for flow, replay in found.items()} == {"lead": "second"}
    assert found["lead"].total == 1
    assert latest_of_flows(ledger, []) == {}


def test_no_statement_reads_all_contacts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(50)], chunk_size=10)
    end(ledger, replay, [ContactState.COMPLETED] * 20)
    with record_statements(ledger) as statements:
        recent_replays(ledger, 10, 5, text="x")
        recent_replays(ledger, 10)
        latest_of_flows(ledger, ["lead"])
    assert len(statements) >= 4
    assert full_scans(ledger, statements) == []

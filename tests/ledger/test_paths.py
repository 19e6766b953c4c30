"""The ways of contacts through a flow."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import update

from airflow_whatsapp_flows.ledger import ContactState, Ledger, paths
from airflow_whatsapp_flows.ledger.counts import refresh_counts_of
from airflow_whatsapp_flows.ledger.paths import count_paths
from airflow_whatsapp_flows.ledger.schema import contacts
from tests.ledger.filling import a_replay, change, end, forget_counts, response, rows_of
from tests.ledger.plans import full_scans, record_statements


def test_counts_contacts_not_visits(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(4)])
    ids = end(ledger, replay, [ContactState.COMPLETED] * 3, path=json.dumps(["Ask", "Create"]))
    change(ledger, ids[0], path=json.dumps(["Ask", "Ask", "Ask", "Create"]))
    counted = count_paths(ledger, replay.no)
    assert (counted.contacts, counted.is_all) == (3, True)
    assert counted.steps == {"Ask": 3, "Create": 3}
    assert counted.ways == {("Ask", "Create"): 3, ("Ask", "Ask"): 1}


def test_a_replay_that_has_not_begun_has_no_counts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), None])
    assert count_paths(ledger, replay.no) == paths.PathCounts()


def test_counts_the_first_contacts_only(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_CONTACTS", 3)
    replay = a_replay(ledger, [response(number) for number in range(5)], chunk_size=2)
    end(ledger, replay, [ContactState.COMPLETED] * 5)
    counted = count_paths(ledger, replay.no)
    assert (counted.contacts, counted.is_all, counted.steps) == (3, False, {"Create": 3})


def test_a_long_path_is_not_read(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [ContactState.COMPLETED], path=json.dumps(["x" * 5000]))
    counted = count_paths(ledger, replay.no)
    assert (counted.contacts, counted.too_long, counted.steps) == (0, 1, {})


def test_finds_walked_contacts_behind_many_that_were_not(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1300)], chunk_size=100)
    end(ledger, replay, [ContactState.SKIPPED] * 1000, path=None)
    ids = [row.id for row in rows_of(ledger, replay)][1000:]
    with ledger.write() as connection:
        walked = update(contacts).where(contacts.c.id.in_(ids))
        connection.execute(walked.values(state="completed", path='["Create"]', ended_at=1000.0))
        forget_counts(connection)
    assert count_paths(ledger, replay.no) == paths.PathCounts(
        300, steps={"Create": 300}, ends={("Create", ContactState.COMPLETED): 300}
    )


def test_a_chunk_whose_contacts_were_all_skipped_is_not_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_ROWS", 2)
    replay = a_replay(ledger, [*[None] * 6, response(1)], chunk_size=2)
    [*_, last] = rows_of(ledger, replay)
    with ledger.write() as connection:
        connection.execute(
            update(contacts).where(contacts.c.id == last.id).values(state="completed", path='["Create"]', ended_at=1.0)
        )
        refresh_counts_of(connection, [(replay.no, last.chunk)])
    assert count_paths(ledger, replay.no).contacts == 1


def test_says_when_not_all_rows_were_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_ROWS", 3)
    replay = a_replay(ledger, [response(number) for number in range(5)])
    change(ledger, rows_of(ledger, replay)[-1].id, state="completed", path='["Create"]')
    assert count_paths(ledger, replay.no) == paths.PathCounts(has_unread=True)
    monkeypatch.setattr(paths, "MOST_ROWS", 5)
    assert count_paths(ledger, replay.no).contacts == 1


def test_counts_where_contacts_ended_and_in_which_state(ledger: Ledger) -> None:
    states = [ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT, ContactState.COMPLETED]
    replay = a_replay(ledger, [response(number) for number in range(5)])
    ids = end(ledger, replay, states, path=json.dumps(["Ask", "Create"]))
    change(ledger, ids[4], path=json.dumps(["Ask"]))
    assert count_paths(ledger, replay.no).ends == {
        ("Create", ContactState.COMPLETED): 2,
        ("Create", ContactState.FAILED): 1,
        ("Create", ContactState.IN_DOUBT): 1,
    }


def test_reads_no_more_than_it_counts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    with record_statements(ledger) as statements:
        count_paths(ledger, replay.no)
    assert full_scans(ledger, statements) == []
    assert all("LIMIT" in statement for statement, _ in statements if "contacts" in statement)
    if ledger.is_sqlite:  # nothing is sorted: the limit ends the reading
        with ledger.connect() as connection:
            plans = [
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
                for statement, values in statements
                if "contacts" in statement
            ]
        assert "TEMP B-TREE" not in str(plans)

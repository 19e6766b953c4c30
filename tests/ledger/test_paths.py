"""The ways of contacts through a flow."""

from __future__ import annotations

import json

import pytest

from airflow_whatsapp_flows.ledger import ContactState, Ledger, paths
from airflow_whatsapp_flows.ledger.paths import count_paths
from tests.ledger.filling import a_replay, change, end, response
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
    assert count_paths(ledger, replay.no) == paths.PathCounts(0, True, {}, {})


def test_counts_the_first_contacts_only(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_CONTACTS", 3)
    replay = a_replay(ledger, [response(number) for number in range(5)], chunk_size=2)
    end(ledger, replay, [ContactState.COMPLETED] * 5)
    counted = count_paths(ledger, replay.no)
    assert (counted.contacts, counted.is_all, counted.steps) == (3, False, {"Create": 3})


def test_a_long_path_is_not_read(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [ContactState.COMPLETED], path=json.dumps(["x" * 5000]))
    assert count_paths(ledger, replay.no).steps == {}


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

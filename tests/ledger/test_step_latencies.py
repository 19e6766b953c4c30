"""Latencies of an action come from a limited sample of the latest replies, of one replay or of a DAG's runs."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger, step_latencies
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.step_latencies import Latencies
from tests.ledger.filling import FLOW_ID, a_replay, attempt, end, response
from tests.ledger.plans import full_scans, record_statements


def reply(ledger: Ledger, number: int, replay: Replay | None, seconds: float, **more: object) -> None:
    values = {"begun_at": 901.0, "ended_at": 901.0 + seconds, "status_code": 200, **more}
    attempt(ledger, f"r-{number}", Fate.SUCCEEDED, replay, **values)


@pytest.fixture
def replay(ledger: Ledger) -> Replay:
    """Ten contacts in chunks of four, with replies after 1 to 10 seconds; and others that do not count."""
    found = a_replay(ledger, [response(number) for number in range(10)], chunk_size=4)
    end(ledger, found, [ContactState.COMPLETED] * 10)
    for number in range(10):
        reply(ledger, number, found, number + 1.0)
    reply(ledger, 0, found, 500.0, step="Tell", key="other-step")
    reply(ledger, 0, found, 500.0, status_code=None, key="no-reply")
    reply(ledger, 0, None, 500.0, key="a-run")
    reply(ledger, 0, found, 500.0, flow_id="other", key="other-flow")
    return found


def measure(ledger: Ledger, replay_no: int | None, step: str = "Create") -> Latencies | None:
    return step_latencies.step_latencies(ledger, FLOW_ID, step, replay_no)


def test_measures_the_replies_of_a_replay(ledger: Ledger, replay: Replay) -> None:
    assert measure(ledger, replay.no) == Latencies(10, 6.0, 10.0, 10.0)
    assert measure(ledger, replay.no, "Tell") == Latencies(1, 500.0, 500.0, 500.0)
    assert measure(ledger, replay.no, "Failed") is None
    assert measure(ledger, replay.no + 1) is None


def test_the_sample_has_the_latest_contacts(ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_latencies, "_MOST_CONTACTS", 3)
    assert measure(ledger, replay.no) == Latencies(3, 9.0, 10.0, 10.0)
    monkeypatch.setattr(step_latencies, "_MOST_CHUNKS", 0)
    assert measure(ledger, replay.no) is None


def test_without_a_replay_the_latest_of_any_kind_are_measured(
    ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measure(ledger, None)
    assert found is not None
    assert (found.replies, found.p99) == (11, 500.0)
    monkeypatch.setattr(step_latencies, "_MOST_ATTEMPTS", 2)
    assert measure(ledger, None) == Latencies(1, 500.0, 500.0, 500.0)


@pytest.mark.parametrize("of_replay", [True, False])
def test_no_statement_reads_all_requests(ledger: Ledger, replay: Replay, of_replay: bool) -> None:
    with record_statements(ledger) as statements:
        measure(ledger, replay.no if of_replay else None)
    newest = "ORDER BY whatsapp_flows_attempts.id DESC"
    assert [one for one in full_scans(ledger, statements) if newest not in one] == []

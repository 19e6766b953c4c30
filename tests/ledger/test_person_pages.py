"""What was sent to one person is found page by page, and without reading what was sent to others."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.person_pages import find_recipient, find_sending_flows, find_sent_page
from tests.ledger.filling import FLOW_ID, a_replay, attempt, response, result
from tests.ledger.plans import full_scans, record_statements

PHONE = "+525500000001"


@pytest.fixture
def history(ledger: Ledger) -> Ledger:
    """Two replays and a DAG run sent something to one person, and a replay to another."""
    values = [response(1), response(2)]
    values[0]["contact"]["email"] = "Ana@Example.com"
    first = a_replay(ledger, values)
    second = a_replay(ledger, [response(1)], "second", force=True)
    attempt(ledger, "r-1", Fate.ANSWERED, first, begun_at=910.0)
    attempt(ledger, "r-1", Fate.SUCCEEDED, second, number=2, begun_at=930.5)
    attempt(ledger, "r-2", Fate.SUCCEEDED, first, begun_at=915.0)
    attempt(ledger, "run-1", None, phone=PHONE, flow_id="other", begun_at=920.0)
    return ledger


def responses_of(
    ledger: Ledger, text: str, flow_ids: tuple[str, ...] = (FLOW_ID, "other")
) -> list[tuple[str, str | None]]:
    page = find_sent_page(ledger, find_recipient(ledger, text), flow_ids)
    assert page.next is None
    return [(one.response_id, one.replay_id) for one in page.sent]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("+52 1 55 0000 0001", [("r-1", "second"), ("run-1", None), ("r-1", "first")], id="phone"),
        pytest.param("ANA@example.com", [("r-1", "second"), ("r-1", "first")], id="email"),
        pytest.param("r-2", [("r-2", "first")], id="response"),
        pytest.param("run-1", [("run-1", None)], id="response-of-a-run"),
        pytest.param("nobody", [], id="nobody"),
        pytest.param("' OR 1=1 --", [], id="hostile"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_finds_what_was_sent_by_each_identifier(
    history: Ledger, text: str, expected: list[tuple[str, str | None]]
) -> None:
    assert responses_of(history, text) == expected


def test_only_requests_of_the_given_flows_are_found(history: Ledger) -> None:
    assert find_sending_flows(history, find_recipient(history, PHONE)) == {FLOW_ID, "other"}
    assert responses_of(history, PHONE, ("other",)) == [("run-1", None)]
    assert responses_of(history, PHONE, ()) == []


def test_pages_have_every_request_once_also_those_of_one_moment(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    for number in range(1, 26):
        attempt(ledger, "r-1", Fate.ANSWERED, replay, number=number, begun_at=1764512345.1234567 + number // 4)
    to, found, place = find_recipient(ledger, PHONE), [], None
    for _ in range(4):
        page = find_sent_page(ledger, to, [FLOW_ID], place, 7)
        found += [one.number for one in page.sent]
        place = page.next
        if place is None:
            break
    assert found == list(range(25, 0, -1))


@pytest.mark.parametrize("text", [PHONE, "ana@example.com", "r-1"])
def test_no_statement_reads_what_was_sent_to_others(history: Ledger, text: str) -> None:
    with record_statements(history) as statements:
        to = find_recipient(history, text)
        assert find_sent_page(history, to, find_sending_flows(history, to), (2000.0, 5), 2).sent
    assert full_scans(history, statements) == []


@pytest.mark.parametrize("newest", ["phone", "unusual_phone"])
def test_unusual_phones_are_found_by_their_own_index(sqlite_ledger: Ledger, newest: str) -> None:
    """Of equal indexes SQLite may take the one that was created last, and their order is no promise."""
    a_replay(sqlite_ledger, [response(1)])
    with sqlite_ledger.write() as connection:
        for table in ("contacts", "attempts"):
            name = f"whatsapp_flows_{table}_{newest}"
            query = text("SELECT sql FROM sqlite_master WHERE name = :name")
            created = connection.execute(query, {"name": name}).scalar_one()
            connection.exec_driver_sql(f"DROP INDEX {name}")
            connection.exec_driver_sql(created)
    with record_statements(sqlite_ledger) as statements:
        find_recipient(sqlite_ledger, PHONE)
    asked = [one for one in statements if "rtrim" in one[0]]
    with sqlite_ledger.connect() as connection:
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", values).all() for one, values in asked]
    assert len(plans) == 2
    assert all("unusual_phone" in row[3] for plan in plans for row in plan if "USING" in row[3])


def test_a_long_reply_is_not_read(ledger: Ledger) -> None:
    for number, size in enumerate((10, 100_000), start=1):
        long = result({"error": "x" * size}, outcome="error", status_code=422)
        attempt(ledger, "r-1", Fate.ANSWERED, number=number, begun_at=900.0 + number, result=long)
    sent = find_sent_page(ledger, find_recipient(ledger, "r-1"), [FLOW_ID]).sent
    assert [(one.number, one.reply is not None) for one in sent] == [(2, False), (1, True)]

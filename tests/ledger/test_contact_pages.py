"""Contacts are found page by page, and no page reads more than its share."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.ledger import ContactState, Ledger, contact_pages
from airflow_whatsapp_flows.ledger.contact_pages import ContactFilter, find_by_identifier, find_contacts
from airflow_whatsapp_flows.ledger.counts import refresh_counts
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.schema import chunks
from tests.ledger.filling import FLOW_ID, a_replay, change, end, response
from tests.ledger.plans import full_scans, record_statements

FAILED = ContactFilter(state=ContactState.FAILED)


def _walk(ledger: Ledger, replay: Replay, chosen: ContactFilter, limit: int) -> tuple[list[str], int]:
    """All pages: ids of responses, and the number of pages."""
    found: list[str] = []
    after, pages = (-1, 0), 0
    while True:
        page = find_contacts(ledger, replay.no, chosen, after, limit)
        assert len(page.contacts) <= limit
        found += [str(contact.response_id) for contact in page.contacts]
        pages += 1
        if page.next is None:
            return found, pages
        assert page.next > after
        after = page.next


def _store_counts(ledger: Ledger, replay: Replay) -> None:
    with ledger.write() as connection:
        connection.execute(chunks.update().values(requests=0))
        refresh_counts(connection, replay.no)


@pytest.fixture
def replay(ledger: Ledger) -> Replay:
    """40 contacts in chunks of 10; every seventh failed; the counts are stored."""
    found = a_replay(ledger, [response(number) for number in range(40)], chunk_size=10)
    states = [ContactState.FAILED if number % 7 == 0 else ContactState.COMPLETED for number in range(40)]
    end(ledger, found, states)
    _store_counts(ledger, found)
    return found


@pytest.mark.parametrize("limit", [1, 7, 40, 50])
def test_pages_add_up_to_all_contacts(ledger: Ledger, replay: Replay, limit: int) -> None:
    found, _ = _walk(ledger, replay, ContactFilter(), limit)
    assert found == [f"r-{number}" for number in range(40)]


@pytest.mark.parametrize("is_stored", [True, False], ids=["counts stored", "chunks in use"])
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_pages_of_a_state_add_up(ledger: Ledger, replay: Replay, limit: int, is_stored: bool) -> None:
    if not is_stored:
        with ledger.write() as connection:
            connection.execute(chunks.update().values(requests=None))
    found, _ = _walk(ledger, replay, FAILED, limit)
    assert found == [f"r-{number}" for number in range(0, 40, 7)]


@pytest.mark.parametrize("most", [1, 3, 9, 10, 11, 25])
def test_a_page_reads_a_limited_number_of_contacts(
    ledger: Ledger, replay: Replay, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_pages, "MOST_READ", most)
    rare = ContactFilter(text="r-3")
    found, pages = _walk(ledger, replay, rare, 50)
    assert found == ["r-3", *(f"r-{number}" for number in range(30, 40))]
    assert pages >= 40 / (most + 10)


def test_chunks_beyond_the_first_ones_are_found_on_later_pages(
    ledger: Ledger, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_pages, "_MOST_CHUNKS", 2)
    found, pages = _walk(ledger, replay, ContactFilter(), 50)
    assert found == [f"r-{number}" for number in range(40)]
    assert pages > 1


def test_chunks_without_such_contacts_are_not_read(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(40)], chunk_size=10)
    end(ledger, replay, [ContactState.COMPLETED] * 39 + [ContactState.FAILED])
    _store_counts(ledger, replay)
    with record_statements(ledger) as statements:
        page = find_contacts(ledger, replay.no, FAILED)
    assert [contact.response_id for contact in page.contacts] == ["r-39"]
    assert sum("FROM whatsapp_flows_contacts" in statement for statement, _ in statements) == 1


def test_filters_by_error_step_and_text(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(4)])
    ids = end(ledger, replay, [ContactState.COMPLETED] * 4)
    change(ledger, ids[0], fingerprint="abc", path='["Ask \\"name\\"","Año"]', handled_errors=2)
    change(ledger, ids[1], error='{"message":"50% off"}', path='["A\\u00f1o"]')
    change(ledger, ids[2], reason="Créate: 50 off", path='["Ask"]')

    def ids_of(**chosen: Any) -> list[str | None]:
        return [one.response_id for one in find_contacts(ledger, replay.no, ContactFilter(**chosen)).contacts]

    assert ids_of(fingerprint="abc") == ["r-0"]
    assert ids_of(handled=True) == ["r-0"]
    assert ids_of(step='Ask "name"') == ["r-0"]
    assert ids_of(step="Año") == ["r-0", "r-1"]
    assert ids_of(text="50%") == ["r-1"]
    assert ids_of(text="créATE: 50") == ["r-2"]  # the case of other than ASCII letters depends on the database
    assert ids_of(text="' OR 1=1 --") == []
    assert ids_of(text="R-3") == ["r-3"]


def test_finds_a_contact_by_each_identifier(ledger: Ledger) -> None:
    values = [response(number) for number in range(3)]
    values[1]["contact"]["email"] = "Ana@Example.com"
    replay = a_replay(ledger, values)
    a_replay(ledger, [response(number) for number in range(3)], "second", force=True)

    def find(text: str) -> list[str | None]:
        return [one.response_id for one in find_by_identifier(ledger, replay.no, FLOW_ID, text)]

    assert find("r-2") == ["r-2"]
    assert find("+52 55 0000 0002") == ["r-2"]
    assert find("ana@example.com") == ["r-1"]
    assert find("nobody") == []
    assert find("") == []


def test_a_replay_that_is_being_read_has_no_contacts_yet(ledger: Ledger) -> None:
    assert find_contacts(ledger, 99, ContactFilter()).contacts == []


def test_known_rows_show_their_full_reason(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    end(ledger, first, [ContactState.COMPLETED])
    second = a_replay(ledger, [response(1)], "second")
    [line] = find_contacts(ledger, second.no, ContactFilter()).contacts
    assert line.state is ContactState.SKIPPED
    assert line.reason == "done: the replay first completed it"


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(ContactFilter(), id="all"),
        pytest.param(FAILED, id="state"),
        pytest.param(ContactFilter(fingerprint="abc", handled=True), id="error"),
        pytest.param(ContactFilter(step="Create", text="x"), id="text"),
    ],
)
def test_no_statement_reads_all_contacts(ledger: Ledger, replay: Replay, chosen: ContactFilter) -> None:
    with record_statements(ledger) as statements:
        find_contacts(ledger, replay.no, chosen, (1, 2))
        find_by_identifier(ledger, replay.no, FLOW_ID, "+525500000002")
        find_by_identifier(ledger, replay.no, FLOW_ID, "ana@example.com")
    assert full_scans(ledger, statements) == []


@pytest.mark.parametrize("condition", ["reason = 'x'", "id > 0 AND reason = 'x'"])
def test_a_full_scan_would_be_noticed(ledger: Ledger, replay: Replay, condition: str) -> None:
    if "id" in condition and not ledger.is_sqlite:
        pytest.skip("PostgreSQL may use any index for it")
    with record_statements(ledger) as statements, ledger.read() as connection:
        connection.exec_driver_sql(f"SELECT reason FROM whatsapp_flows_contacts WHERE {condition}")
    assert full_scans(ledger, statements)

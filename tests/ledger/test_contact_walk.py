"""One contact of a replay, with each attempt for its response."""

from __future__ import annotations

import json

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.contact_walk import MOST_BYTES, read_attempts, read_contacts
from tests.ledger.filling import FLOW, a_replay, attempt, change, end, response, result, rows_of
from tests.ledger.plans import full_scans, record_statements


def test_reads_a_contact_and_its_attempts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(3)])
    end(ledger, replay, [ContactState.COMPLETED] * 3)
    attempt(ledger, "r-1", Fate.ANSWERED, replay, status_code=500, result=result({"error": "no"}, outcome="error"))
    attempt(ledger, "r-1", Fate.SUCCEEDED, number=2, origin='{"dag":"lead","run":"manual"}', result=result({"id": 7}))
    attempt(ledger, "r-2", None, replay)
    [contact] = read_contacts(ledger, replay, "r-1")
    assert (contact.state, contact.path, contact.reason) == (ContactState.COMPLETED, ["Create"], "why")
    assert json.loads(contact.response or "")["id"] == "r-1"
    first, second = read_attempts(ledger, replay, contact)[0]
    assert (first.replay_id, first.status_code, first.reply) == ("first", 500, '{"error":"no"}')
    assert (second.replay_id, second.origin["run"], second.reply, second.url) == (None, "manual", '{"id":7}', "/v1/x")


def test_pages_of_attempts_add_up(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    for number in range(1, 6):
        attempt(ledger, "r-1", Fate.SUCCEEDED, replay, number=number)
    [contact] = read_contacts(ledger, replay, "r-1")
    page, later = read_attempts(ledger, replay, contact, limit=3)
    assert [one.number for one in page] == [1, 2, 3]
    assert later == page[-1].id
    page, later = read_attempts(ledger, replay, contact, later or 0, limit=3)
    assert [one.number for one in page] == [4, 5]
    assert later is None


def test_a_long_response_or_reply_is_not_read(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1, step={"Ask name": "x" * MOST_BYTES})])
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, result=result("y" * MOST_BYTES))
    [contact] = read_contacts(ledger, replay, "r-1")
    assert contact.response is None
    assert contact.response_bytes > MOST_BYTES
    [one] = read_attempts(ledger, replay, contact)[0]
    assert one.reply is None
    assert one.reply_bytes > MOST_BYTES


def test_values_that_the_flow_calls_sensitive_are_hidden(ledger: Ledger) -> None:
    question = {"name": "Ask name", "type": "question", "next": "Create"}
    flow = {**FLOW, "sensitive": ["step.Ask name"], "steps": [question, *FLOW["steps"]]}
    replay = a_replay(ledger, [response(1, step={"Ask name": "Guadalupe"})], flow=flow)
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, result=result({"greeting": "Hello Guadalupe"}))
    [contact] = read_contacts(ledger, replay, "r-1")
    [one] = read_attempts(ledger, replay, contact)[0]
    assert one.reply is not None
    assert "Guadalupe" not in one.reply
    change(ledger, contact.id, response=None)
    [contact] = read_contacts(ledger, replay, "r-1")
    assert read_attempts(ledger, replay, contact)[0][0].reply is None  # it is unknown what must be hidden


def test_no_reply_is_shown_if_it_is_unknown_what_is_sensitive(ledger: Ledger) -> None:
    of_another_release = {**FLOW, "sensitive": ["step.Ask name"], "key_of_another_release": 1}
    replay = a_replay(ledger, [response(1)], flow=of_another_release)
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, result=result({"greeting": "Hello Guadalupe"}))
    [contact] = read_contacts(ledger, replay, "r-1")
    assert read_attempts(ledger, replay, contact)[0][0].reply is None


def test_a_row_without_content_of_its_own_is_found_by_its_number(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    end(ledger, first, [ContactState.COMPLETED])
    second = a_replay(ledger, [response(1)], "second")
    [row] = rows_of(ledger, second)
    assert read_contacts(ledger, second, "r-1") == []
    [contact] = read_contacts(ledger, second, "r-1", row.id)
    assert contact.reason == "done: the replay first completed it"
    assert json.loads(contact.response or "")["id"] == "r-1"
    assert read_contacts(ledger, second, "r-2", row.id) == []
    assert read_contacts(ledger, first, "r-1", row.id) == []


def test_no_statement_reads_all_contacts_or_attempts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(50)])
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay)
    with record_statements(ledger) as statements:
        [contact] = read_contacts(ledger, replay, "r-1")
        read_contacts(ledger, replay, "r-1", contact.id)
        read_attempts(ledger, replay, contact)
    assert full_scans(ledger, statements) == []

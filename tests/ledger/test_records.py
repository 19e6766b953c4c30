"""The records of contacts to be walked."""

from __future__ import annotations

import json

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.identity import Identity, IdentityRule
from airflow_whatsapp_flows.ledger import AttemptEnd, ContactState, Ledger, Subject
from airflow_whatsapp_flows.ledger.attempts import group_by_type, write_entries
from airflow_whatsapp_flows.ledger.records import Page, read_pending_contacts, responses_sent_to
from tests.ledger.filling import FLOW_ID, a_replay, attempt, change, end, intent, record_of, response, result, rows_of


def test_pages_hold_pending_contacts_in_source_order(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(7)], chunk_size=5)
    end(ledger, replay, [ContactState.COMPLETED])

    with ledger.read() as connection:
        first = read_pending_contacts(connection, Page(FLOW_ID, replay.no, 0, 0, 3))
        rest = read_pending_contacts(connection, Page(FLOW_ID, replay.no, 0, first[-1].id, 3))
        other = read_pending_contacts(connection, Page(FLOW_ID, replay.no, 1, 0, 3))

    assert [contact.response_id for contact in first] == ["r-1", "r-2", "r-3"]
    assert [contact.response_id for contact in rest] == ["r-4"]
    assert [contact.response_id for contact in other] == ["r-5", "r-6"]
    assert (first[0].place, first[0].phone, first[0].round) == ("x:2", "+525500000001", 1)
    assert json.loads(first[0].response) == response(1)
    assert (first[0].record.walk_started_at, first[0].record.tried) == (None, [])


def test_a_record_holds_all_attempts_and_marks_this_round(ledger: Ledger) -> None:
    earlier, replay = a_replay(ledger, [response(2)], "earlier"), a_replay(ledger, [response(1), response(3)])
    attempt(ledger, "r-1", Fate.ANSWERED, earlier, result=result(None, outcome="error"), moment=100.0)
    attempt(ledger, "r-1", Fate.NOT_SENT, None, number=2, moment=200.0)
    attempt(ledger, "r-1", None, replay, number=3, round=1)
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, number=4, round=2, result=result({"id": 7}))
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, flow_id="another")
    change(ledger, rows_of(ledger, replay)[0].id, round=2)

    with ledger.read() as connection:
        first, third = read_pending_contacts(connection, Page(FLOW_ID, replay.no, 0, 0, 9))

    tried = [one.attempt for one in first.record.tried]
    assert first.record.walk_started_at == 100.0
    assert [one.number for one in tried] == [1, 2, 3, 4]
    assert [one.fate for one in tried] == [Fate.ANSWERED, Fate.NOT_SENT, None, Fate.SUCCEEDED]
    assert [one.current for one in tried] == [False, False, False, True]
    settled = first.record.find_settled_result("Create", 1)
    assert settled is not None
    assert settled.response == {"id": 7}
    assert first.record.find_settled_result("Create", 2) is None
    assert third.record.tried == []


def test_reads_the_record_of_a_dag_run(ledger: Ledger) -> None:
    attempt(ledger, "run-1", Fate.UNKNOWN, round=1)

    with ledger.read() as connection:
        record = record_of(connection, Subject(FLOW_ID, "run-1"), None, 1)
        nothing = record_of(connection, Subject(FLOW_ID, "run-2"), None, 1)

    assert [(one.step, one.visit, one.key, one.attempt.current) for one in record.tried] == [
        ("Create", 1, "key-run-1", True)
    ]
    assert nothing.tried == []


def test_only_once_includes_requests_of_dag_runs(ledger: Ledger) -> None:
    run = intent("manual__1", phone="+525599990000")
    with ledger.write() as connection:
        write_entries(connection, group_by_type([run]))
        write_entries(connection, group_by_type([AttemptEnd(run, Fate.SUCCEEDED, 201, None, None, 1.0)]))
        people = [Identity("+525599990000"), Identity("+525500000001")]
        sent = responses_sent_to(connection, FLOW_ID, people)
        assert sent == {"phone:+525599990000": {"manual__1"}}
        assert responses_sent_to(connection, "other", people) == {}


def test_only_once_matches_every_identifier(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1, contact={"phone": "+525512345678", "email": "ana@example.com", "id": 77})])
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay)
    attempt(ledger, "run-1", Fate.UNKNOWN, identifiers=(("user_id", "BR.15"), ("phone", "+525587654321")))
    attempt(ledger, "run-2", Fate.ANSWERED, identifiers=(("user_id", "BR.16"),))

    def find_sent(**contact: object) -> set[str]:
        with ledger.read() as connection:
            found = responses_sent_to(connection, FLOW_ID, [IdentityRule().of(contact)])
        return set().union(*found.values())

    assert (
        find_sent(email="Ana@example.com")
        == find_sent(id="77")
        == find_sent(canonical_phone="+5215512345678")
        == {"r-1"}
    )
    assert find_sent(user_id="BR.15") == find_sent(phone="+52 55 8765 4321") == {"run-1"}
    assert find_sent(email="ana@example.com", user_id="BR.15") == {"r-1", "run-1"}
    assert find_sent(user_id="77") == find_sent(id="BR.15") == find_sent(user_id="BR.16") == find_sent() == set()

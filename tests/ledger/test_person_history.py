"""Finding what was sent to one person."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.person_history import (
    Person,
    find_person,
    find_sent,
    queries_of,
    recent_latencies,
    spellings,
)
from airflow_whatsapp_flows.ledger.schema import identifiers
from tests.ledger.filling import a_replay, attempt, end, response

PHONE = "+5255" + "12345678"


def histories(ledger: Ledger, phone: str) -> list[str]:
    with ledger.read() as connection:
        return spellings(connection, phone)


def with_phone(number: int, phone: object) -> dict[str, object]:
    return response(number, contact={"phone": phone})


@pytest.mark.parametrize(
    "spelt",
    ["+525512345678", "525512345678", "00525512345678", "+5215512345678", "+52 55 1234-5678", "(52) 55 12345678"],
)
def test_finds_a_person_by_every_spelling_of_the_number(ledger: Ledger, spelt: str) -> None:
    a_replay(ledger, [with_phone(1, spelt), with_phone(2, "+525512345679"), response(3)])
    attempt(ledger, "run-1", None, phone=f" {spelt}", flow_id="d")

    assert histories(ledger, PHONE) == [f" {spelt}", PHONE]
    assert histories(ledger, "+52 1 55 1234 5678") == [f" {spelt}", PHONE]


@pytest.mark.parametrize(("spelt", "asked"), [("+5491155556666", "+541155556666"), ("+551187654321", "+5511987654321")])
def test_numbers_with_an_optional_digit_are_one_person(ledger: Ledger, spelt: str, asked: str) -> None:
    attempt(ledger, "run-1", None, phone=spelt, flow_id="d")

    assert histories(ledger, asked) == [spelt]


@pytest.mark.parametrize(
    "spelt", ["whatsapp:+5215512345678", "+５２ ５５ 1234 5678", "tel:+52-55-1234-5678", "5215512345678"]
)
def test_finds_a_person_by_spellings_of_earlier_releases(ledger: Ledger, spelt: str) -> None:
    attempt(ledger, "run-1", None, phone=spelt, flow_id="d")
    attempt(ledger, "run-2", None, phone="whatsapp:+525512345679", flow_id="d")

    assert histories(ledger, PHONE) == [spelt]


def test_a_number_with_only_the_same_ending_is_another_person(ledger: Ledger) -> None:
    a_replay(ledger, [with_phone(1, "+15512345678"), with_phone(2, "+5255123456789")])

    assert histories(ledger, PHONE) == []


def test_finds_a_numeric_phone(ledger: Ledger) -> None:
    a_replay(ledger, [with_phone(1, 525512345678)])

    assert histories(ledger, PHONE) == [PHONE]


def test_text_without_digits_identifies_no_one(ledger: Ledger) -> None:
    a_replay(ledger, [with_phone(1, "%"), with_phone(2, "Ana")])

    assert histories(ledger, "%") == histories(ledger, "") == []


def test_finds_all_replays_and_dag_runs_oldest_first(ledger: Ledger) -> None:
    first = a_replay(ledger, [with_phone(1, PHONE), response(2)])
    second = a_replay(ledger, [with_phone(3, PHONE), with_phone(3, PHONE)], "second")
    attempt(ledger, "r-3", Fate.ANSWERED, second, begun_at=950.0, status_code=404)
    attempt(ledger, "r-1", Fate.SUCCEEDED, first, begun_at=901.0, status_code=201, visit=2, number=3)
    attempt(ledger, "r-2", Fate.SUCCEEDED, first)
    attempt(ledger, "run-1", None, begun_at=940.0, phone=PHONE, origin='{"dag": "d", "run": "run-1"}', flow_id="d")
    attempt(ledger, "run-2", None, phone="+525500000000")

    found = list(find_sent(ledger, Person([PHONE])))

    assert [(sent.response_id, sent.replay_id) for sent in found] == [
        ("r-1", "first"),
        ("run-1", None),
        ("r-3", "second"),
    ]
    assert (found[0].visit, found[0].number, found[0].status_code, found[0].fate) == (2, 3, 201, "succeeded")
    assert (found[1].origin, found[1].fate, found[1].flow_id) == ({"dag": "d", "run": "run-1"}, None, "d")
    assert (found[2].host, found[2].method, found[2].step, found[2].key) == ("crm:443", "POST", "Create", "key-r-3")


def test_a_rejected_row_does_not_show_another_persons_attempts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), with_phone(1, PHONE)])
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay)

    assert list(find_sent(ledger, Person([PHONE]))) == []


BY = [("id", " 77 "), ("user_id", "BR.15"), ("email", "ANA@example.com"), ("phone", "+52 55 8765 4321")]


@pytest.mark.parametrize(("kind", "value"), BY)
def test_finds_a_person_by_every_identifier(ledger: Ledger, kind: str, value: str) -> None:
    ana = {
        "id": 77, "user_id": "BR.15", "email": "Ana@Example.com", "phone": "+525512345678",
        "canonical_phone": "+525587654321",
    }  # fmt: skip
    replay = a_replay(ledger, [response(1, contact=ana), response(2, contact={"id": "BR.15", "user_id": "77"})])
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay)
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay)
    others = (("id", "77"), ("email", "ana@example.com"), ("phone", "+525587654321"), ("user_id", "BR.15"))
    attempt(ledger, "run-1", Fate.SUCCEEDED, identifiers=others)
    attempt(ledger, "run-2", Fate.SUCCEEDED, identifiers=(("id", "78"),))

    with ledger.read() as connection:
        person = find_person(connection, kind, value)

    assert sorted(sent.response_id for sent in find_sent(ledger, person)) == ["r-1", "run-1"]


def test_an_identifier_that_a_flow_lists_is_found_as_an_id(ledger: Ledger) -> None:
    attempt(ledger, "run-1", Fate.SUCCEEDED, identifiers=(("contact.meta.crm_id", "C-1"),), flow_id="lead")

    with ledger.read() as connection:
        person = find_person(connection, "id", "C-1")
        assert not find_person(connection, "user_id", "C-1")
        assert not find_person(connection, "id", "c-1")

    assert [sent.response_id for sent in find_sent(ledger, person)] == ["run-1"]


def test_a_person_known_to_many_flows_is_found_by_one_query(ledger: Ledger) -> None:
    flows = [f"flow-{number}" for number in range(1200)]
    known = [{"kind": "email", "value": "ana@example.com", "flow_id": flow, "response_id": "r"} for flow in flows]
    with ledger.write() as connection:
        connection.execute(insert(identifiers), known)
    for flow in (flows[0], flows[-1], "another"):
        attempt(ledger, "r", Fate.SUCCEEDED, flow_id=flow)
    with ledger.read() as connection:
        person = find_person(connection, "email", "ana@example.com")
    assert len(person.identifiers) == 1200
    assert len(queries_of(person)) == 3
    assert {sent.flow_id for sent in find_sent(ledger, person)} == {flows[0], flows[-1]}
    some = Person(identifiers=[("email", "ana@example.com", flows[0])])
    assert [sent.flow_id for sent in find_sent(ledger, some)] == [flows[0]]


def test_the_latency_of_a_host_is_the_median_of_recent_replies(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [ContactState.COMPLETED])
    for number, seconds in enumerate((0.1, 0.3, 9.0), start=1):
        attempt(
            ledger,
            "r-1",
            Fate.SUCCEEDED,
            replay,
            number=number,
            begun_at=100.0,
            ended_at=100.0 + seconds,
            status_code=200,
        )
    attempt(ledger, "r-1", Fate.NOT_SENT, replay, number=4, ended_at=5000.0)

    with ledger.read() as connection:
        assert recent_latencies(connection, {"crm:443", "other:443"}) == {"crm:443": pytest.approx(0.3)}

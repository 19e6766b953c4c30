"""Erasing personal data: what is erased, what is kept, and that the bytes are gone."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select, text

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.person_history import Person, find_person
from airflow_whatsapp_flows.ledger.purge import (
    DataSelection,
    StoredData,
    find_data,
    find_flows_of,
    find_pending_replays,
    find_remains,
    purge,
)
from airflow_whatsapp_flows.ledger.schema import identifiers, replays
from tests.ledger.filling import a_replay, attempt, attempts_of, change, end, response, result, rows_of, states_of
from tests.ledger.plans import full_scans, record_statements

C, F, P = ContactState.COMPLETED, ContactState.FAILED, ContactState.PENDING
PHONES = ["+525500000001"]


def a_ledger(ledger: Ledger) -> None:
    first = response(1, step={"Ask name": "Xochitl"})
    replay = a_replay(ledger, [first, response(2), first])
    end(ledger, replay, [C, F], error='{"message": "m"}', path='["Create"]', fingerprint="f")
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, result=result({"name": "Xochitl"}), status_code=201)
    attempt(ledger, "r-2", Fate.ANSWERED, replay, result=result("no"))
    attempt(ledger, "run-1", Fate.SUCCEEDED, phone=PHONES[0], result=result(), origin='{"dag": "d"}')


def test_purges_personal_data_and_keeps_keys_states_and_times(ledger: Ledger) -> None:
    a_ledger(ledger)
    data = DataSelection(person=Person(PHONES))
    assert find_data(ledger, data) == StoredData(contacts=1, attempts=2, pending=0, replays=())

    held, gone = purge(ledger, data, "ana")

    assert (held, gone) == (StoredData(1, 2, 0, ()), True)
    replay = type("Replay", (), {"no": 1})()
    first, second, third = rows_of(ledger, replay)
    assert (first.response, first.phone, first.error, first.reason) == (None, None, None, "purged")
    assert (first.response_id, first.state, first.ended_at, first.path) == ("r-1", "completed", 1000.0, '["Create"]')
    assert (first.digest is not None, first.fingerprint) == (True, "f")
    assert (second.phone, second.error) == ("+525500000002", '{"message": "m"}')
    assert second.response is not None
    assert (third.response, third.phone, third.state) == (None, None, "skipped")
    assert third.reason.startswith("duplicate")
    (sent,) = attempts_of(ledger, "r-1")
    assert (sent.result, sent.phone, sent.key, sent.fate, sent.status_code) == (None, None, "key-r-1", "succeeded", 201)
    (in_dag,) = attempts_of(ledger, "run-1")
    assert (in_dag.result, in_dag.phone, json.loads(in_dag.origin)["dag"]) == (None, None, "d")
    assert attempts_of(ledger, "r-2")[0].result is not None
    assert find_data(ledger, data) == StoredData(0, 0, 0, ())


def test_recognizes_a_purged_response(ledger: Ledger) -> None:
    a_ledger(ledger)
    purge(ledger, DataSelection(replay_no=1), "ana")

    again = a_replay(ledger, [response(1, step={"Ask name": "Xochitl"}), response(1, step={"Ask name": "B"})], "again")

    rows = rows_of(ledger, again)
    assert [row.state for row in rows] == ["skipped", "rejected"]
    assert rows[0].reason.startswith("done")
    assert rows[1].reason.startswith("id_reused")


def test_purges_one_replay_and_keeps_the_others(ledger: Ledger) -> None:
    a_ledger(ledger)
    other = a_replay(ledger, [response(7)], "other")
    end(ledger, other, [C])

    assert purge(ledger, DataSelection(replay_no=1), "ana")[0] == StoredData(2, 2, 0, ())
    assert rows_of(ledger, other)[0].response is not None
    assert attempts_of(ledger, "run-1")[0].phone is not None


def test_purges_contacts_that_ended_before_a_date(ledger: Ledger) -> None:
    a_ledger(ledger)
    other = a_replay(ledger, [response(7), None], "other")
    end(ledger, other, [C], at=5000.0)
    with ledger.read() as connection:
        taken = connection.execute(select(replays.c.created_at).where(replays.c.no == 1)).scalar_one()

    held, _ = purge(ledger, DataSelection(before=2000.0), "ana")

    # A contact that was never walked is as old as its replay.
    assert held == StoredData(contacts=2, attempts=3, pending=0, replays=())
    assert rows_of(ledger, other)[0].response is not None
    assert purge(ledger, DataSelection(before=taken + 1e6), "ana")[0].contacts == 2


def test_purges_ids_of_rejected_rows(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), {"id": "+525512345678", "answer": 1}, response(1, step={})])
    end(ledger, replay, [C])
    change(ledger, rows_of(ledger, replay)[1].id, response_id="+525512345678")

    purge(ledger, DataSelection(replay_no=replay.no), "ana")

    rows = rows_of(ledger, replay)
    assert [row.response_id for row in rows] == ["r-1", None, None]
    assert [row.reason for row in rows] == ["purged"] * 3


def test_keeps_data_of_pending_contacts(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1), response(2)])
    end(ledger, first, [F, C])
    attempt(ledger, "r-1", Fate.SUCCEEDED, first, result=result({"id": 7}))
    second = a_replay(ledger, [response(1)], "second")
    assert states_of(ledger, second) == ["pending"]

    held, _ = purge(ledger, DataSelection(replay_no=first.no), "ana")

    assert held == StoredData(contacts=1, attempts=0, pending=1, replays=("second",))
    assert rows_of(ledger, first)[0].response is not None
    assert attempts_of(ledger, "r-1")[0].result is not None
    assert find_data(ledger, DataSelection(person=Person(PHONES))) == StoredData(0, 0, 2, ("second",))


def test_removes_the_bytes_from_the_file_and_its_log(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        values = [response(number, step={"Ask name": f"Xochitl {number}"}) for number in range(300)]
        values[150]["contact"]["phone"] = "+5255777788889999"
        values[150]["step"]["Ask name"] = "Cuauhtémoc"
        replay = a_replay(ledger, values)
        end(ledger, replay, [C] * 300, path='["Create"]')
        for number in range(300):
            attempt(ledger, f"r-{number}", Fate.SUCCEEDED, replay, result=result(values[number]["contact"]))
        needles = [b"777788889999", "Cuauhtémoc".encode()]
        assert all(any(needle in content for content in _files(tmp_path)) for needle in needles)

        held, gone = purge(ledger, DataSelection(person=Person(["+5255777788889999"])), "ana")

        assert (held.contacts, held.attempts, gone) == (1, 1, True)
        assert not [needle for content in _files(tmp_path) for needle in needles if needle in content]
        assert any(b"Xochitl 7" in content for content in _files(tmp_path))


def test_reports_bytes_that_another_process_can_still_read(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_whatsapp_flows.ledger.engine._BUSY_SECONDS", 0.1)
    a_ledger(sqlite_ledger)
    with Ledger(f"sqlite:///{sqlite_ledger.file}") as impatient:
        reader = sqlite3.connect(str(sqlite_ledger.file), isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM whatsapp_flows_contacts").fetchone()

        assert purge(impatient, DataSelection(person=Person(PHONES)), "ana")[1] is False
        reader.close()
    with sqlite_ledger.read() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"


def _files(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir() if file.is_file()]


@pytest.mark.parametrize(("kind", "value"), [("email", "ana@example.com"), ("phone", PHONES[0]), ("id", "77")])
def test_purges_a_person_by_any_identifier_and_all_identifiers(ledger: Ledger, kind: str, value: str) -> None:
    ana = {"id": "77", "email": "ana@example.com", "phone": PHONES[0]}
    replay = a_replay(ledger, [response(1, contact=ana), response(2, contact={"email": "eva@example.com", "id": "78"})])
    end(ledger, replay, [C, C])
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, result=result())
    known = (("email", "ana@example.com"), ("id", "77"))
    attempt(ledger, "run-1", Fate.SUCCEEDED, phone=PHONES[0], result=result(), identifiers=known)
    attempt(ledger, "run-2", Fate.SUCCEEDED, result=result(), identifiers=(("id", "79"),))
    with ledger.read() as connection:
        person = find_person(connection, kind, value)

    assert purge(ledger, DataSelection(person=person), "ana")[0] == StoredData(1, 2, 0, ())

    with ledger.read() as connection:
        assert not find_person(connection, kind, value)
        left = connection.execute(select(identifiers.c.value).order_by(identifiers.c.value)).scalars().all()
    assert left == ["78", "79", "eva@example.com"]
    assert [row.response is None for row in rows_of(ledger, replay)] == [True, False]
    assert attempts_of(ledger, "run-2")[0].result is not None


@pytest.mark.parametrize(
    "origin", [None, "{}", '{"dag_id": "d", "was": {"fate": "}"}}'], ids=["none", "empty", "nested"]
)
def test_each_erased_request_says_who_erased_it_and_when(ledger: Ledger, origin: str | None) -> None:
    a_ledger(ledger)
    attempt(ledger, "run-2", Fate.SUCCEEDED, phone=PHONES[0], result=result(), origin=origin)

    purge(ledger, DataSelection(person=Person(PHONES)), 'Ana "A" }')

    stored = json.loads(attempts_of(ledger, "run-2")[0].origin)
    noted = stored.pop("erased")
    assert (noted["by"], noted["at"] > 1.7e9) == ('Ana "A" }', True)
    assert stored == json.loads(origin or "{}")
    assert attempts_of(ledger, "r-2")[0].origin is None


def test_a_person_is_looked_for_and_erased_without_reading_the_data_of_others(ledger: Ledger) -> None:
    a_ledger(ledger)
    attempt(ledger, "run-3", Fate.SUCCEEDED, result=result(), flow_id="other", identifiers=(("phone", PHONES[0]),))
    with ledger.read() as connection:
        person = find_person(connection, "phone", PHONES[0])
    with record_statements(ledger) as statements:
        assert find_flows_of(ledger, person) == {"lead", "other"}
        assert find_remains(ledger, person) == ["r-1", "run-1", "run-3"]
        assert find_pending_replays(ledger, person) == set()
        purge(ledger, DataSelection(person=person), "ana")
    assert full_scans(ledger, statements) == []
    assert find_flows_of(ledger, person) == set()

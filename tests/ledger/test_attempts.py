"""Entries written many at a time are stored unchanged."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, ContactEnd, ContactState, Ledger
from airflow_whatsapp_flows.ledger.attempts import (
    ATTEMPT_KEY,
    ATTEMPT_OUTCOME,
    INTENT_FIELDS,
    group_by_type,
    write_entries,
)
from airflow_whatsapp_flows.ledger.rows import NextRound, Subject
from airflow_whatsapp_flows.ledger.schema import attempts
from tests.ledger.filling import a_replay, attempts_of, intent, response, rows_of

TEXT = "Ñandú 🦩 'quoted' \"double\" \\ {}[]:; %s ? \n\t\x7f"


def write(ledger: Ledger, *entries: object) -> None:
    with ledger.write() as connection:
        write_entries(connection, group_by_type(entries))  # type: ignore[arg-type]


def test_stores_every_field_of_an_attempt(ledger: Ledger) -> None:
    one = intent(
        "r-1", step=TEXT, visit=3, number=2, digest="d1", method="PUT", host="h:1", moment=1700000000.123456,
        begun_at=1700000001.654321, replay_no=7, round=4, phone="+52", origin=TEXT,
    )  # fmt: skip
    write(ledger, one)
    (row,) = attempts_of(ledger, "r-1")
    assert (row.fate, row.result, row.ended_at) == (None, None, None)
    assert (row.flow_id, row.step, row.visit, row.key, row.number) == ("lead", TEXT, 3, "key-r-1", 2)
    assert (row.digest, row.method, row.host) == ("d1", "PUT", "h:1")
    assert (row.moment, row.begun_at) == (1700000000.123456, 1700000001.654321)
    assert (row.replay_no, row.round, row.phone, row.origin) == (7, 4, "+52", TEXT)

    write(ledger, AttemptEnd(one, Fate.ANSWERED, 404, "status", TEXT, 1700000002.5))

    (row,) = attempts_of(ledger, "r-1")
    assert (row.fate, row.status_code, row.error_kind, row.result) == ("answered", 404, "status", TEXT)
    assert row.ended_at == 1700000002.5


def test_stores_every_field_of_a_contact(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])
    first, second = rows_of(ledger, replay)
    write(
        ledger,
        ContactEnd(first.id, ContactState.IN_DOUBT, TEXT, 5.25, TEXT, TEXT, "f", 3, True),
        ContactEnd(second.id, ContactState.COMPLETED, "", 6.0),
    )

    first, second = rows_of(ledger, replay)
    assert (first.state, first.reason, first.ended_at, first.path, first.error) == ("in_doubt", TEXT, 5.25, TEXT, TEXT)
    assert (first.fingerprint, first.handled_errors, first.unanswered) == ("f", 3, True)
    assert (second.state, second.path, second.handled_errors, second.unanswered) == ("completed", None, 0, False)
    assert not second.reason


def test_whole_numbers_among_others_are_stored(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3)])
    write(
        ledger,
        *(
            ContactEnd(row.id, ContactState.COMPLETED, "", ended_at, handled_errors=count)
            for row, ended_at, count in zip(rows_of(ledger, replay), (5, 6.5, 7), (1, 300, 100_000), strict=True)
        ),
    )

    rows = rows_of(ledger, replay)
    assert [row.ended_at for row in rows] == [5.0, 6.5, 7.0]
    assert [row.handled_errors for row in rows] == [1, 300, 100_000]


def test_the_rows_of_a_commit_are_one_statement_on_a_server(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3)])
    ended = [intent("r-1"), intent("r-2")]
    write(ledger, *ended)
    statements: list[str] = []
    with ledger.write() as connection:
        event.listen(connection, "before_cursor_execute", lambda *given: statements.append(given[2]))
        write_entries(connection, group_by_type([
                intent("r-3"), *(AttemptEnd(one, Fate.SUCCEEDED, 201, None, None, 5.0) for one in ended),
                *(ContactEnd(row.id, ContactState.COMPLETED, "", 6.0) for row in rows_of(ledger, replay)[:2]),
            ]))  # fmt: skip

    assert len(statements) == (3 if ledger.is_sqlite else 1)
    assert [row.state for row in rows_of(ledger, replay)] == ["completed", "completed", "pending"]
    found = [attempts_of(ledger, f"r-{number}")[0].fate for number in (1, 2, 3)]
    assert found == ["succeeded", "succeeded", None]


def test_an_end_changes_only_its_own_attempt(ledger: Ledger) -> None:
    others = [
        intent("r-1", visit=2),
        intent("r-1", number=2),
        intent("r-1", key="k"),
        intent("r-1", step="S"),
        intent("r-2"),
    ]
    write(ledger, intent("r-1"), *others)

    write(ledger, AttemptEnd(intent("r-1"), Fate.SUCCEEDED, 200, None, None, 1.0))

    rows = attempts_of(ledger, "r-1") + attempts_of(ledger, "r-2")
    assert [row.fate for row in rows] == ["succeeded", None, None, None, None, None]


def test_accepts_an_end_and_the_next_intent_in_one_commit(ledger: Ledger) -> None:
    write(ledger, intent("r-1"))

    write(ledger, AttemptEnd(intent("r-1"), Fate.NOT_SENT, None, "connect", None, 1.0), intent("r-1", number=2))

    assert [(row.number, row.fate) for row in attempts_of(ledger, "r-1")] == [(1, "not_sent"), (2, None)]


def test_refuses_the_whole_commit_of_a_duplicate_intent(ledger: Ledger) -> None:
    write(ledger, intent("r-1"))

    with pytest.raises(Exception, match="cannot be written") as raised:
        write(ledger, intent("r-0"), intent("r-1", digest="other"))

    assert isinstance(raised.value.__cause__, IntegrityError)
    assert attempts_of(ledger, "r-0") == []
    assert attempts_of(ledger, "r-1")[0].digest == "d"


def test_nothing_to_write_is_not_an_error(ledger: Ledger) -> None:
    write(ledger)


def test_keeps_json_escapes_byte_for_byte(ledger: Ledger) -> None:
    json = '{"a": "\\u0000 \\ud83e\\udda9 \\\\u0000", "b": 1e400}'
    write(ledger, intent("r-1"))
    write(ledger, AttemptEnd(intent("r-1"), Fate.SUCCEEDED, 200, None, json, 1.0))

    assert attempts_of(ledger, "r-1")[0].result == json


def test_an_untouched_contact_is_pending_in_a_new_round(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 6)])
    handled, failed, doubted, pending, other = (row.id for row in rows_of(ledger, replay))
    write(
        ledger,
        ContactEnd(handled, ContactState.COMPLETED, "", 1.0, '["A"]', "{}", "f", 1, True),
        ContactEnd(failed, ContactState.FAILED, "no", 1.0),
        ContactEnd(doubted, ContactState.IN_DOUBT, "who knows", 1.0),
        ContactEnd(other, ContactState.COMPLETED, "", 1.0),
        *(NextRound(number) for number in (handled, failed, doubted, pending)),
    )

    rows = rows_of(ledger, replay)
    assert [row.state for row in rows] == ["pending", "pending", "in_doubt", "pending", "completed"]
    assert [row.round for row in rows] == [2, 2, 1, 2, 1]
    assert (rows[0].handled_errors, rows[0].fingerprint, rows[0].error, rows[0].ended_at) == (0, None, None, None)


def test_intents_and_outcomes_write_every_column() -> None:
    written = (*Subject._fields, *INTENT_FIELDS, *ATTEMPT_OUTCOME)
    assert sorted(written) == sorted(column.name for column in attempts.columns if column.name != "id")
    assert set(ATTEMPT_KEY) < set(written)

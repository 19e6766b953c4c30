"""Reruns: rows that the ledger already holds are not stored again."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text

from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.epochs import KNOWN_OF_SUBJECT, SENT_SINCE, WAITING_SINCE, find_known_responses
from airflow_whatsapp_flows.ledger.groups import reason_groups
from airflow_whatsapp_flows.ledger.purge import DataSelection, purge
from airflow_whatsapp_flows.ledger.replays import tally
from airflow_whatsapp_flows.ledger.results import contact_results, iter_responses
from airflow_whatsapp_flows.ledger.retry import RetrySelection, walk_again
from airflow_whatsapp_flows.ledger.schema import contacts
from tests.ledger.filling import FLOW_ID, a_replay, end, response, rows_of, states_of

_SKIPPED = RetrySelection(states=[ContactState.SKIPPED])


def size_of(ledger: Ledger) -> int:
    """Bytes of an SQLite ledger's file after a checkpoint."""
    with sqlite3.connect(ledger.file or "") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (ledger.file or Path()).stat().st_size


def test_known_rows_take_little_space(sqlite_ledger: Ledger) -> None:
    values = [response(number, step={"Ask name": "Ana María " * 20}) for number in range(2000)]
    end(sqlite_ledger, a_replay(sqlite_ledger, values), [ContactState.COMPLETED] * 2000)
    before = size_of(sqlite_ledger)

    for number in range(3):
        name = f"lead_to_crm__replay.send.scheduled__2026-11-29T00:00:00+00:00.{number}"
        again = a_replay(sqlite_ledger, values, name)
        assert tally(sqlite_ledger, again.no).states[ContactState.SKIPPED] == 2000

    assert (size_of(sqlite_ledger) - before) / 6000 <= 120


def test_known_rows_have_a_reason_and_a_response(ledger: Ledger) -> None:
    values = [response(1), response(2), response(1), None]
    end(ledger, a_replay(ledger, values), [ContactState.COMPLETED] * 2)

    later = a_replay(ledger, values, "later")

    results = list(contact_results(ledger, later))
    assert [one.reason for one in results[:3]] == ["done: the replay first completed it"] * 3
    twice = a_replay(ledger, values[:1] * 2, "twice", force=True)
    [first] = contact_results(ledger, twice, ["skipped"])
    assert first.reason == "duplicate: an earlier row of this source is the same response"
    groups = {group.code: (group.count, group.sample.reason) for group in reason_groups(ledger, later.no)}
    assert groups["done"] == (3, "done: the replay first completed it")
    original = list(iter_responses(ledger, a_replay(ledger, [response(1), response(2)], "forced", force=True)))
    assert list(iter_responses(ledger, later)) == [*original, original[0], None]


def test_ignores_responses_of_other_flows_and_rejected_rows(ledger: Ledger) -> None:
    end(ledger, a_replay(ledger, [response(1)]), [ContactState.COMPLETED])
    original = list(iter_responses(ledger, a_replay(ledger, [response(1)], "again", force=True)))
    changed = a_replay(ledger, [response(1, step={"Ask name": "Eva"}), response(1)], "changed")

    assert states_of(ledger, changed) == ["rejected", "skipped"]
    assert list(iter_responses(ledger, changed, ["skipped"])) == original


def test_retried_known_rows_join_the_chunk_of_their_contact(ledger: Ledger) -> None:
    phone = {"phone": "+525500000000"}
    others = [response(number) for number in range(1, 650)]
    values = [response(0, contact=phone), *others, response(650, contact=phone)]
    end(ledger, a_replay(ledger, values), [ContactState.COMPLETED] * 650)
    later = a_replay(ledger, values, "later", chunk_size=2)
    assert states_of(ledger, later) == ["skipped"] * 650 + ["pending"]
    before = rows_of(ledger, later)

    chosen = walk_again(ledger, later, _SKIPPED)

    assert (chosen.contacts, chosen.purged) == (650, 0)
    rows = rows_of(ledger, later)
    with ledger.read() as connection:
        first = connection.execute(select(contacts).where(contacts.c.replay_no == 1).order_by(contacts.c.id)).all()
    content = [[(row.response, row.phone, row.digest) for row in some] for some in (rows, first)]
    assert content[0] == content[1]
    assert (rows[0].chunk, rows[650].chunk) == (325, 325), "one contact is walked in one chunk"
    assert [row.chunk for row in rows[1:]] == [row.chunk for row in before[1:]]


def test_known_rows_of_one_contact_share_a_chunk(ledger: Ledger) -> None:
    values = [response(number, contact={"phone": "+525500000000"}) for number in range(1200)]
    end(ledger, a_replay(ledger, values), [ContactState.COMPLETED] * 1200)
    later = a_replay(ledger, values, "later", chunk_size=100)

    assert walk_again(ledger, later, _SKIPPED).contacts == 1200
    assert len({row.chunk for row in rows_of(ledger, later)}) == 1


@pytest.mark.parametrize("pending", [True, False], ids=["one is pending", "none is"])
def test_known_rows_of_a_person_without_a_phone_share_a_chunk(ledger: Ledger, *, pending: bool) -> None:
    """Ana has an e-mail address, an id, and many rows later both."""
    email, id_ = {"email": "ana@example.com"}, {"id": "a-1"}
    values = [response(number) for number in range(650)]
    for at, contact in ((0, email), (2, id_), (649, {**email, **id_})):
        values[at] = response(at, contact=contact)
    end(ledger, a_replay(ledger, values), [ContactState.COMPLETED] * 650)
    more = [response(650, contact=id_)] if pending else []
    later = a_replay(ledger, [*values, *more], "later", chunk_size=2)

    assert walk_again(ledger, later, _SKIPPED).contacts == 650

    chunks = {row.response_id: row.chunk for row in rows_of(ledger, later)}
    of_ana = {chunks.pop(f"r-{number}") for number in (0, 2, 649, *([650] if pending else []))}
    assert len(of_ana) == 1
    assert chunks["r-300"] == 150


def test_a_known_row_with_purged_content_is_purged(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    end(ledger, first, [ContactState.COMPLETED])
    later = a_replay(ledger, [response(1)], "later")
    purge(ledger, DataSelection(replay_no=first.no), "ana")

    assert list(iter_responses(ledger, later)) == [None]
    chosen = walk_again(ledger, later, _SKIPPED)
    assert (chosen.contacts, chosen.purged) == (0, 1)


@pytest.mark.parametrize("count", [1, 700])
def test_finds_known_responses_by_id_without_a_full_scan(ledger: Ledger, count: int) -> None:
    values = [{**response(number), "id": uuid.uuid4().hex} for number in range(count)]
    end(ledger, a_replay(ledger, values), [ContactState.COMPLETED] * count)
    later = a_replay(ledger, values, "later")

    assert states_of(ledger, later) == ["skipped"] * count


def test_no_query_for_a_response_scans_all_rows(sqlite_ledger: Ledger) -> None:
    asked: list[tuple[str, Any]] = []
    which = {"response_id": "r", "flow_id": FLOW_ID, "epoch": 1, "content": "x"}
    with sqlite_ledger.read() as connection:
        event.listen(
            connection, "before_cursor_execute", lambda _, __, query, values, *___: asked.append((query, values))
        )
        find_known_responses(connection, FLOW_ID, ["r", "s"])
        find_known_responses(connection, FLOW_ID, ["r", "s"], of_runs=False, apart_from=1)
        for query in (KNOWN_OF_SUBJECT, WAITING_SINCE, SENT_SINCE):
            connection.execute(text(query), which)
        plans = [
            connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all() for query, values in list(asked)
        ]

    assert len(plans) == 6
    scans = [step[3] for plan in plans for step in plan if step[3].startswith("SCAN")]
    assert [scan for scan in scans if "VIRTUAL TABLE" not in scan] == []  # that is the list of ids itself


def test_rows_of_a_replay_can_be_left_out(ledger: Ledger) -> None:
    first, second = a_replay(ledger, [response(1)]), a_replay(ledger, [response(1), response(2)], "later")

    with ledger.read() as connection:
        found = find_known_responses(connection, FLOW_ID, ["r-1", "r-2"], apart_from=second.no)

    assert {id_: [one.replay_no for one in known] for id_, known in found.items()} == {"r-1": [first.no]}

"""Stored counts never differ from the rows, whatever happened to them; and they are used."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict
from sqlalchemy import Connection, event, select, update

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, ContactEnd, ContactState, Ledger
from airflow_whatsapp_flows.ledger.acceptance import accept
from airflow_whatsapp_flows.ledger.attempts import group_by_type, write_entries
from airflow_whatsapp_flows.ledger.claims import Claim, claim, release
from airflow_whatsapp_flows.ledger.counts import refresh_counts
from airflow_whatsapp_flows.ledger.groups import error_groups, oldest_in_doubt, reason_groups
from airflow_whatsapp_flows.ledger.person_history import Person
from airflow_whatsapp_flows.ledger.purge import DataSelection, purge
from airflow_whatsapp_flows.ledger.replays import (
    Replay,
    find_pending_chunks,
    find_replay,
    replays_of_source,
    states_of_replays,
    tally,
)
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveSelection, resolve
from airflow_whatsapp_flows.ledger.retry import RetrySelection, walk_again
from airflow_whatsapp_flows.ledger.rows import NextRound
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts
from tests.ledger.filling import FLOW_ID, a_replay, intent, response, rows_of

PENDING, SKIPPED, REJECTED = ContactState.PENDING, ContactState.SKIPPED, ContactState.REJECTED
ENDS = [ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT, SKIPPED, REJECTED]


class Walk:
    """Random work on two replays of the same responses, of which some have two rows."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger, self.random, self.time = ledger, random.Random(seed), 1000.0
        numbers = [*range(14), 3, 5, 3]
        with_email = {"contact": {"email": "ana@example.com"}}
        values: list[Any] = [response(number, **(with_email if number % 7 == 6 else {})) for number in numbers]
        self.replays = [a_replay(ledger, [*values, None, None], "first", chunk_size=4)]
        self.work()
        self.replays.append(a_replay(ledger, values[4:], "second", chunk_size=3))

    def step(self) -> None:
        self.random.choice([self.work, self.work, self.work, self.retry, self.retry, self.resolve, self.purge])()

    def work(self) -> None:
        """Own a chunk for a while; then release it, die, or see that somebody retries contacts meanwhile."""
        replay, connection = self.random.choice(self.replays), self.ledger.connect()
        chunk = self.random.choice(sorted({row.chunk for row in rows_of(self.ledger, replay)}))
        claimed = claim(self.ledger, connection, replay.no, chunk)
        assert claimed is not None
        for row in rows_of(self.ledger, replay):
            if row.chunk == chunk and row.state == PENDING.value and self.random.random() < 0.8:
                self.walk(connection, replay, row)
        if self.random.random() < 0.2:
            self.retry()
        if self.random.random() < 0.25:
            kill(connection, claimed)
            return
        release(self.ledger, connection, claimed)
        connection.close()

    def walk(self, connection: Connection, replay: Replay, row: Any) -> None:
        self.time += 1
        key = f"{replay.no}-{row.id}-{row.round}"
        made = intent(row.response_id, key=key, replay_no=replay.no, round=row.round, begun_at=self.time)
        fate = self.random.choice([*Fate, None])
        state = self.random.choice(ENDS)
        end: Any = ContactEnd(
            row.id, state, self.random.choice(["opt_out: asked", "no", ""]), self.time, '["Create"]',
            fingerprint=self.random.choice([None, "f-1", "f-2"]), handled_errors=self.random.choice([0, 0, 2]),
            unanswered=self.random.random() < 0.3,
        )  # fmt: skip
        if self.random.random() < 0.1:
            end = NextRound(row.id)
        outcome: list[Any] = [] if fate is None else [AttemptEnd(made, fate, 500, None, None, self.time)]
        for entries in [[made], outcome, [end]][: self.random.choice([1, 3, 3, 3])]:
            with self.ledger.write(connection):
                write_entries(connection, group_by_type(entries))

    def retry(self) -> None:
        states = self.random.sample([ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT, SKIPPED], 2)
        only = self.random.choice([None, [0, 2]])
        walk_again(self.ledger, self.random.choice(self.replays), RetrySelection(states=states, chunks=only))

    def resolve(self) -> None:
        finding = Resolution(sent=self.random.random() < 0.5, by="ana")
        resolve(self.ledger, self.random.choice(self.replays), ResolveSelection(step="Create"), finding)

    def purge(self) -> None:
        number = self.random.randrange(14)
        chosen = [DataSelection(person=Person([f"+5255{number:08d}"])), DataSelection(before=self.time - 10)]
        purge(self.ledger, self.random.choice(chosen), "ana")


def kill(connection: Connection, claimed: Claim) -> None:
    if claimed._file is not None:
        claimed._file.close()
    connection.detach()  # in a pool the session, and its advisory locks, would live on
    connection.close()


def requests_of(ledger: Ledger, replay: Replay) -> int:
    with ledger.read() as connection:
        rows = connection.execute(select(attempts).where(attempts.c.replay_no == replay.no)).all()
    return sum(row.fate != Fate.NOT_SENT.value or '"resolved":' in (row.origin or "") for row in rows)


def check(ledger: Ledger, replay: Replay) -> None:
    """Compare every answer with the rows."""
    rows, counted = rows_of(ledger, replay), tally(ledger, replay.no)
    states = Counter(ContactState(row.state) for row in rows)
    assert counted.states == {state: states[state] for state in ContactState}
    assert states_of_replays(ledger)[replay.no] == dict(states)
    assert counted.total == len(rows)
    assert counted.handled_errors == sum(row.handled_errors for row in rows)
    assert counted.handled == sum(row.handled_errors > 0 and row.state == "completed" for row in rows)
    assert counted.unanswered == sum(row.unanswered for row in rows)
    assert counted.requests == requests_of(ledger, replay)
    numbers = sorted({row.chunk for row in rows})
    of_chunks = [tally(ledger, replay.no, [number]) for number in numbers]
    for name in ("total", "handled_errors", "handled", "unanswered", "requests"):
        assert sum(getattr(one, name) for one in of_chunks) == getattr(counted, name), name
    pending = sorted({row.chunk for row in rows if row.state == PENDING.value})
    assert find_pending_chunks(ledger, replay.no) == pending
    [(_, has_ended)] = [one for one in replays_of_source(ledger, FLOW_ID, "x", "m") if one[0].no == replay.no]
    assert has_ended == (not pending)
    errors = {group.fingerprint: group for group in error_groups(ledger, replay)}
    assert set(errors) == {row.fingerprint for row in rows if row.fingerprint}
    for fingerprint, group in errors.items():
        own = [row for row in rows if row.fingerprint == fingerprint]
        assert (group.count, group.first_seen, group.last_seen) == (
            len(own), min(row.ended_at for row in own), max(row.ended_at for row in own),
        )  # fmt: skip
        assert group.in_doubt == sum(row.state == "in_doubt" for row in own)
        assert group.handled == sum(row.state == "completed" for row in own)
    reasons = Counter((row.state, (row.reason or "").split(":")[0]) for row in rows if row.state in (SKIPPED, REJECTED))
    assert {(group.state.value, group.code): group.count for group in reason_groups(ledger, replay.no)} == reasons
    doubtful = [row for row in rows if row.state == "in_doubt" and row.ended_at is not None]
    oldest = min(doubtful, key=lambda row: row.ended_at, default=None)
    assert oldest_in_doubt(ledger, replay.no) == (oldest and (oldest.response_id, oldest.ended_at))


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_the_rows_after_any_work(ledger: Ledger, seed: int) -> None:
    walk = Walk(ledger, seed)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE whatsapp_flows_replays SET source_mark = 'm'")
    stored = 0
    for _ in range(10):
        walk.step()
        for replay in walk.replays:
            check(ledger, replay)
        stored += len(stored_chunks(ledger))
    assert stored > 10  # the counts that were compared


def stored_chunks(ledger: Ledger) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.execute(select(chunks).where(chunks.c.requests.is_not(None))).all())


def test_a_status_does_not_read_the_contacts_of_released_chunks(ledger: Ledger) -> None:
    a_replay(ledger, [response(number) for number in range(6)], chunk_size=2)
    replay = find_replay(ledger, "first")
    assert replay is not None
    with ledger.write() as connection:  # what no part of the program does
        connection.execute(update(contacts).values(state="failed"))

    assert tally(ledger, replay.no).states[PENDING] == 6
    assert states_of_replays(ledger) == {replay.no: {PENDING: 6}}
    assert find_pending_chunks(ledger, replay.no) == [0, 1, 2]


def test_an_owner_that_was_replaced_stores_no_counts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    with ledger.connect() as first, ledger.connect() as second:
        claimed = claim(ledger, first, replay.no, 0)
        assert claimed is not None
        if claimed._file is not None:
            claimed._file.close()
        else:
            first.exec_driver_sql("SELECT pg_advisory_unlock_all()")
            first.commit()
        later = claim(ledger, second, replay.no, 0)
        assert later is not None
        release(ledger, first, claimed)
        assert stored_chunks(ledger) == []
        release(ledger, second, later)
        assert len(stored_chunks(ledger)) == 1


@pytest.mark.parametrize("released_first", [True, False])
def test_a_release_during_a_change_loses_no_count(postgres: Any, released_first: bool) -> None:
    with Ledger(postgres.create_database()) as ledger, ledger.connect() as owner:
        replay = a_replay(ledger, [response(1), response(2)])
        claimed = claim(ledger, owner, replay.no, 0)
        assert claimed is not None
        releasing = threading.Thread(target=release, args=(ledger, owner, claimed))
        with ledger.write() as changing:
            changing.execute(update(contacts).where(contacts.c.response_id == "r-1").values(state="completed"))
            if released_first:
                releasing.start()
                releasing.join()
            refresh_counts(changing, replay.no, [0])
            if not released_first:
                releasing.start()
                releasing.join(0.3)
                assert releasing.is_alive()  # waits for the change
        releasing.join()

        assert len(stored_chunks(ledger)) == 1
        assert tally(ledger, replay.no).states[ContactState.COMPLETED] == 1


def test_contacts_put_back_after_the_release_are_counted(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(4)], chunk_size=2)
    with ledger.connect() as connection:
        for chunk in (0, 1):
            claimed = claim(ledger, connection, replay.no, chunk)
            assert claimed is not None
            with ledger.write(connection):
                ends = [ContactEnd(row.id, ContactState.COMPLETED, "", 1.0) for row in rows_of(ledger, replay)]
                write_entries(connection, group_by_type(ends[2 * chunk : 2 * chunk + 2]))
            release(ledger, connection, claimed)
        assert find_pending_chunks(ledger, replay.no) == []
        with ledger.write(connection):
            write_entries(connection, group_by_type([NextRound(row.id) for row in rows_of(ledger, replay)[1:]]))

    assert find_pending_chunks(ledger, replay.no) == [0, 1]
    assert tally(ledger, replay.no).states[PENDING] == 3


def test_lost_requests_that_are_added_are_counted(tmp_path: Path) -> None:
    file, lost = tmp_path / "l.db", tmp_path / "lost.jsonl"
    with Ledger(f"sqlite:///{file}") as ledger:
        replay = a_replay(ledger, [response(1), response(2)])
    made = intent("r-1", replay_no=replay.no)
    row = {**asdict(made), **made.subject._asdict()}
    del row["subject"]
    lost.write_text(json.dumps(row), encoding="utf-8")

    assert accept(file, lost).added == 1

    with Ledger(f"sqlite:///{file}") as ledger:
        counted = tally(ledger, replay.no)
        assert (counted.total, counted.states[PENDING], counted.requests) == (2, 2, 1)


def test_a_commit_of_a_replay_costs_nothing_more(sqlite_ledger: Ledger) -> None:
    """Counts are stored when a chunk is released, not with each commit."""
    replay = a_replay(sqlite_ledger, [response(1), response(2)])
    statements: list[str] = []
    with sqlite_ledger.connect() as connection:
        claimed = claim(sqlite_ledger, connection, replay.no, 0)
        assert claimed is not None
        event.listen(connection, "before_cursor_execute", lambda *given: statements.append(given[2]))
        with sqlite_ledger.write(connection):
            write_entries(connection, group_by_type([intent("r-1", replay_no=replay.no)]))
            write_entries(connection, group_by_type([ContactEnd(1, ContactState.COMPLETED, "", 1000.0)]))
        assert not any("counts" in one or "chunks" in one for one in statements)
        release(sqlite_ledger, connection, claimed)
    assert any("counts" in one for one in statements)

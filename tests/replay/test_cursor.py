"""Whatever happens to the replays of a source, each version of a row is in the snapshot of one of them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from airflow_whatsapp_flows.errors import ReplayError, SourceError
from airflow_whatsapp_flows.flow.watermark import Watermark
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import find_replay
from airflow_whatsapp_flows.ledger.schema import contacts, replays
from airflow_whatsapp_flows.ledger.watermarks import CursorKey, list_watermarks, set_watermark
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.cursor import CursorRequest, ReplayCursor, find_cursor
from airflow_whatsapp_flows.replay.sources import Row
from airflow_whatsapp_flows.replay.sources.cursor import CursorReading
from tests.replay.runs import sqlite_url
from tests.replay.sources.reading import FLOW

OVERLAP = 3
KEY = CursorKey(FLOW.id, "a table", "at")


@dataclass
class Table:
    """A table whose rows appear when they are committed, up to ``OVERLAP`` after the time in them."""

    now: int = 100
    versions: list[tuple[int, int, int, int]] = field(default_factory=list)  # id, version, at, committed

    def change(self, row: int, late: int, gap: int = 0) -> None:
        self.now += 1 + gap
        self.versions.append((row, len(self.versions), self.now, self.now + late))

    def visible(self) -> dict[int, tuple[int, int]]:
        """The last committed version of each row, and its time."""
        found = sorted((committed, version, row, at) for row, version, at, committed in self.versions)
        return {row: (version, at) for committed, version, row, at in found if committed <= self.now}


class TableSource:
    """Reads the table at one moment, and fails after some rows."""

    name, mark, ignored_columns = "a table", None, ()

    def __init__(self, table: Table, cursor: ReplayCursor, rows: int | None = None) -> None:
        self.cursor_reading = CursorReading(cursor.cursor)
        self._rows, self._fails_after = table.visible(), rows

    def __iter__(self) -> Iterator[Row]:
        for number, (row, (version, at)) in enumerate(self._rows.items()):
            if number == self._fails_after:
                raise SourceError("killed")
            if self.cursor_reading.admits(at, f"{number}"):
                yield Row(number, f"{number}", {"id": f"r-{row}", "contact.meta.version": version})
        if self._fails_after is not None:
            raise SourceError("killed")


def start(ledger: Ledger, name: str) -> ReplayCursor:
    request = CursorRequest(key=KEY, zone=dt.timezone.utc, overlap=OVERLAP)
    return find_cursor(ledger, request, name)


def take(ledger: Ledger, source: TableSource, cursor: ReplayCursor, name: str, **keys: Any) -> None:
    request = ReplayRequest(
        flow=FLOW, source=source, replay_id=name, cursor=cursor, on_changed="update", **keys
    )  # fmt: skip
    create_or_resume_replay(ledger, request)


def snapshot_versions(ledger: Ledger) -> set[tuple[str, int]]:
    """Ids and versions in the snapshots that were completed."""
    query = select(contacts.c.response).join(replays, replays.c.no == contacts.c.replay_no).where(replays.c.sealed)
    with ledger.read() as connection:
        responses = [json.loads(text) for text in connection.execute(query).scalars() if text]
    return {(one["id"], one["contact"]["meta"]["version"]) for one in responses}


CHANGE = st.tuples(st.just("change"), st.integers(0, 5), st.integers(0, OVERLAP), st.integers(0, 9))
STEPS = st.lists(
    st.one_of(
        CHANGE,
        CHANGE,
        st.tuples(st.just("run")),
        st.tuples(st.just("killed"), st.integers(0, 4)),
        st.tuples(st.just("resume")),
        st.tuples(st.just("two at once"), st.integers(0, 5), st.integers(0, OVERLAP)),
        st.tuples(st.just("limited"), st.integers(1, 3)),
        st.tuples(st.just("moved back"), st.integers(0, 20)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_version_is_lost(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder, Ledger(sqlite_url(Path(folder))) as ledger:
        table, killed = Table(), "none"
        for number, (what, *of) in enumerate(steps):
            name = f"replay-{number}"
            before = table.visible()
            if what == "change":
                table.change(*of)
                continue
            cursor = start(ledger, killed if what == "resume" else name)
            if what == "run":
                take(ledger, TableSource(table, cursor), cursor, name)
            elif what == "killed":
                with suppress(SourceError):
                    take(ledger, TableSource(table, cursor, of[0]), cursor, name)
                killed = name
            elif what == "resume":
                take(ledger, TableSource(table, cursor), cursor, killed)
            elif what == "two at once":
                first = TableSource(table, cursor)
                table.change(*of)
                later = start(ledger, f"{name}-later")
                take(ledger, TableSource(table, later), later, f"{name}-later")
                take(ledger, first, cursor, name)
            elif what == "limited":
                take(ledger, TableSource(table, cursor), cursor, name, limit=of[0])
            else:
                stored = list_watermarks(ledger, FLOW.id)
                highest = int(stored[0].watermark.text) if stored and stored[0].watermark else 0
                set_watermark(ledger, KEY, Watermark("number", str(max(0, highest - of[0]))), "ana")
                take(ledger, TableSource(table, cursor), cursor, name)
            assert before.keys() <= table.visible().keys()
        table.now += OVERLAP
        last = start(ledger, "last")
        take(ledger, TableSource(table, last), last, "last")
        expected = {(f"r-{row}", version) for row, (version, _) in table.visible().items()}
        assert expected <= snapshot_versions(ledger)


def watermark(ledger: Ledger) -> str | None:
    [found] = list_watermarks(ledger, FLOW.id)
    return found.watermark.text if found.watermark else None


@pytest.fixture
def ledger(ledger_in_each: Ledger) -> Ledger:
    return ledger_in_each


def run(ledger: Ledger, table: Table, name: str, **keys: Any) -> ReplayCursor:
    cursor = start(ledger, name)
    take(ledger, TableSource(table, cursor), cursor, name, **keys)
    return cursor


def test_the_later_of_two_at_once_does_not_move_it_back(ledger: Ledger) -> None:
    table = Table()
    table.change(1, 0)
    early = start(ledger, "early")
    source = TableSource(table, early)
    table.change(2, 0)
    run(ledger, table, "late")
    take(ledger, source, early, "early")
    assert watermark(ledger) == "102"


def test_a_killed_snapshot_reads_from_the_same_start(ledger: Ledger) -> None:
    table = Table()
    table.change(1, 0)
    run(ledger, table, "one")
    table.change(2, 0)
    killed = start(ledger, "two")
    with pytest.raises(SourceError):
        take(ledger, TableSource(table, killed, 1), killed, "two")
    assert watermark(ledger) == "101"
    table.now += 100
    table.change(3, 0)
    run(ledger, table, "three")
    resumed = start(ledger, "two")
    assert resumed.cursor.watermark == killed.cursor.watermark == Watermark("number", "101")
    take(ledger, TableSource(table, resumed), resumed, "two")
    assert watermark(ledger) == "203"


def test_a_killed_snapshot_starts_where_a_person_has_moved_the_watermark(ledger: Ledger) -> None:
    table = Table()
    table.change(1, 0)
    run(ledger, table, "one")
    killed = start(ledger, "two")
    with pytest.raises(SourceError):
        take(ledger, TableSource(table, killed, 0), killed, "two")
    set_watermark(ledger, KEY, Watermark("number", "50"), "ana")
    assert start(ledger, "two").cursor.watermark == Watermark("number", "50")


def test_a_completed_snapshot_is_not_read_again(ledger: Ledger) -> None:
    table = Table()
    table.change(1, 0)
    first = run(ledger, table, "one")
    table.change(2, 0)
    again = start(ledger, "one")
    assert again.cursor.watermark == first.cursor.watermark is None
    take(ledger, TableSource(table, again), again, "one")
    assert snapshot_versions(ledger) == {("r-1", 0)}
    assert watermark(ledger) == "101"


def test_notes_the_cursor_with_the_replay_and_warns_of_another_query(ledger: Ledger) -> None:
    table = Table()
    table.change(1, 0)
    run(ledger, table, "one")
    request = CursorRequest(key=KEY, zone=dt.timezone.utc, query="another")
    assert find_cursor(ledger, request, None).warnings == (), "the first query is not known"
    cursor = find_cursor(ledger, request, "two")
    take(ledger, TableSource(table, cursor), cursor, "two")
    [warning] = find_cursor(ledger, CursorRequest(key=KEY, zone=dt.timezone.utc, query="q"), None).warnings
    assert "the query has changed since the watermark was at at 101" in warning
    with pytest.raises(ReplayError, match="another query has read a table"):
        find_cursor(ledger, CursorRequest(key=KEY, zone=dt.timezone.utc, query="q", is_own=False), None)
    found = find_replay(ledger, "two")
    assert found is not None
    assert (found.options["cursor"]["start"], found.options["cursor"]["watermark"]) == (["number", "101"],) * 2


def test_knows_the_columns_of_the_same_query_alone(ledger: Ledger) -> None:
    """A query that was changed may have fewer."""
    table = Table()
    for number, (query, columns) in enumerate([("q1", ("id", "plan")), ("q2", ("id",))]):
        table.change(number, 0)
        request = CursorRequest(key=KEY, zone=dt.timezone.utc, query=query)
        cursor = find_cursor(ledger, request, f"replay-{number}")
        assert cursor.cursor.columns == ()
        source = TableSource(table, cursor)
        source.cursor_reading.note_columns(columns)
        take(ledger, source, cursor, f"replay-{number}", reading={"query": query})
        assert find_cursor(ledger, request, None).cursor.columns == columns
    assert find_cursor(ledger, CursorRequest(key=KEY, zone=dt.timezone.utc, query="q1"), None).cursor.columns == ()

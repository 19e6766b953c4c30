"""A sync whose source is broken, or changes under it: nothing is lost or sent twice, and the next run works."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_whatsapp_flows.replay.sources import sql
from tests.cli.conftest import Cli, CommandResult, Write, action, flow
from tests.servers.postgres import PostgresServer
from tests.servers.recording import RecordingServer

COLUMNS = 'id, phone AS "contact.phone", plan AS "contact.meta.plan", updated_at'
EVERYTHING = f"SELECT {COLUMNS} FROM leads ORDER BY rowid"
NEW_ROWS = f"SELECT {COLUMNS} FROM leads WHERE updated_at >= :watermark OR :watermark IS NULL ORDER BY rowid"
Sync = Callable[..., CommandResult]
Moved = Callable[[], "str | None"]


class Table:
    """A table of leads, whose rows are tuples of id, phone, plan, and time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.do("CREATE TABLE leads (id TEXT, phone TEXT, plan TEXT, updated_at TEXT)")

    def do(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def view(self, columns: str) -> None:
        """Create the view ``seen`` of some columns, or replace it."""
        self.do("DROP VIEW IF EXISTS seen", f"CREATE VIEW seen AS SELECT {columns} FROM leads")

    def put(self, number: int, at: str | None, plan: str = "free") -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            row = (f"r-{number}", f"+52555000{number:04}", plan, at and f"2026-11-20 {at}")
            connection.execute("INSERT INTO leads VALUES (?, ?, ?, ?)", row)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "leads.db")


@pytest.fixture
def words(write: Write, ledger: list[str], tmp_path: Path) -> list[str]:
    body = {"phone": "{{ contact.phone }}", "plan": "{{ contact.plan }}"}
    file = write("a_flow.json", flow(action("Create", body=body)))
    source = ["--responses", f"sqlite:///{tmp_path / 'leads.db'}", "--cursor", "updated_at"]
    return ["run", str(file), *source, "--on-changed", "update", *ledger]


@pytest.fixture
def sync(cli: Cli, words: list[str]) -> Sync:
    return lambda query=NEW_ROWS, *more: cli("replay", *words, "--query", query, *more)


@pytest.fixture
def watermark(cli: Cli, ledger: list[str]) -> Moved:
    def watermark() -> str | None:
        found = json.loads(cli("replay", "cursor", "a_flow", *ledger, "--format", "json").out)
        return found[0]["watermark"] if found else None

    return watermark


def sent_leads(server: RecordingServer) -> list[tuple[int, str]]:
    """Numbers and plans of all leads that were sent, in order of their numbers."""
    bodies: list[dict[str, Any]] = [json.loads(request.content) for request in server.received]
    return sorted((int(body["phone"][-4:]), body["plan"]) for body in bodies)


@pytest.mark.parametrize(
    ("break_", "mend", "message"),
    [
        ("leads RENAME plan TO tier", "leads RENAME tier TO plan", "no such column: plan"),
        ("leads RENAME updated_at TO at", "leads RENAME at TO updated_at", "no such column: updated_at"),
        ("leads RENAME TO old", "old RENAME TO leads", "no such table: leads"),
    ],
    ids=["column", "cursor", "table"],
)
def test_what_the_query_names_is_gone(
    sync: Sync, table: Table, server: RecordingServer, watermark: Moved, break_: str, mend: str, message: str
) -> None:
    table.put(1, "10:00:00")
    assert sync().status == 0
    table.put(2, "11:00:00")
    table.do(f"ALTER TABLE {break_}")

    done = sync()
    assert (done.status, f"leads.db: the query cannot be run: {message}\n" in done.err) == (1, True), done.err
    assert watermark() == "2026-11-20 10:00:00"

    table.do(f"ALTER TABLE {mend}")
    assert sync().status == 0
    assert sent_leads(server) == [(1, "free"), (2, "free")]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("id, ", "query: there is no column 'id', so no row could be sent: name one id in the source, or use --id"),
        (
            ', plan AS "contact.meta.plan"',
            "query: it had 'contact.meta.plan' when it was last read, and has not now: bring the column back, or",
        ),
    ],
    ids=["id", "value"],
)
def test_a_column_of_a_view_is_gone(
    sync: Sync, table: Table, server: RecordingServer, watermark: Moved, gone: str, message: str
) -> None:
    """A query that names no columns cannot be refused by the database."""
    star = "SELECT * FROM seen"
    table.put(1, "10:00:00")
    table.view(COLUMNS)
    assert sync(star).status == 0
    table.put(2, "11:00:00")
    table.view(COLUMNS.replace(gone, ""))

    for _ in range(2):
        done = sync(star, "--replay-id", "second")
        assert (done.status, message in done.err, "no watermark moved" in done.err) == (1, True, True), done.err
        assert watermark() == "2026-11-20 10:00:00"

    table.view(COLUMNS)
    assert sync(star, "--replay-id", "second").status == 0
    assert sent_leads(server) == [(1, "free"), (2, "free")]


@pytest.mark.parametrize("query", [NEW_ROWS, EVERYTHING], ids=["in_the_query", "filtered"])
def test_times_with_and_without_a_zone(
    sync: Sync, table: Table, server: RecordingServer, watermark: Moved, query: str
) -> None:
    table.put(1, "10:00:00")
    assert sync(query).status == 0
    table.put(2, "11:00:00+02:00")
    table.put(3, "11:30:00")
    done = sync(query)
    assert done.status == 1
    assert "some have a time zone and some have not, so their order is unknown: '2026-11-20 11:00:00+02:00'" in done.err
    assert "convert them in the source\n" in done.err
    assert watermark() == "2026-11-20 10:00:00"

    table.do("UPDATE leads SET updated_at = substr(updated_at, 1, 19)")
    assert sync(query).status == 0
    assert (sent_leads(server), watermark()) == ([(1, "free"), (2, "free"), (3, "free")], "2026-11-20 11:30:00")


def test_rows_without_a_time_are_read_if_the_query_selects_them(
    sync: Sync, table: Table, server: RecordingServer, watermark: Moved
) -> None:
    query = NEW_ROWS.replace(" ORDER", " OR updated_at IS NULL ORDER")
    table.put(1, None)
    table.put(2, "10:00:00")
    done = sync(query)
    assert done.status == 0
    assert (
        "1 row without 'updated_at', the cursor: every replay reads them again, if its query has OR updated_at IS NULL"
        in done.out + done.err
    )
    table.put(3, None)
    assert sync(query).status == 0
    assert (sent_leads(server), watermark()) == ([(1, "free"), (2, "free"), (3, "free")], "2026-11-20 10:00:00")


def test_an_id_that_is_there_twice(sync: Sync, table: Table, server: RecordingServer) -> None:
    table.put(1, "10:00:00")
    table.put(1, "10:00:00")
    table.put(2, "10:30:00")
    table.put(2, "10:40:00", "pro")
    done = sync()
    assert (done.status, sent_leads(server)) == (3, [(1, "free"), (2, "free")])
    assert "duplicate: an earlier row of this source is the same response" in done.out
    assert "id_reused: an earlier row of this source has the same id with different content" in done.out

    table.put(1, "12:00:00")
    table.put(2, "12:00:00", "pro")
    assert sync().status == 0
    assert sent_leads(server) == [(1, "free"), (2, "free"), (2, "pro")], "the unchanged one is not sent again"


def test_a_row_that_is_committed_while_others_are_read(
    sync: Sync, table: Table, server: RecordingServer, watermark: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query doesn't see it, and its time is before the watermark; the overlap has the next run read it."""
    table.do("PRAGMA journal_mode=WAL")
    table.put(1, "10:00:00")
    table.put(2, "11:00:00")
    stream = sql.stream_records

    def records(*arguments: Any) -> Iterator[Any]:
        for number, record in enumerate(stream(*arguments)):
            yield record
            if number == 0:
                table.put(3, "10:58:00")

    with monkeypatch.context() as patch:
        patch.setattr(sql, "stream_records", records)
        assert sync().status == 0
    assert (sent_leads(server), watermark()) == ([(1, "free"), (2, "free")], "2026-11-20 11:00:00")
    assert sync().status == 0
    assert sent_leads(server) == [(1, "free"), (2, "free"), (3, "free")]


def test_two_runs_at_once(
    process: Cli, words: list[str], table: Table, server: RecordingServer, watermark: Moved
) -> None:
    for number in range(40):
        table.put(number, "10:00:00")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: process("replay", *words, "--query", NEW_ROWS), range(2)))
    assert sent_leads(server) == [(number, "free") for number in range(40)]
    assert watermark() == "2026-11-20 10:00:00"
    table.put(40, "11:00:00")
    assert process("replay", *words, "--query", NEW_ROWS).status == 0
    assert [number for number, _ in sent_leads(server)] == list(range(41))


def test_a_user_of_the_database_without_permission(
    cli: Cli, words: list[str], postgres: PostgresServer, server: RecordingServer, watermark: Moved
) -> None:
    url = postgres.create_database()
    words[words.index("--responses") + 1] = url.replace("postgres@", "reader@")
    run = ("replay", *words, "--query", NEW_ROWS.replace("rowid", "id"))
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as session:
        session.execute("CREATE TABLE leads (id text, phone text, plan text, updated_at timestamptz)")
        session.execute("INSERT INTO leads VALUES ('r-1', '+525550000001', 'free', '2026-11-20 10:00:00Z')")
        done = cli(*run)
        assert (done.status, 'cannot be reached: ' in done.err, 'role "reader" does not exist\n' in done.err) == (
            1, True, True,
        )  # fmt: skip
        session.execute("CREATE ROLE reader LOGIN")
        try:
            done = cli(*run)
            assert done.status == 1
            assert "/test_" in done.err
            assert "the query cannot be run: permission denied for table leads\n" in done.err
            assert watermark() is None
            session.execute("GRANT SELECT ON leads TO reader")
            assert cli(*run).status == 0
        finally:
            session.execute("DROP OWNED BY reader")
            session.execute("DROP ROLE reader")
    assert sent_leads(server) == [(1, "free")]

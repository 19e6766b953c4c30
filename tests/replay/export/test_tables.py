"""Tables of results in each database, through each kind of driver."""

from __future__ import annotations

import datetime as dt
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import psycopg2
import pytest
from psycopg.rows import dict_row

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.ledger.results import ContactResult
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.export import Written, WrittenBy
from airflow_whatsapp_flows.replay.export.drivers import session
from airflow_whatsapp_flows.replay.export.rows import batches
from airflow_whatsapp_flows.replay.export.tables import write_tables
from tests.replay.export.results import REFUSED, REPLAY, SENT, contact

RUN = WrittenBy(
    dag_id="leads__replay", run_id="scheduled", task_id="results",
    data_interval_start=dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc),
    data_interval_end=dt.datetime(2026, 11, 2, tzinfo=dt.timezone.utc),
)  # fmt: skip


class Database:
    """Connections of one driver to one database."""

    def __init__(self, connect: Callable[[], Any], schema: str = "main") -> None:
        self.connect = connect
        self.schema = schema

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            try:
                connection.commit()
            except Exception as error:
                if "no transaction is active" not in str(error):  # DuckDB, which has committed it
                    raise
            return rows

    def write(self, *results: ContactResult, table: str = "log", run: WrittenBy = RUN) -> Written:
        return self.write_all(results, table, run)

    def write_all(self, results: Iterable[ContactResult], table: str = "log", run: WrittenBy = RUN) -> Written:
        with closing(self.connect()) as connection, session(connection) as opened:
            return write_tables(opened, table, batches(REPLAY, results, run), REPLAY.id)


class _Plain:
    """A driver that SQLAlchemy doesn't know; ``plaindb`` is made by the fixture."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture(params=["psycopg", "psycopg2", "sqlite3", "duckdb", "plaindb"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    kind = request.param
    if kind in ("psycopg", "psycopg2"):
        url = request.getfixturevalue("postgres").create_database().replace("+psycopg", "")
        if kind == "psycopg2":
            return Database(lambda: psycopg2.connect(url), "public")
        return Database(lambda: psycopg.connect(url), "public")
    if kind == "duckdb":
        duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
        return Database(lambda: duckdb.connect(str(tmp_path / "log.duckdb")))
    if kind == "sqlite3":
        return Database(lambda: sqlite3.connect(tmp_path / "log.db"))
    module: Any = ModuleType("plaindb")
    module.paramstyle, module.Error = "qmark", sqlite3.Error
    monkeypatch.setitem(sys.modules, "plaindb", module)
    plain = type("Connection", (_Plain,), {"__module__": "plaindb"})
    return Database(lambda: plain(sqlite3.connect(tmp_path / "log.db")))


def test_writes_a_row_for_each_visit_and_for_each_contact(database: Database) -> None:
    twice = replace(SENT, visit=2, attempts=1)
    written = database.write(contact(1, SENT, twice), contact(2, REFUSED), contact(3, state=ContactState.REJECTED))

    assert written == Written(actions=4, contacts=3)
    assert database.run(
        'SELECT contact_no, state, step, visit, attempts, status_code, outcome, "exit", reply, fingerprint FROM log '
        "ORDER BY contact_no, visit"
    ) == [
        (1, "completed", "Create", 1, 2, 200, "success", "success", None, None),
        (1, "completed", "Create", 2, 1, 200, "success", "success", None, None),
        (2, "failed", "Create", 1, 2, 422, "error", None, '{"error":"no list"}', "f" * 12),
        (3, "rejected", None, None, None, None, None, None, None, None),
    ]
    assert database.run(
        "SELECT contact_no, response_id, state, requests, error_step, status_code, path, dag_id, run_id FROM "
        "log_contacts ORDER BY contact_no"
    ) == [
        (1, "c-1", "completed", 3, None, None, "Ask → Create", "leads__replay", "scheduled"),
        (2, "c-2", "failed", 2, "Create", 422, "Ask → Create", "leads__replay", "scheduled"),
        (3, "c-3", "rejected", 0, None, None, "Ask → Create", "leads__replay", "scheduled"),
    ]


def test_times_are_in_utc(database: Database) -> None:
    database.write(contact(1, SENT))
    [(sent, start)] = database.run("SELECT CAST(sent_at AS VARCHAR), CAST(data_interval_start AS VARCHAR) FROM log")
    assert sent.startswith("2023-11-14 22:13:20.25")
    assert start.startswith("2026-11-01 00:00:00")


def test_writing_again_replaces_the_rows_of_its_contacts_alone(database: Database) -> None:
    database.write(contact(1, SENT), contact(2, REFUSED), contact(3))
    database.run("UPDATE log SET reason = 'theirs' WHERE contact_no = 1")
    renamed = replace(SENT, step="Create contact", attempts=3)

    database.write(contact(2, renamed), contact(3, SENT), run=replace(RUN, run_id="retry"))

    assert database.run("SELECT contact_no, state, step, attempts, reason, run_id FROM log ORDER BY contact_no") == [
        (1, "completed", "Create", 2, "theirs", "scheduled"),
        (2, "completed", "Create contact", 3, None, "retry"),
        (3, "completed", "Create", 2, None, "retry"),
    ]
    assert database.run("SELECT contact_no, state, run_id FROM log_contacts ORDER BY contact_no") == [
        (1, "completed", "scheduled"), (2, "completed", "retry"), (3, "completed", "retry"),
    ]  # fmt: skip


def test_many_batches_are_one_transaction(database: Database) -> None:
    class StoppedError(Exception):
        pass

    def until_stopped() -> Iterator[ContactResult]:
        yield from (contact(number, SENT) for number in range(450))
        raise StoppedError

    database.write(contact(1, REFUSED))
    with pytest.raises(StoppedError):
        database.write_all(until_stopped())
    assert database.run("SELECT count(*), max(state) FROM log") == [(1, "failed")]

    assert database.write_all(contact(number, SENT) for number in range(450)) == Written(450, 450)
    assert database.run("SELECT count(*), count(DISTINCT contact_no), max(state) FROM log") == [(450, 450, "completed")]


def test_a_table_of_an_earlier_version_gets_new_columns_and_keeps_its_rows(database: Database) -> None:
    columns = (
        "replay_id VARCHAR(500) NOT NULL, flow_id VARCHAR(100) NOT NULL, response_id VARCHAR(500), state VARCHAR(20) "
        "NOT NULL, reason TEXT, step VARCHAR(100), visit INTEGER, method VARCHAR(10), attempts INTEGER, status_code "
        "INTEGER, outcome VARCHAR(20), error_kind VARCHAR(50), error_reason TEXT, idempotency_key VARCHAR(200), "
        "sent_at TIMESTAMP, of_the_team TEXT"
    )
    database.run(f"CREATE TABLE log ({columns})")
    for replay_id in ("r''1", "other"):
        database.run(f"INSERT INTO log (replay_id, flow_id, state) VALUES ('{replay_id}', 'leads', 'failed')")

    database.write(contact(1, SENT))
    database.write(contact(1, SENT))

    assert database.run("SELECT replay_id, state, row_key FROM log ORDER BY row_key IS NULL") == [
        ("r'1", "completed", "1:1:Create"), ("other", "failed", None),
    ]  # fmt: skip


def test_a_table_that_is_something_else_is_left_alone(database: Database) -> None:
    database.run("CREATE TABLE log (replay_id TEXT, name TEXT)")
    with pytest.raises(ReplayError, match=r"log already exists, without the columns flow_id, .*; use another table"):
        database.write(contact(1, SENT))
    assert database.run("SELECT count(*) FROM log") == [(0,)]


def test_a_schema_that_is_absent_is_named(database: Database) -> None:
    with pytest.raises(ReplayError, match=r"nowhere\.log can neither be read \(.*nowhere.*\) nor created \(.*nowhere"):
        database.write(contact(1, SENT), table="nowhere.log")


def test_a_name_has_a_schema(database: Database) -> None:
    database.write(contact(1, SENT), table=f"{database.schema}.log")
    assert database.run("SELECT count(*) FROM log_contacts") == [(1,)]


def test_a_command_keeps_the_run_of_a_task(database: Database, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["database"] == "plaindb":
        pytest.skip("it has no ON CONFLICT")
    database.write(contact(1, REFUSED), contact(2))
    database.write(contact(1, SENT), contact(2), run=WrittenBy())
    assert database.run("SELECT state, run_id FROM log ORDER BY contact_no") == [
        ("completed", "scheduled"), ("completed", "scheduled"),
    ]  # fmt: skip


class TestPostgres:
    def test_two_writers_at_once_leave_each_row_once(self, postgres: Any) -> None:
        url = postgres.create_database().replace("+psycopg", "")
        database = Database(lambda: psycopg.connect(url))
        database.write(contact(9, SENT))

        def write_meanwhile(rows: Sequence[ContactResult]) -> Iterator[ContactResult]:
            yield rows[0]
            # The first batch is not written yet: this one is, meanwhile.
            database.write(*rows)
            yield from rows[1:]

        database.write_all(write_meanwhile([contact(1, SENT), contact(2)]))
        assert database.run("SELECT contact_no, step FROM log ORDER BY contact_no") == [
            (1, "Create"), (2, None), (9, "Create"),
        ]  # fmt: skip

    def test_rows_of_the_connection_may_be_dictionaries(self, postgres: Any) -> None:
        url = postgres.create_database().replace("+psycopg", "")
        database = Database(lambda: psycopg.connect(url, row_factory=dict_row))
        assert database.write(contact(1, SENT)) == Written(1, 1)

    def test_a_role_without_permission_is_told_so(self, postgres: Any) -> None:
        url = postgres.create_database().replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN")
        database = Database(lambda: psycopg.connect(url.replace("postgres@", "reader@")))
        with pytest.raises(ReplayError, match=r"nor created .permission denied for schema public.: grant the role"):
            database.write(contact(1, SENT))

    def test_a_role_that_may_only_write_needs_no_other_permission(self, postgres: Any) -> None:
        url = postgres.create_database().replace("+psycopg", "")
        Database(lambda: psycopg.connect(url)).write(contact(1, SENT))
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(
                "DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN; "
                "GRANT SELECT, INSERT, UPDATE, DELETE ON log, log_contacts TO writer"
            )
        database = Database(lambda: psycopg.connect(url.replace("postgres@", "writer@")))
        assert database.write(contact(1, SENT), contact(2, SENT)) == Written(2, 2)

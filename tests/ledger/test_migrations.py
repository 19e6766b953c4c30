"""Migrations upgrade an old ledger without losing a row."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Inspector, create_engine, event, inspect, select, text

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.counts import refresh_counts
from airflow_whatsapp_flows.ledger.migrations import FOLDER, revision_of, upgrade_tables
from airflow_whatsapp_flows.ledger.schema import MIGRATIONS_TABLE, SCHEMA_VERSION, attempts, counts, metadata
from tests.ledger.old_ledgers import make_ledger, rows_of


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    opened = create_engine(ledger_url)
    if opened.dialect.name == "sqlite":

        @event.listens_for(opened, "connect")
        def _(connection: Any, _: object) -> None:
            connection.isolation_level = None

        @event.listens_for(opened, "begin")
        def _(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    yield opened
    opened.dispose()


def schema_of(connection: Connection) -> dict[str, Any]:
    """The tables as the database describes them: columns in order, keys, and indexes."""
    database = inspect(connection)
    return {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in database.get_columns(table)],
            "key": database.get_pk_constraint(table),
            "unique": database.get_unique_constraints(table),
            "indexes": [{**one, "dialect_options": _texts(one)} for one in database.get_indexes(table)],
            "options": _options(database, table),
        }
        for table in database.get_table_names()
    }


def _options(database: Inspector, table: str) -> Any:
    """STRICT, WITHOUT ROWID, and the like, if this SQLAlchemy reads them (2.1 or newer)."""
    try:
        return database.get_table_options(table)
    except NotImplementedError:
        return None


def _texts(index: Any) -> dict[str, str]:
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()}


def new_schema(request: pytest.FixtureRequest, ledger_url: str) -> dict[str, Any]:
    """The schema of a ledger that this release creates."""
    if ledger_url.startswith("sqlite"):
        url = ledger_url.replace("ledger.db", "new.db")
    else:
        url = request.getfixturevalue("postgres").create_database()
    with Ledger(url) as ledger, ledger.read() as connection:
        return schema_of(connection)


def test_there_is_one_revision_for_each_version_in_one_line() -> None:
    revisions = [one.revision for one in ScriptDirectory(str(FOLDER)).walk_revisions()]
    assert revisions == [revision_of(version) for version in range(SCHEMA_VERSION, 0, -1)]


def test_the_alembic_environment_has_its_own_version_table() -> None:
    """Airflow requires this of a manager whose tables may be in its own database."""
    calls = [node for node in ast.walk(ast.parse((FOLDER / "env.py").read_text())) if isinstance(node, ast.Call)]
    [configure] = [call for call in calls if ast.unparse(call.func) == "context.configure"]
    assert "version_table" in [keyword.arg for keyword in configure.keywords]
    assert MIGRATIONS_TABLE == "whatsapp_flows_alembic"


@pytest.mark.parametrize("found", range(SCHEMA_VERSION), ids=lambda found: f"from_version_{found}")
def test_a_migrated_ledger_has_the_tables_of_a_new_one(
    engine: Engine, ledger_url: str, request: pytest.FixtureRequest, found: int
) -> None:
    if found:
        make_ledger(ledger_url)
    if found > 1:
        with engine.begin() as connection:
            upgrade_tables(connection, 1, found)
    with engine.begin() as connection:
        upgrade_tables(connection, found, SCHEMA_VERSION)

    with engine.connect() as connection:
        assert schema_of(connection) == new_schema(request, ledger_url)
        migrations = MigrationContext.configure(connection, opts={"version_table": MIGRATIONS_TABLE})
        assert compare_metadata(migrations, metadata) == []
        assert migrations.get_current_revision() == revision_of(SCHEMA_VERSION)
        row = connection.execute(text("SELECT * FROM whatsapp_flows_ledger")).one()
    assert (row.version, row.commits) == (SCHEMA_VERSION, 0)
    assert len(row.ledger_id) == 32


def test_every_row_of_version_1_is_kept(engine: Engine, ledger_url: str) -> None:
    make_ledger(ledger_url)
    before = rows_of(ledger_url)
    assert {table: len(rows) for table, rows in before.items()} == {
        "replays": 3, "contacts": 26, "attempts": 27, "chunks": 3, "slots": 0,
    }  # fmt: skip

    with engine.begin() as connection:
        upgrade_tables(connection, 1, SCHEMA_VERSION)

    after = rows_of(ledger_url)
    old = {
        table: [{name: row[name] for name in was} for row, was in zip(rows, before[table], strict=True)]
        for table, rows in after.items()
    }
    assert old == before
    assert {row["epoch"] for row in (*after["contacts"], *after["attempts"])} == {1}
    assert {row["retry_no"] for row in after["contacts"]} == {None}
    assert {(row["step_id"], row["content"]) for row in after["attempts"]} == {(None, None)}


def test_version_3_counts_the_chunks_of_version_2(engine: Engine, ledger_url: str) -> None:
    make_ledger(ledger_url)
    with engine.begin() as connection:
        upgrade_tables(connection, 1, 2)
        for change in (
            "UPDATE whatsapp_flows_contacts SET round = 2, handled_errors = 2, unanswered = true WHERE id = 3",
            "UPDATE whatsapp_flows_attempts SET fate = 'not_sent' WHERE id IN (1, 2)",
            """UPDATE whatsapp_flows_attempts SET origin = '{"resolved": "not_sent"}' WHERE id = 2""",
        ):
            connection.execute(text(change.replace(":", "\\:")))
        upgrade_tables(connection, 2, 3)
        migrated = read_counts(connection)
        upgrade_tables(connection, 3, SCHEMA_VERSION)
    assert len(migrated[0]) > 5

    with Ledger(ledger_url) as ledger, ledger.write() as connection:
        for replay_no in (1, 2, 3):
            refresh_counts(connection, replay_no)
        assert read_counts(connection) == migrated
        sent = [row for row in connection.execute(select(attempts)) if row.replay_no is not None]
    reached = [row for row in sent if row.fate != "not_sent" or row.origin]
    assert sum(row.requests for row in migrated[1]) == len(reached) < len(sent)


def read_counts(connection: Connection) -> tuple[list[Any], list[Any]]:
    columns = ", ".join(column.name for column in counts.c if column.name != "id")
    rows = connection.execute(text(f"SELECT {columns} FROM whatsapp_flows_counts")).all()
    chunks = connection.execute(text("SELECT * FROM whatsapp_flows_chunks ORDER BY replay_no, chunk")).all()
    return sorted(rows, key=str), list(chunks)


def test_a_migration_that_fails_leaves_the_old_ledger_as_it_was(engine: Engine, ledger_url: str) -> None:
    make_ledger(ledger_url)
    before = rows_of(ledger_url)
    with engine.connect() as connection:
        schema = schema_of(connection)

    def upgrade_and_fail() -> None:
        with engine.begin() as connection:
            upgrade_tables(connection, 1, SCHEMA_VERSION)
            raise RuntimeError("the power failed")

    with pytest.raises(RuntimeError, match="power"):
        upgrade_and_fail()

    assert rows_of(ledger_url) == before
    with engine.connect() as connection:
        assert schema_of(connection) == schema
        assert connection.execute(text("SELECT version FROM whatsapp_flows_ledger")).scalar_one() == 1

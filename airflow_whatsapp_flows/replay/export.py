"""Writes the results of a replay to a table in the user's own database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.results import ContactResult
from airflow_whatsapp_flows.ledger.urls import hide_password
from airflow_whatsapp_flows.replay.sources.sql import database_url

_BATCH = 1000


def export_results(url: str, table: str, replay: Replay, results: Iterable[ContactResult]) -> int:
    """Write one row for each visit of an action, and one for each contact without any.

    Creates the table if it does not exist. Replaces rows of the same replay, in one transaction.

    Args:
        url: SQLAlchemy URL of the database.
        table: its name, ``results`` or ``schema.results``.
        replay: the replay of the results.
        results: results of every contact for the table.

    Returns:
        The number of rows written.

    Raises:
        ReplayError: the URL is invalid, or the database reports an error; the table is unchanged.
        LedgerError: the results cannot be read; the table is unchanged.
    """
    try:
        address = database_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ReplayError(
            "--to must be an SQLAlchemy URL: sqlite:///results.db, or postgresql://user@host/database"
        ) from None
    name = f"the table {table!r} of {hide_password(address)}"
    schema, _, short = table.rpartition(".")
    target = _table(short, schema or None)
    try:
        engine = sa.create_engine(address, poolclass=sa.NullPool)
        with engine.begin() as connection:
            target.create(connection, checkfirst=True)
            _add_columns(connection, target)
            _check_columns(connection, target, name)
            connection.execute(sa.delete(target).where(target.c.replay_id == replay.id))
            written, rows = 0, _rows(replay, results)
            while batch := list(islice(rows, _BATCH)):
                connection.execute(sa.insert(target), batch)
                written += len(batch)
        return written
    except ImportError as error:
        raise ReplayError(f"{name}: the driver of the database is not installed: {error}") from None
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise ReplayError(f"{name} cannot be written: {reason}") from None


def _table(name: str, schema: str | None) -> sa.Table:
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("replay_id", sa.String(500), nullable=False, index=True),
        sa.Column("flow_id", sa.String(100), nullable=False),
        sa.Column("response_id", sa.String(500)),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("step", sa.String(100)),
        sa.Column("visit", sa.Integer),
        sa.Column("method", sa.String(10)),
        sa.Column("attempts", sa.Integer),
        sa.Column("status_code", sa.Integer),
        sa.Column("outcome", sa.String(20)),
        sa.Column("error_kind", sa.String(50)),
        sa.Column("error_reason", sa.Text),
        sa.Column("reply", sa.Text),
        sa.Column("later", sa.Text),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("sent_at", sa.DateTime(timezone=True)),  # UTC
        schema=schema,
    )


def _add_columns(connection: sa.Connection, table: sa.Table) -> None:
    """Add ``reply`` and ``later`` to a results table created by an earlier version."""
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name, table.schema)}
    missing = {*table.columns.keys()} - there
    if not missing <= {"reply", "later"} or there - {*table.columns.keys()}:
        return
    add = "ADD" if connection.dialect.name in ("mssql", "oracle") else "ADD COLUMN"
    whole = connection.dialect.identifier_preparer.format_table(table)
    for name in sorted(missing):
        column = sa.schema.CreateColumn(table.columns[name]).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {whole} {add} {column}")


def _check_columns(connection: sa.Connection, table: sa.Table, name: str) -> None:
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name, table.schema)}
    missing = [column for column in table.columns.keys() if column not in there]  # noqa: SIM118  # names, not columns
    if missing:
        raise ReplayError(f"{name} already exists, without the columns {', '.join(missing)}; use another table")


def _rows(replay: Replay, results: Iterable[ContactResult]) -> Iterator[dict[str, Any]]:
    for result in results:
        contact = {
            "replay_id": replay.id,
            "flow_id": replay.flow_id,
            "response_id": result.id,
            "state": result.state.value,
            "reason": result.reason,
            "later": result.later and result.later.text,
        }
        if not result.actions:
            yield {**contact, **_NO_ACTION}
        for action in result.actions:
            failed = result.error if result.error and result.error.get("step") == action.step else {}
            yield {
                **contact,
                "step": action.step,
                "visit": action.visit,
                "method": action.method,
                "attempts": action.attempts,
                "status_code": action.status_code,
                "outcome": action.outcome,
                "error_kind": action.error_kind,
                "error_reason": failed.get("message") if action.error_kind else None,
                "reply": action.reply,
                "idempotency_key": action.idempotency_key,
                "sent_at": dt.datetime.fromtimestamp(action.sent_at, dt.timezone.utc),
            }


_NO_ACTION = dict.fromkeys(
    ("step", "visit", "method", "attempts", "status_code", "outcome", "error_kind", "error_reason", "reply",
     "idempotency_key", "sent_at")
)  # fmt: skip

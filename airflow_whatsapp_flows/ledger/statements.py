"""Statements that write many rows at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

from airflow_whatsapp_flows.ledger.dialects import RowsWork, dialect_of

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


class Statement:
    """A statement for many rows, in the form that is fastest in each database.

    SQLite gets the rows one by one within one call; PostgreSQL gets one array for each column, in one round trip.

    Args:
        for_each: for SQLite, with a ``?`` for each value.
        for_all: for PostgreSQL, with a ``%b`` for the array of each column.
    """

    def __init__(self, for_each: str, for_all: str) -> None:
        self._for_each = for_each
        self._for_all = for_all

    @property
    def for_each(self) -> str:
        """The statement for SQLite's driver, with a ``?`` for each value of a row."""
        return self._for_each

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run the statement for some rows.

        Args:
            rows: values in column order.
        """
        run_together(connection, [(self, rows)])


def run_together(connection: Connection, work: Iterable[tuple[Statement, Sequence[tuple[Any, ...]]]]) -> None:
    """Run statements for some rows each, in one round trip to a server; no two of them for the same row."""
    some = [RowsWork(statement._for_each, statement._for_all, rows) for statement, rows in work if rows]
    dialect_of(connection).run_for_rows(connection, some)


def insert_statement(table: Table, names: Sequence[str], *, or_nothing: bool = False) -> Statement:
    """Create a statement that inserts rows.

    Args:
        names: column names, in the order of a row's values.
        or_nothing: whether to leave existing rows unchanged.
    """
    columns, marks = ", ".join(names), ", ".join("?" * len(names))
    end = " ON CONFLICT DO NOTHING" if or_nothing else ""
    return Statement(
        f"INSERT INTO {table.name} ({columns}) VALUES ({marks}){end}",  # noqa: S608  # the table's own names
        f"INSERT INTO {table.name} ({columns}) SELECT * FROM {_rows(table, names)}{end}",  # noqa: S608
    )


def update_statement(table: Table, changed: Sequence[str], which: Sequence[str]) -> Statement:
    """Create a statement that updates rows, given as the values of ``changed`` followed by those of ``which``."""
    each = ", ".join(f"{name} = ?" for name in changed)
    this_one = " AND ".join(f"{name} = ?" for name in which)
    names = (*changed, *which)
    every = ", ".join(f"{name} = r.new_{name}" for name in changed)
    these = " AND ".join(f"{table.name}.{name} = r.new_{name}" for name in which)
    return Statement(
        f"UPDATE {table.name} SET {each} WHERE {this_one}",  # noqa: S608
        f"UPDATE {table.name} SET {every} FROM {_rows(table, names)} WHERE {these}",  # noqa: S608
    )


def _rows(table: Table, names: Sequence[str]) -> str:
    """Return PostgreSQL's rows ``r`` with the columns ``new_…``, from one array for each."""
    types = (table.c[name].type.compile(_POSTGRESQL) for name in names)
    arrays = ", ".join(f"CAST(%b AS {type_}[])" for type_ in types)
    return f"unnest({arrays}) AS r({', '.join(f'new_{name}' for name in names)})"

"""Statements for many rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

Columns = dict[str, str]
"""Names of columns and their types in PostgreSQL, in the order of a row's values."""


class Statement:
    """One statement for many rows, in the form that each database runs fastest.

    SQLite takes the rows one by one within one call; PostgreSQL takes them as one JSON parameter, in one round trip.

    Args:
        for_each: for SQLite, with a ``?`` for every value.
        for_all: for PostgreSQL, over the rows ``r`` of ``{rows}``.
    """

    def __init__(self, for_each: str, for_all: str) -> None:
        self._for_each = for_each
        self._for_all = for_all.format(rows="json_array_elements(CAST(%s AS json)) AS r")

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run it.

        Args:
            connection: in a transaction.
            rows: values in the order of the columns.
        """
        if not rows:
            return
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(self._for_each, list(rows))
        else:
            connection.exec_driver_sql(self._for_all, (msgspec.json.encode(rows).decode(),))


def insert_statement(table: str, columns: Columns, *, or_nothing: bool = False) -> Statement:
    """A statement that adds rows.

    Args:
        table: its name.
        columns: of a row.
        or_nothing: whether a row that is there already is left as it is.
    """
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    end = " ON CONFLICT DO NOTHING" if or_nothing else ""
    return Statement(
        f"INSERT INTO {table} ({names}) VALUES ({marks}){end}",  # noqa: S608  # the table's own names
        f"INSERT INTO {table} ({names}) SELECT {', '.join(_values(columns))} FROM {{rows}}{end}",  # noqa: S608
    )


def update_statement(table: str, changed: Columns, which: Columns) -> Statement:
    """A statement that changes rows: values of the changed columns first, then of those that say which."""
    each = ", ".join(f"{name} = ?" for name in changed)
    this_one = " AND ".join(f"{name} = ?" for name in which)
    values = dict(zip((*changed, *which), _values({**changed, **which}), strict=True))
    every = ", ".join(f"{name} = {values[name]}" for name in changed)
    these = " AND ".join(f"{table}.{name} = {values[name]}" for name in which)
    return Statement(
        f"UPDATE {table} SET {each} WHERE {this_one}",  # noqa: S608
        f"UPDATE {table} SET {every} FROM {{rows}} WHERE {these}",  # noqa: S608
    )


def _values(columns: Columns) -> list[str]:
    return [f"CAST(r->>{position} AS {kind})" for position, kind in enumerate(columns.values())]

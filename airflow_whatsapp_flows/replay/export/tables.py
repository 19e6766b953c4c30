"""The tables of results: created, extended, and written, so that writing the same results again changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.replay.export.drivers import GENERIC, reason_of
from airflow_whatsapp_flows.replay.export.rows import (
    ACTION_COLUMNS,
    ACTION_KEY,
    CONTACT_COLUMNS,
    CONTACT_KEY,
    FIRST_COLUMNS,
    RUN_COLUMNS,
    Batch,
    Column,
    Row,
    Written,
)

_UPSERTS: dict[str, Callable[[sa.Table], Any]] = {
    "postgresql": postgresql.insert,
    "duckdb": postgresql.insert,
    "sqlite": sqlite.insert,
}
"""Databases with ``ON CONFLICT``, and how they write it."""
_NAIVE = ("duckdb", GENERIC)
"""Databases whose times get no zone: they are in UTC."""
_ROW_BY_ROW = ("psycopg2", "duckdb")
"""Drivers that need a round trip, or about as long, for each row of a statement that is executed for many."""
_TYPES: dict[str, Callable[[Column], sa.types.TypeEngine[Any]]] = {
    "name": lambda column: sa.String(column.size),
    "text": lambda _: sa.Text(),
    "number": lambda _: sa.Integer(),
    "id": lambda _: sa.BigInteger(),
    "time": lambda _: sa.DateTime(timezone=True),
}


def write_tables(connection: sa.Connection, table: str, batches: Iterable[Batch], replay_id: str) -> Written:
    """Write rows to a table of actions and its table of contacts, and replace the rows with the same keys.

    Creates the tables, or adds the columns that they lack. All rows are in one transaction.

    Args:
        connection: where to write, in no transaction.
        table: name of the table of actions, ``results`` or ``schema.results``.
        batches: the rows.
        replay_id: name of their replay.

    Raises:
        ReplayError: a table of this name is something else, or there is none and it cannot be created.
    """
    schema, _, name = table.rpartition(".")
    actions = _Table(connection, (name, schema), ACTION_COLUMNS, ACTION_KEY)
    contacts = _Table(connection, (f"{name}_contacts", schema), CONTACT_COLUMNS, CONTACT_KEY)
    actions.prepare(FIRST_COLUMNS)
    contacts.prepare({column.name for column in CONTACT_COLUMNS})
    actions.delete(replay_id, actions.c.row_key.is_(None))  # of an earlier version
    written = Written()
    for batch in batches:
        numbers = [row["contact_no"] for row in batch.contacts]
        # A contact that had no action may have one now, and a renamed step has another key.
        stale = [actions.c.row_key.not_in([row["row_key"] for row in batch.actions])] if actions.upserts else []
        actions.delete(replay_id, actions.c.contact_no.in_(numbers), *stale)
        actions.write(batch.actions)
        if not contacts.upserts:
            contacts.delete(replay_id, contacts.c.contact_no.in_(numbers))
        contacts.write(batch.contacts)
        written.actions += len(batch.actions)
        written.contacts += len(batch.contacts)
    connection.commit()
    return written


class _Table:
    """One of the tables.

    Args:
        connection: to its database.
        name: of the table, and of its schema, which may be empty.
        columns: that it has.
        key: names of the columns that identify a row.

    Attributes:
        upserts: whether writing a row replaces the one with the same key.
    """

    def __init__(
        self, connection: sa.Connection, name: tuple[str, str], columns: Sequence[Column], key: Sequence[str]
    ) -> None:
        dialect = connection.dialect.name
        self._connection = connection
        self._key = key
        self._table = sa.Table(
            name[0],
            sa.MetaData(),
            *(sa.Column(one.name, _TYPES[one.kind](one), nullable=not one.required) for one in columns),
            schema=name[1] or None,
        )
        self.c = self._table.c
        self.upserts = dialect in _UPSERTS
        if self.upserts:
            self._table.append_constraint(sa.UniqueConstraint(*key, name=f"{name[0]}_key"))
        elif dialect != GENERIC:
            sa.Index(f"ix_{name[0]}_replay_id", self.c.replay_id)

    def prepare(self, first: Collection[str]) -> None:
        """Create the table, or add the columns that it lacks.

        Args:
            first: columns that a table of any version has.

        Raises:
            ReplayError: it lacks one of them, or can be neither read nor created.
        """
        there, unreadable = self._columns()
        if there is None:
            try:
                self._table.create(self._connection)
                self._connection.commit()
                return
            except sa.exc.SQLAlchemyError as error:
                self._connection.rollback()
                there, _ = self._columns()  # another task may just have created it
                if there is None:
                    raise ReplayError(
                        f"{self._table.fullname} can neither be read ({unreadable}) nor created ({reason_of(error)}): "
                        "grant the role of the connection the permission"
                    ) from None
        lacking = [name for name in self.c.keys() if name in first and name not in there]  # noqa: SIM118  # names
        if lacking:
            raise ReplayError(
                f"{self._table.fullname} already exists, without the columns {', '.join(lacking)}; use another table"
            )
        self._add_columns([name for name in self.c.keys() if name not in there])  # noqa: SIM118
        self._connection.commit()

    def _add_columns(self, names: Sequence[str]) -> None:
        preparer = self._connection.dialect.identifier_preparer
        table = preparer.format_table(self._table)
        add = "ADD" if self._connection.dialect.name in ("mssql", "oracle") else "ADD COLUMN"
        for name in sorted(names, key=lambda name: name not in self._key):
            column = sa.schema.CreateColumn(self.c[name]).compile(dialect=self._connection.dialect)
            self._connection.exec_driver_sql(f"ALTER TABLE {table} {add} {column}")
            if name in self._key and self.upserts:  # before the other columns: a table with all of them has the index
                key = ", ".join(map(preparer.quote, self._key))
                index = preparer.quote(f"{self._table.name}_key")
                self._connection.exec_driver_sql(f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} ({key})")

    def _columns(self) -> tuple[set[str] | None, str]:
        """Return the names of the columns that there are; or ``None``, and why they cannot be read."""
        query = sa.select(sa.text("*")).select_from(self._table).where(sa.literal_column("1 = 0"))
        try:
            return {name.lower() for name in self._connection.execute(query).keys()}, ""  # noqa: SIM118  # no mapping
        except sa.exc.SQLAlchemyError as error:
            self._connection.rollback()
            return None, reason_of(error)

    def delete(self, replay_id: str, *where: sa.ColumnElement[bool]) -> None:
        """Delete rows of a replay."""
        self._connection.execute(sa.delete(self._table).where(self.c.replay_id == replay_id, *where))

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows; where the database can, replace those with the same keys."""
        dialect = self._connection.dialect.name
        statement = _UPSERTS.get(dialect, sa.insert)(self._table)
        if self.upserts:
            new = statement.excluded
            without_run = new.dag_id.is_(None)  # a command keeps the run that is there
            changed = {
                name: sa.case((without_run, column), else_=new[name]) if name in RUN_COLUMNS else new[name]
                for name, column in self.c.items()
                if name not in self._key
            }
            statement = statement.on_conflict_do_update(index_elements=list(self._key), set_=changed)
        values = [_without_zones(row) for row in rows] if dialect in _NAIVE else list(rows)
        if self._connection.dialect.driver in _ROW_BY_ROW:
            self._connection.execute(statement.values(values))
        else:
            self._connection.execute(statement, values)


def _without_zones(row: Row) -> Row:
    return {
        name: value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value for name, value in row.items()
    }

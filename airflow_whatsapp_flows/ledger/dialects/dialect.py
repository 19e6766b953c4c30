"""What SQLite and PostgreSQL do differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Connection, Table


class RowsWork(NamedTuple):
    """A statement, and the rows to run it for.

    Attributes:
        for_each: the statement for one row, with a ``?`` for each value.
        for_all: the statement for all rows, with a ``%b`` for the array of each column.
        rows: values in column order; at least one row.
    """

    for_each: str
    for_all: str
    rows: Sequence[tuple[Any, ...]]


class Dialect(Protocol):
    """The operations that differ between databases.

    Attributes:
        shared_lock: suffix of a SELECT that protects its rows from changes until the transaction ends.
        needs_statistics: whether it scans a table in full until statistics exist.
    """

    shared_lock: str
    needs_statistics: bool

    def begin(self, connection: Connection) -> None:
        """Start a write transaction."""

    def lock_until_commit(self, connection: Connection, number: int) -> None:
        """Hold the numbered lock until the transaction ends."""

    def run_for_rows(self, connection: Connection, work: Sequence[RowsWork]) -> None:
        """Run statements for many rows each, in the form that is fastest in this database; no two for the same row."""

    def clock(self, connection: Connection) -> float:
        """Return the time in seconds of a clock that all users of the ledger share."""
        raise NotImplementedError

    def clock_scope(self) -> str:
        """Return a text that changes when the clock restarts; empty if that is unknown or never happens."""
        raise NotImplementedError

    def is_one_of(self, column: ColumnElement[Any], texts: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a column is one of many texts, which are one parameter."""

    def text_before(self, column: ColumnElement[Any], mark: str) -> ColumnElement[str]:
        """Return the text of a column up to the first ``mark``, or all of it."""
        raise NotImplementedError

    def refresh_statistics(self, connection: Connection, table: Table) -> None:
        """Update the planner's statistics of a table."""

    def give_back_room(self, connection: Connection, tables: Sequence[str]) -> None:
        """Reclaim the space of deleted rows; must run outside a transaction."""

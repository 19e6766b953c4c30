"""What SQLite and PostgreSQL do differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Table


class Dialect(Protocol):
    """What a database does in its own way.

    Attributes:
        shared_lock: the end of a SELECT whose row nobody may change before the end of the transaction.
        needs_statistics: whether it searches all rows of a table that it has not looked at before.
    """

    shared_lock: str
    needs_statistics: bool

    def begin(self, connection: Connection) -> None:
        """Begin a transaction that writes."""

    def lock_until_commit(self, connection: Connection, number: int) -> None:
        """Let nobody else hold the lock of a number before the end of the transaction."""

    def run_for_rows(
        self, connection: Connection, for_each: str, for_all: str, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Run a statement for many rows, in the form that the database runs fastest."""

    def clock(self, connection: Connection) -> float:
        """Seconds on a clock that every user of the ledger shares."""
        raise NotImplementedError

    def clock_scope(self) -> str:
        """Changes when the clock begins anew; empty where that is not known, or never happens."""
        raise NotImplementedError

    def text_before(self, column: ColumnElement[Any], mark: str) -> ColumnElement[str]:
        """The text of a column up to the first such character, or all of it."""
        raise NotImplementedError

    def refresh_statistics(self, connection: Connection, table: Table) -> None:
        """Look at the rows of a table."""

    def give_back_room(self, connection: Connection, tables: Sequence[str]) -> None:
        """Use the room of deleted rows again; outside of a transaction."""

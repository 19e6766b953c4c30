"""Writes through a connection of any database driver (PEP 249), which the caller has opened."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.engine.default import DefaultDialect

GENERIC = "generic"
"""Name of the dialect of a database that SQLAlchemy doesn't know."""
_DIALECTS = {
    "psycopg": "postgresql+psycopg", "psycopg2": "postgresql+psycopg2", "sqlite3": "sqlite",
    "MySQLdb": "mysql+mysqldb", "pymysql": "mysql+pymysql", "mysql": "mysql+mysqlconnector",
    "oracledb": "oracle+oracledb", "pymssql": "mssql+pymssql", "snowflake": "snowflake",
    "duckdb": "whatsapp_flows_duckdb",
}  # fmt: skip
"""Packages of drivers, and the dialects of SQLAlchemy that use them."""


class GenericDialect(DefaultDialect):
    """The SQL that every database has."""

    name = driver = GENERIC
    supports_statement_cache = True
    supports_sane_rowcount = False


class DuckDBDialect(DefaultDialect):
    """DuckDB, which writes ``ON CONFLICT`` like PostgreSQL."""

    name = driver = "duckdb"
    supports_statement_cache = True
    supports_sane_rowcount = False
    statement_compiler = PGCompiler
    default_paramstyle = "qmark"
    supports_multivalues_insert = True


registry.register("whatsapp_flows_generic", __name__, GenericDialect.__name__)
registry.register("whatsapp_flows_duckdb", __name__, DuckDBDialect.__name__)


@contextmanager
def session(connection: Any) -> Iterator[sa.Connection]:
    """Use an open connection of a driver through SQLAlchemy; what is not committed is rolled back at the end.

    Args:
        connection: of the driver, in no transaction.
    """
    with _engine_of(connection).connect() as opened:
        yield opened


def reason_of(error: Exception) -> str:
    """Return the first line of a database's own message."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _engine_of(connection: Any) -> sa.Engine:
    package = type(connection).__module__.removeprefix("_").partition(".")[0]
    driver = _driver_of(connection)
    if package == "psycopg":
        connection.row_factory = importlib.import_module("psycopg.rows").tuple_row  # `extra` may select others
    elif package == "psycopg2":
        connection.cursor_factory = None
    opened = _OneTransaction(connection) if package == "duckdb" else connection
    for dialect in (_DIALECTS.get(package), "whatsapp_flows_generic"):
        with suppress(sa.exc.NoSuchModuleError, ImportError):
            if dialect is not None:
                given = {"module": driver} if dialect.startswith("whatsapp_flows_") else {}
                return sa.create_engine(f"{dialect}://", creator=lambda: opened, poolclass=sa.StaticPool, **given)
    raise AssertionError("the generic dialect needs nothing")


def _driver_of(connection: Any) -> Any:
    """Return the package of a driver that PEP 249 describes: it names the style of parameters, and has the errors."""
    parts = type(connection).__module__.removeprefix("_").split(".")
    for end in range(1, len(parts) + 1):
        package = importlib.import_module(".".join(parts[:end]))
        if hasattr(package, "paramstyle"):
            return package
    raise sa.exc.ArgumentError(f"the driver {parts[0]} does not say how a statement takes parameters")


class _OneTransaction:
    """A connection of DuckDB, whose own cursors are separate transactions."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._is_open = False

    def cursor(self) -> _Cursor:
        if not self._is_open:
            self._connection.begin()
            self._is_open = True
        return _Cursor(self._connection)

    def commit(self) -> None:
        if self._is_open:
            self._is_open = False
            self._connection.commit()

    def rollback(self) -> None:
        if self._is_open:
            self._is_open = False
            self._connection.rollback()

    def close(self) -> None:
        self.rollback()


class _Cursor:
    """A cursor of the connection itself."""

    rowcount = -1
    arraysize = 1

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.fetchone = connection.fetchone
        self.fetchmany = connection.fetchmany
        self.fetchall = connection.fetchall

    @property
    def description(self) -> Any:
        return self._connection.description

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        self._connection.execute(statement, list(parameters))

    def executemany(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._connection.executemany(statement, [list(row) for row in parameters])

    def close(self) -> None:
        """Nothing: the connection is the cursor."""

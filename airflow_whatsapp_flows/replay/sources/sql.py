"""Reads the rows of a query lazily."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from types import MappingProxyType
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import URL

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.run_terms import WATERMARK
from airflow_whatsapp_flows.ledger.urls import hide_password
from airflow_whatsapp_flows.replay.sources.cells import row_from_cells
from airflow_whatsapp_flows.replay.sources.cursors import stream_records
from airflow_whatsapp_flows.replay.sources.files import hide_credentials
from airflow_whatsapp_flows.replay.sources.keys import NESTED, PHONE, Keys
from airflow_whatsapp_flows.replay.sources.parameters import check_parameters, parameters_of
from airflow_whatsapp_flows.replay.sources.source import Row


class Database(Protocol):
    """A database in which to run queries."""

    @property
    def name(self) -> str:
        """Its name, without passwords."""

    def connect(self) -> AbstractContextManager[Any]:
        """Open a connection of its driver (PEP 249); it is rolled back at the end.

        Raises:
            SourceError: the database cannot be reached.
        """

    def reason(self, error: Exception) -> str:
        """Return the message of a driver's error, without passwords."""


class QuerySource:
    """The rows of one SQL statement. The transaction is rolled back, so it never changes anything.

    Args:
        database: the database to query.
        query: the statement. Without parameters it is sent unchanged: ``%`` has its SQL meaning.
        keys: keys of the flow's responses, and their columns.
        parameters: values of its named parameters.

    Raises:
        SourceError: a parameter has no value.
    """

    def __init__(
        self, database: Database, query: str, keys: Keys, parameters: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.cursor_reading = keys.cursor_reading
        optional = () if self.cursor_reading is None else (WATERMARK,)  # the first replay has none
        check_parameters(query, parameters, optional)
        if self.cursor_reading is not None:
            self.cursor_reading.is_filtered = WATERMARK not in parameters_of(query)
        self._parameters = parameters
        self.name = database.name
        self.mark: str | None = None
        self.ignored_columns: Collection[str] = keys.ignored_columns
        self._database = database
        self._query = query
        self._keys = keys

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows, in the order of the query.

        Raises:
            SourceError: the database refuses the query, or its columns are not the flow's.
        """
        with (
            self._database.connect() as connection,
            closing(stream_records(connection, self._query, self._parameters)) as records,
        ):
            yield from self._rows(self._wrap_errors(records))

    def _wrap_errors(self, records: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        try:
            yield from records
        except Exception as error:  # each driver has its own errors
            reason = self._database.reason(error)
            hint = ""
            if self.cursor_reading is not None and "could not determine data type of parameter" in reason:
                column = self.cursor_reading.cursor.column
                hint = f"; write the comparison first: {column} >= :watermark OR :watermark IS NULL"
            raise SourceError(f"{self.name}: the query cannot be run: {reason}{hint}") from None

    def _rows(self, records: Iterator[Sequence[Any]]) -> Iterator[Row]:
        names = next(records, None)
        if names is None:
            raise SourceError(f"{self.name}: the query returns no rows; write one that selects responses")
        columns = self._keys.resolve(names, "query", NESTED)
        indexes = [column.index for column in columns]
        phone = next((column for column in columns if column.key == PHONE), None)
        reading = self.cursor_reading
        cursor = None if reading is None else reading.column_of(names, "query")
        if reading is not None:
            reading.note_columns([column.name for column in columns])
        for number, record in enumerate(records, 1):
            if reading is not None and cursor is not None and not reading.admits(record[cursor], f"query:{number}"):
                continue
            if phone is not None and not isinstance(record[phone.index], (str, type(None))):
                kind = type(record[phone.index]).__name__
                raise SourceError(
                    f"query:{number}: the phones in column {phone.name!r} are numbers ({kind}), which cannot have + "
                    "or leading zeros; cast the column to text"
                )
            place = f"query:{number}"
            yield row_from_cells(number, place, columns, [record[index] for index in indexes], self._keys.id_column)


class UrlDatabase:
    """A database given by a SQLAlchemy URL.

    Args:
        location: the URL.

    Raises:
        SourceError: the URL is invalid, or its driver is not installed.
    """

    def __init__(self, location: str) -> None:
        url = _parse_url(location)
        self.name = hide_password(url)
        if url.get_backend_name() == "sqlite" and is_absent(url.database):
            # SQLite would create it.
            raise SourceError(f"{self.name}: the file does not exist")
        try:
            self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        except ImportError as error:
            hint = "pip install 'airflow-whatsapp-flows[postgres]'" if "psycopg" in str(error) else str(error)
            raise SourceError(f"{self.name}: the driver of the database is not installed: {hint}") from None
        except sa.exc.NoSuchModuleError:
            kind = url.get_backend_name()
            raise SourceError(
                f"{self.name}: SQLAlchemy has no dialect {kind!r}; install the package that provides it, or fix the URL"
            ) from None
        except sa.exc.ArgumentError as error:
            raise SourceError(f"{self.name}: {error}") from None

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Open a connection of its driver."""
        try:
            connection = self._engine.raw_connection()
        except Exception as error:  # each driver has its own errors
            raise SourceError(f"{self.name}: the database cannot be reached: {self.reason(error)}") from None
        with closing(connection):  # which rolls back
            yield connection.driver_connection

    def reason(self, error: Exception) -> str:
        """Return the first line of an error, which is the driver's own message."""
        return (str(error).strip().splitlines() or [type(error).__name__])[0]


def database_url(text: str) -> URL:
    """Parse a SQLAlchemy URL, with the driver that the package's extra installs.

    Raises:
        sqlalchemy.exc.ArgumentError: the URL is invalid.
    """
    url = sa.make_url(text)
    # SQLAlchemy's default depends on its version.
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _parse_url(location: str) -> URL:
    try:
        return database_url(location)
    except (sa.exc.ArgumentError, ValueError):  # a port that is not a number is a ValueError
        example = "sqlite:///responses.db or postgresql://user@host/database"
        raise SourceError(
            f"{hide_credentials(location)}: is not an SQLAlchemy URL of a database, such as {example}"
        ) from None


def is_absent(database: str | None) -> bool:
    """Whether an SQLite database is a file that does not exist."""
    return bool(database) and not str(database).startswith((":memory:", "file:")) and not os.path.exists(str(database))


def display_url(location: str) -> str:
    """Return a database's URL without its password.

    Raises:
        SourceError: the URL is invalid.
    """
    return hide_password(_parse_url(location))


def display_absolute_url(location: str) -> str:
    """Return a database's URL without its password, and with the absolute path of a file.

    Raises:
        SourceError: the URL is invalid.
    """
    url = _parse_url(location)
    file = url.database if url.get_backend_name() in ("sqlite", "duckdb") else None
    if file and not file.startswith((":", "file:")):
        url = url.set(database=os.path.abspath(file))
    return hide_password(url)

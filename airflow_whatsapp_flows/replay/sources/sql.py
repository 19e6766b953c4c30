"""Rows of a query, fetched as they are needed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.ledger.urls import hide_password
from airflow_whatsapp_flows.replay.sources.cells import typed_row
from airflow_whatsapp_flows.replay.sources.files import shown
from airflow_whatsapp_flows.replay.sources.keys import NESTED, PHONE, Keys
from airflow_whatsapp_flows.replay.sources.source import Row

_ROWS_AT_ONCE = 1000


class QuerySource:
    """The rows of one SQL statement. The transaction is rolled back, so nothing is ever changed by it.

    Args:
        location: SQLAlchemy URL of the database.
        query: the statement, sent as it is: ``:`` and ``%`` in it mean what they mean in SQL.
        keys: of the flow's responses, and their columns.

    Raises:
        SourceError: the URL is none, or its driver is not installed.
    """

    def __init__(self, location: str, query: str, keys: Keys) -> None:
        url = _parsed(location)
        self.name = hide_password(url)
        self.mark: str | None = None
        if url.get_backend_name() == "sqlite" and _is_absent(url.database):
            # SQLite would make it.
            raise SourceError(f"{self.name}: there is no such file")
        self._query = query
        self._keys = keys
        self.ignored: Collection[str] = keys.ignored
        try:
            self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        except ImportError as error:
            hint = "pip install 'airflow-whatsapp-flows[postgres]'" if "psycopg" in str(error) else str(error)
            raise SourceError(f"{self.name}: the driver of the database is not installed: {hint}") from None
        except sa.exc.ArgumentError as error:
            raise SourceError(f"{self.name}: {error}") from None

    def __iter__(self) -> Iterator[Row]:
        """The rows, in the order of the query.

        Raises:
            SourceError: the database refuses the query, or its columns are not the flow's.
        """
        options = {"stream_results": True, "yield_per": _ROWS_AT_ONCE, "no_parameters": True}
        try:
            with (
                self._engine.connect().execution_options(**options) as connection,
                closing(connection.exec_driver_sql(self._query)) as result,
            ):
                yield from self._rows(result)
        except sa.exc.SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise SourceError(f"{self.name}: the query cannot be run: {reason}") from None

    def _rows(self, result: sa.CursorResult[Any]) -> Iterator[Row]:
        if not result.returns_rows:
            raise SourceError(f"{self.name}: the query returns no rows; write one that selects responses")
        names = list(result.keys())
        columns = self._keys.resolve(names, "query", NESTED)
        indexes = [column.index for column in columns]
        phone = next((column for column in columns if column.key == PHONE), None)
        for number, record in enumerate(result, 1):
            if phone is not None and not isinstance(record[phone.index], (str, type(None))):
                kind = type(record[phone.index]).__name__
                raise SourceError(
                    f"query:{number}: the phones in column {phone.name!r} are numbers ({kind}), which have no + and no "
                    "leading zeros; cast the column to text"
                )
            place = f"query:{number}"
            yield typed_row(number, place, columns, [record[index] for index in indexes], self._keys.id_column)


def database_url(text: str) -> URL:
    """A SQLAlchemy URL, with the driver that the package's extra installs.

    Raises:
        sqlalchemy.exc.ArgumentError: it is none.
    """
    url = sa.make_url(text)
    # SQLAlchemy's default depends on its version.
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _parsed(location: str) -> URL:
    try:
        return database_url(location)
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        example = "sqlite:///responses.db or postgresql://user@host/database"
        raise SourceError(f"{shown(location)}: is no SQLAlchemy URL of a database, such as {example}") from None


def _is_absent(database: str | None) -> bool:
    return bool(database) and not str(database).startswith((":memory:", "file:")) and not os.path.exists(str(database))


def shown_url(location: str) -> str:
    """The URL of a database as it may be shown.

    Raises:
        SourceError: it is none.
    """
    return hide_password(_parsed(location))

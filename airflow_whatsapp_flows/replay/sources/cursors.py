"""Streams the rows of one statement one by one, for any database driver, regardless of their number and length."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from airflow_whatsapp_flows.replay.sources.parameters import BoundQuery, bind, number_parameters

_UNKNOWN, _TIMESTAMP = 0, 1184  # types of PostgreSQL
_ROWS_AT_ONCE = 64  # for psycopg2, which needs a round trip per fetch


def stream_records(
    connection: Any, query: str, parameters: Mapping[str, Any] = MappingProxyType({})
) -> Generator[Sequence[Any], None, None]:
    """Run a statement, and fetch its rows lazily; one without parameters is sent unchanged.

    A client that fetches many rows holds them all, and a row may be long. So psycopg streams single rows, and every
    other driver is asked for one row at a time; the driver decides how much to fetch from the server.

    Args:
        connection: a connection of the driver (PEP 249).
        query: one statement.
        parameters: values of its named parameters.

    Yields:
        The names of the columns, unless the statement returns no rows; then the rows.
    """
    driver = type(connection).__module__.partition(".")[0]
    bound = bind(query, parameters, connection)
    if driver == "psycopg":
        yield from _stream(connection, bound, _describe(connection, query, parameters))
        return
    cursor = _cursor(connection, driver)
    try:
        cursor.execute(bound.text, *(() if bound.values is None else (bound.values,)))
        records = iter(cursor) if hasattr(cursor, "__iter__") else iter(cursor.fetchone, None)
        # psycopg2 knows the columns of a named cursor only after the first fetch.
        first = next(records, None) if cursor.description is None and driver == "psycopg2" else None
        if cursor.description is None:
            return
        names = [str(column[0]) for column in cursor.description]
        yield names
        if first is not None:
            yield first
        for record in records:
            # A connection's `extra` may select dictionaries as rows.
            yield [record[name] for name in names] if isinstance(record, Mapping) else record
    finally:
        cursor.close()


def _cursor(connection: Any, driver: str) -> Any:
    if driver == "psycopg2":
        plain = importlib.import_module("psycopg2.extensions").cursor
        cursor = connection.cursor(f"whatsapp_flows_{uuid4().hex}", cursor_factory=plain)
        cursor.itersize = _ROWS_AT_ONCE
        return cursor
    if driver in ("MySQLdb", "pymysql"):
        return connection.cursor(importlib.import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


def _stream(connection: Any, bound: BoundQuery, names: list[str] | None) -> Iterator[Sequence[Any]]:
    from psycopg.rows import tuple_row

    if names is not None:
        if not names:
            return
        yield names
    with connection.cursor(row_factory=tuple_row) as cursor:
        for record in cursor.stream(*bound):
            if names is None:
                names = [column.name for column in cursor.description]
                yield names
            yield record


def _describe(connection: Any, query: str, parameters: Mapping[str, Any]) -> list[str] | None:
    """Return the column names before any rows, as there may be none; ``None`` if the server does not tell."""
    protocol = connection.pgconn
    text, names = number_parameters(query)
    types = [_TIMESTAMP if _is_aware(parameters[name]) else _UNKNOWN for name in names]
    prepared = protocol.prepare(b"", text.encode(), types or None)
    described = protocol.describe_prepared(b"") if prepared.status == 1 else prepared
    if described.status != 1:  # COMMAND_OK; running the statement reports what is wrong
        return None
    return [(described.fname(index) or b"").decode() for index in range(described.nfields)]


def _is_aware(value: Any) -> bool:
    return isinstance(value, dt.datetime) and value.tzinfo is not None

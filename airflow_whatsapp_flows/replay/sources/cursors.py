"""Rows of one statement, by whatever driver a database has: one after the other, however many and however long."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

_ROWS_AT_ONCE = 64  # of psycopg2, which fetches no single ones without a round trip for each


def stream_records(connection: Any, query: str) -> Generator[Sequence[Any], None, None]:
    """Run a statement as it is, and fetch its rows as they are asked for.

    A client that asks for many rows at once holds them all, and a row may be long: so psycopg streams single rows,
    and every other driver is asked for one after the other, which fetches from the server what it fetches at once.

    Args:
        connection: of the driver (PEP 249).
        query: one statement.

    Yields:
        The names of the columns, unless the statement returns no rows; then the rows.
    """
    driver = type(connection).__module__.partition(".")[0]
    if driver == "psycopg":
        yield from _stream(connection, query)
        return
    cursor = _cursor(connection, driver)
    try:
        cursor.execute(query)
        records = iter(cursor) if hasattr(cursor, "__iter__") else iter(cursor.fetchone, None)
        # psycopg2 knows the columns of a named cursor once it has fetched something.
        first = next(records, None) if cursor.description is None and driver == "psycopg2" else None
        if cursor.description is None:
            return
        names = [str(column[0]) for column in cursor.description]
        yield names
        if first is not None:
            yield first
        for record in records:
            # A connection's `extra` may choose rows that are dictionaries.
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


def _stream(connection: Any, query: str) -> Iterator[Sequence[Any]]:
    from psycopg.rows import tuple_row

    names = _describe(connection, query)
    if names is not None:
        if not names:
            return
        yield names
    with connection.cursor(row_factory=tuple_row) as cursor:
        for record in cursor.stream(query):
            if names is None:
                names = [column.name for column in cursor.description]
                yield names
            yield record


def _describe(connection: Any, query: str) -> list[str] | None:
    """Names of the columns before there are rows, for there may be none; ``None`` where the server does not say."""
    protocol = connection.pgconn
    prepared = protocol.prepare(b"", query.encode())
    described = protocol.describe_prepared(b"") if prepared.status == 1 else prepared
    if described.status != 1:  # COMMAND_OK; what is wrong is said when the statement is run
        return None
    return [(described.fname(index) or b"").decode() for index in range(described.nfields)]

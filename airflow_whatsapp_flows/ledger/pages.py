"""The size of a page of rows: limited by number of rows and by bytes of text, because a row may hold megabytes.

Paged queries start after the last row number read: ``read_pending_contacts`` in ``records``, and ``_pages`` in
``results``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Integer, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from airflow_whatsapp_flows.ledger.schema import attempts, contacts

PAGE_BYTES = 8_388_608
"""Maximum bytes of text in the rows of one page.

A page of a single row may have more. In memory, text takes a multiple of its length.
"""

T = TypeVar("T")


def slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split values into parts of at most ``size`` values, for statements that take so many."""
    return (values[start : start + size] for start in range(0, len(values), size))


def batches(items: Iterable[T], most: int, size: Callable[[T], int]) -> Iterator[list[T]]:
    """Split items into batches of at most ``most`` items; the item that reaches :data:`PAGE_BYTES` ends its batch.

    Args:
        items: read lazily.
        most: maximum items in a batch.
        size: returns the bytes of an item.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if len(batch) >= most or total >= PAGE_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def parts(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, int]]:
    """Yield the first and last id of each run of rows that fits into a page.

    Args:
        rows: ids and sizes, in the order of the ids; read lazily.
    """
    for batch in batches(rows, sys.maxsize, lambda row: row[1] or 0):
        yield batch[0][0], batch[-1][0]


class _text_size(FunctionElement[int]):  # noqa: N801  # named after the SQL function
    inherit_cache = True
    type = Integer()


@compiles(_text_size)
def _compile_size(element: _text_size, compiler: SQLCompiler, **options: Any) -> str:
    # PostgreSQL knows the size of a long text without reading it.
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(_text_size, "sqlite")
def _compile_length(element: _text_size, compiler: SQLCompiler, **options: Any) -> str:
    return f"length({compiler.process(element.clauses, **options)})"  # octet_length requires SQLite 3.43


def size_of(*columns: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the expression for the total size of some columns; NULL counts as 0."""
    total: ColumnElement[int] = func.coalesce(_text_size(columns[0]), 0)
    for column in columns[1:]:
        total = total + func.coalesce(_text_size(column), 0)
    return total


def size_of_attempts(flow_id: str, column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the expression for the size of a column in all attempts for a contact's response."""
    total = (
        select(func.sum(_text_size(column)))
        .where(attempts.c.response_id == contacts.c.response_id, attempts.c.flow_id == flow_id)
        .correlate(contacts)
        .scalar_subquery()
    )
    return func.coalesce(total, 0)

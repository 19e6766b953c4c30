"""Converts typed table cells to the plain data of a contact response."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from airflow_whatsapp_flows.replay.sources.keys import Column
from airflow_whatsapp_flows.replay.sources.source import Row, no_id, reject_row, row_of


class CellError(ValueError):
    """A cell contains a value not allowed in a contact response; the code is stable, the text for people."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def row_from_cells(
    number: int, place: str, columns: Sequence[Column], cells: Sequence[Any], id_column: str | None = None
) -> Row:
    """Create a row from typed cells; a cell without a value counts as absent.

    Args:
        number: number of the row, from 1.
        place: location of the row, for people.
        columns: columns to read.
        cells: their values, in the order of ``columns``.
        id_column: name of the id column, if given by the user; a row without an id is then rejected.
    """
    value: dict[str, Any] = {}
    problem: tuple[str, str] | None = None
    for column, cell in zip(columns, cells, strict=True):
        try:
            plain = cell if type(cell) is str and cell.isascii() else _plain(cell)
        except CellError as error:
            problem = problem or (error.code, f"the column {column.name!r} {error}")
            continue
        if plain is not None:
            value[column.key] = plain
    if problem is not None:
        return reject_row(number, place, *problem, value.get("id"))
    if not value:
        return reject_row(number, place, "empty_row", "all columns that are read are empty")
    if id_column is not None and value.get("id") in (None, ""):
        return no_id(number, place, id_column)
    return row_of(number, place, {key: _without_absent(key, item) for key, item in value.items()})


def _plain(cell: Any) -> Any:
    """Convert a cell to plain data: times in ISO 8601, decimals as text, NaN as absent."""
    if cell is None or isinstance(cell, (bool, int)):
        return cell
    if isinstance(cell, str):
        _check_characters(cell)
        return str(cell)
    if isinstance(cell, float):
        return _number(cell)
    if isinstance(cell, (dt.datetime, dt.date, dt.time)):
        return cell.isoformat()
    if isinstance(cell, (Decimal, uuid.UUID)):
        return str(cell)
    if isinstance(cell, dict):
        return {str(key): _plain(item) for key, item in cell.items()}
    if isinstance(cell, (list, tuple)):
        # Parquet's maps come as lists of pairs.
        if cell and all(isinstance(item, tuple) and len(item) == 2 for item in cell):
            return {str(key): _plain(item) for key, item in cell}
        return [_plain(item) for item in cell]
    if isinstance(cell, (bytes, bytearray, memoryview)):
        raise CellError("bytes", "contains bytes, not text; decode them first")
    raise CellError("unknown_type", f"contains a {type(cell).__name__}; cast it to text")


def _number(cell: float) -> float | None:
    if math.isnan(cell):
        return None
    if math.isinf(cell):
        raise CellError("bad_number", "contains an infinite number")
    return cell


def _check_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CellError("surrogate", "contains half of a surrogate pair, which is not a character") from None


def _without_absent(key: str, item: Any) -> Any:
    # A column of objects has every field in every row, so null is its only way to express "absent".
    if "." in key or not isinstance(item, dict):
        return item
    return {name: inner for name, inner in item.items() if inner is not None}

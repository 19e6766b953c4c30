"""The interface of sources: rows, each with its location and either a value or a problem."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from msgspec import Struct

from airflow_whatsapp_flows.replay.sources.cursor import Cursor, CursorReading

Format = Literal["jsonl", "csv", "parquet"]

MAX_ROW_BYTES = 4_194_304
"""Maximum bytes of a line of JSON or a record of CSV."""

_SHOWN_CHARACTERS = 200
_SCIENTIFIC = re.compile(r"\s*[+-]?\d+(?:[.,]\d*)?[eE][+-]?\d+\s*")


class Row(Struct, frozen=True):
    """A row of a source: a value, or the reason why it has none.

    Attributes:
        number: in a text file the line where the row starts, from 1; elsewhere the number of the row, from 1.
        place: for people, such as ``responses.csv:17``.
        value: plain data for :func:`~airflow_whatsapp_flows.flow.walk.response.read_response`; ``None`` when the row
            is rejected.
        problem: why it is rejected: a stable code, a colon, and a sentence. ``None`` when it has a value.
        shown_id: the id of a rejected row, if it could be found.
    """

    number: int
    place: str
    value: Mapping[str, Any] | None
    problem: str | None = None
    shown_id: str | None = None


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Location of contact responses, and how to read them.

    Attributes:
        location: a path, a glob, ``-`` for standard input, an object storage URL (``s3://…``, anything that fsspec
            supports), or a SQLAlchemy URL if ``query`` is given.
        columns: names of columns by response key, ``{"contact.phone": "Teléfono"}``.
        id_column: name of the id column; by default ``id``.
        query: one SQL statement that returns rows.
        parameters: values of its named parameters.
        cursor: column from which to read on; ``None`` to read everything.
        format: format of the files; by default from their extension. Standard input is ``jsonl`` by default.
    """

    location: str
    columns: Mapping[str, str] = field(default_factory=dict)
    id_column: str | None = None
    query: str | None = None
    format: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cursor: Cursor | None = None


class Source(Protocol):
    """Rows of contact responses, streamed: memory does not grow with their number.

    It may be iterated once. An error of the whole source is raised as a
    :class:`~airflow_whatsapp_flows.errors.SourceError`, when it is opened or read.
    """

    @property
    def name(self) -> str:
        """The location as entered by the user, without passwords."""

    @property
    def mark(self) -> str | None:
        """Text that changes with the content; ``None`` if unknown, as for standard input and SQL."""

    @property
    def ignored_columns(self) -> Collection[str]:
        """Names of columns that are not part of a contact response, among those read so far."""

    @property
    def cursor_reading(self) -> CursorReading | None:
        """How far it was read, if it is read with a cursor."""

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows, in the order of the source."""


def row_of(number: int, place: str, value: Mapping[str, Any]) -> Row:
    """Create a row, rejected if its phone number was damaged by a conversion."""
    phone = value.get("contact.phone")
    if phone is None:
        contact = value.get("contact")
        phone = contact.get("phone") if isinstance(contact, dict) else None
    if phone is None or not _is_scientific(phone):
        return Row(number, place, value)
    problem = "the phone is a number in scientific notation, which has lost digits; export the column as text"
    return reject_row(number, place, "scientific_phone", problem, value.get("id"))


def _is_scientific(phone: object) -> bool:
    if isinstance(phone, str):
        return ("E" in phone or "e" in phone) and _SCIENTIFIC.fullmatch(phone) is not None
    return isinstance(phone, float)


def reject_row(number: int, place: str, code: str, reason: str, found_id: object = None) -> Row:
    """Create a rejected row.

    Args:
        number: number of the row.
        place: location of the row.
        code: stable code of the problem.
        reason: what is wrong and what to do.
        found_id: the value found as the id; shown if it is a valid id.
    """
    is_id = isinstance(found_id, (str, int)) and not isinstance(found_id, bool) and found_id != ""
    return Row(number, place, None, f"{code}: {reason}", str(found_id)[:_SHOWN_CHARACTERS] if is_id else None)


def no_id(number: int, place: str, column: str) -> Row:
    """Create a rejected row that lacks an id in the column given by the user."""
    return reject_row(number, place, "no_id", f"{column!r}, which contains the id, is absent or empty")

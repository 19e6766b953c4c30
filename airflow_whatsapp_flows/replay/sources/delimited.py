"""CSV: one contact response per record (RFC 4180), with names of columns in the first."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources.keys import Column, Keys
from airflow_whatsapp_flows.replay.sources.lines import check_encoding, skip_line
from airflow_whatsapp_flows.replay.sources.source import MAX_ROW_BYTES, Row, no_id, reject_row, row_of

_DELIMITERS = (",", ";", "\t", "|")
_QUOTED = re.compile(r'"(?:[^"]|"")*(?:"|$)')
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Delimited:
    """Reads CSV in UTF-8, delimited by comma, semicolon, tab or bar; cells are text, unchanged.

    Args:
        keys: keys of the flow's responses, and their columns.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def read(self, stream: BinaryIO, name: str) -> Iterator[Row]:
        """Read the rows of one file; a record's number is the line where it starts.

        Raises:
            SourceError: its first line does not name the columns, its columns are not the flow's, or a quote is never
                closed.
        """
        lines = _Lines(stream, name)
        with _wide_cells():
            delimiter, names = _header(lines, name)
            columns = self._keys.resolve(names, f"{name}:{lines.number}")
            reading = self._keys.cursor_reading
            cursor = None if reading is None else reading.column_of(names, f"{name}:{lines.number}")
            yield from self._rows(_Records(lines, delimiter), name, columns, (len(names), cursor))

    def finish(self, name: str) -> None:
        """Do nothing: the header of each file was already checked."""

    def _rows(
        self, records: _Records, name: str, columns: tuple[Column, ...], shape: tuple[int, int | None]
    ) -> Iterator[Row]:
        (width, cursor), reading = shape, self._keys.cursor_reading
        key_indexes = [(column.key, column.index) for column in columns]
        id_index = next((column.index for column in columns if column.key == "id"), None)
        for number, cells, fault in records:
            place = f"{name}:{number}"
            if fault is not None:
                code, reason = fault
                yield reject_row(number, place, code, records.add_line_range(reason), _cell(cells, id_index))
                continue
            if len(cells) != width:
                reason = f"{len(cells)} cells, but the header has {width}"
                yield reject_row(number, place, "cells", records.add_line_range(reason), _cell(cells, id_index))
                continue
            if cursor is not None and reading is not None and not reading.admits(cells[cursor], place):
                continue
            value = {key: cells[index] for key, index in key_indexes if cells[index]}
            if not value:
                yield reject_row(number, place, "empty_row", "all cells that are read are empty")
            elif self._keys.id_column is not None and "id" not in value:
                yield no_id(number, place, self._keys.id_column)
            else:
                yield row_of(number, place, value)


def _cell(cells: list[str], index: int | None) -> str | None:
    # A record with too few or too many cells usually has the first ones right.
    if index is None or index >= len(cells) or _SURROGATE.search(cells[index]):
        return None
    return cells[index]


class _Lines:
    """Decoded, numbered lines; invalid UTF-8 is kept as surrogates, so that the surrounding record is found."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self.name = name
        self.number = 0
        self.start = 1
        self.record_bytes = 0
        self.doubtful = False

    def start_record(self) -> None:
        self.start = self.number + 1
        self.record_bytes = 0
        self.doubtful = False

    def next(self) -> str:
        """Return the next line, or ``""`` at the end.

        Raises:
            _TooLarge: the record is too large with this line; the record was skipped.
        """
        line = self._stream.readline(MAX_ROW_BYTES + 1)
        if not line:
            return ""
        inside = self.record_bytes > 0
        self.number += 1
        if self.number == 1:
            line = check_encoding(line, self.name)
        self.record_bytes += len(line)
        if self.record_bytes > MAX_ROW_BYTES:
            self._skip_record(line, inside)
            raise _TooLarge
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.doubtful = True
            return line.decode("utf-8", "surrogateescape")

    def _skip_record(self, line: bytes, inside: bool) -> None:
        # Quotes in a cell are doubled, so an odd number of them opens or closes one.
        while line:
            quotes = line.count(b'"') + (0 if line.endswith(b"\n") else skip_line(self._stream))
            inside ^= bool(quotes % 2)
            if not inside:
                return
            line = self._stream.readline(MAX_ROW_BYTES)
            self.number += bool(line)
        raise _never_closed(f"{self.name}:{self.start}")


class _TooLarge(Exception):
    pass


def _never_closed(place: str) -> SourceError:
    return SourceError(
        f"{place}: a quote in this record is never closed, so the end of the row is unknown; close it, "
        'or write it as "" if it is part of the text'
    )


class _Records:
    """Records of cells: starting line, cells, and problem of each."""

    def __init__(self, lines: _Lines, delimiter: str) -> None:
        self._lines = lines
        self._delimiter = delimiter

    def __iter__(self) -> Iterator[tuple[int, list[str], tuple[str, str] | None]]:
        lines = self._lines
        reader = csv.reader(iter(lines.next, ""), delimiter=self._delimiter, strict=True)
        while True:
            lines.start_record()
            fault: tuple[str, str] | None = None
            cells: list[str] = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _TooLarge:
                fault = ("too_large", f"the record has more than {MAX_ROW_BYTES:,} bytes")
            except csv.Error as error:
                self._check_closed(error)
                fault = ("bad_csv", f"not CSV: {error}")
            if fault is None and lines.doubtful:
                fault = ("not_utf8", "it is not UTF-8; save the file as UTF-8 (Excel calls it 'CSV UTF-8')")
            if fault is not None or any(map(str.strip, cells)) or len(cells) > 1:
                yield lines.start, cells, fault

    def add_line_range(self, reason: str) -> str:
        """Append the range of lines to a reason, if the record has several."""
        first, last = self._lines.start, self._lines.number
        return reason if last <= first else f"{reason} (lines {first} to {last})"

    def _check_closed(self, error: csv.Error) -> None:
        if "unexpected end of data" in str(error):
            raise _never_closed(f"{self._lines.name}:{self._lines.start}") from None


def _header(lines: _Lines, name: str) -> tuple[str, list[str]]:
    """Read the delimiter and the stripped column names."""
    text = "\n"
    try:
        while text and not text.strip():
            lines.start_record()
            text = lines.next()
        # A name may contain a line break: its quote is closed on a later line.
        while text.count('"') % 2 and (more := lines.next()):
            text += more
    except _TooLarge:
        raise SourceError(f"{name}:1: the header has more than {MAX_ROW_BYTES:,} bytes; is it CSV?") from None
    if not text:
        raise SourceError(f"{name}: is empty; the first line of a CSV file must name the columns")
    if lines.doubtful:
        raise SourceError(f"{name}:{lines.number}: not UTF-8; save the file as UTF-8 (Excel calls it 'CSV UTF-8')")
    bare = _QUOTED.sub("", text)
    delimiter = max(_DELIMITERS, key=bare.count)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise SourceError(f"{name}:{lines.number}: the header is not CSV: {error}") from None
    if len(records) != 1:
        raise SourceError(
            f"{name}: the header is not one line: end lines in LF or CR LF, not in CR alone, and close every quote"
        )
    return delimiter, [cell.strip() for cell in records[0]]


_limit_lock = threading.Lock()
_limit_before: list[int] = []


@contextmanager
def _wide_cells() -> Iterator[None]:
    """Allow cells as long as a record; restore the limit afterwards, as it applies to the whole process."""
    with _limit_lock:
        _limit_before.append(csv.field_size_limit())
        csv.field_size_limit(max(_limit_before[-1], MAX_ROW_BYTES))
    try:
        yield
    finally:
        with _limit_lock:
            csv.field_size_limit(_limit_before.pop())

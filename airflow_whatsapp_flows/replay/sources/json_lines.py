"""JSON Lines: one contact response per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.walk.response_text import ResponseTextError, parse_response
from airflow_whatsapp_flows.flow.watermark import FILE_MODIFIED
from airflow_whatsapp_flows.replay.sources.keys import NESTED, PLAIN, Keys
from airflow_whatsapp_flows.replay.sources.lines import check_encoding, skip_line
from airflow_whatsapp_flows.replay.sources.source import MAX_ROW_BYTES, Row, no_id, reject_row, row_of

_SHOWN_BYTES = 4096
_PEEKED_BYTES = 1024
_RESPONSE_KEYS = (*PLAIN, *NESTED)
_LEFT_OUT = Row(0, "", {})
_FLOW_KEYS = {"flow_format", "steps"}
_FIRST_KEY = r'\s*\{\s*"%s"\s*:\s*("(?:[^"\\]|\\.)*"|\d+(?=\s*[,}]))'


class JsonLines:
    """Reads JSON Lines in UTF-8; blank lines are skipped.

    Args:
        keys: mapping of keys by the user; columns are keys of a line's object.
    """

    def __init__(self, keys: Keys) -> None:
        self._mapped = keys.mapped
        self._id_column = keys.id_column
        self._id_name = keys.id_column or "id"
        self._first_id = re.compile(_FIRST_KEY % re.escape(self._id_name))
        self._renamed = False
        self._unseen = {name for key, name in keys.mapped.items() if key != "id"}
        reading = keys.cursor_reading
        self._reading = None if reading is None or reading.cursor.column == FILE_MODIFIED else reading
        self._has_rows = self._has_cursor = False

    def read(self, stream: BinaryIO, name: str) -> Iterator[Row]:
        """Read the rows of one file.

        Raises:
            SourceError: it is one JSON array, one object over several lines, a flow, or not UTF-8 at all.
        """
        number = 0
        first = True
        while line := stream.readline(MAX_ROW_BYTES + 1):
            number += 1
            if number == 1:
                line = check_encoding(line, name)
            if not line.strip():
                continue
            if first and line.lstrip().startswith(b"["):
                raise SourceError(
                    f"{name}: is one JSON array; a source must have one JSON object per line (convert it with jq -c "
                    "'.[]')"
                )
            place = f"{name}:{number}"
            if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
                first = False
                skip_line(stream)
                reason = f"the line has more than {MAX_ROW_BYTES:,} bytes"
                yield reject_row(number, place, "too_large", reason, self._find_id(line[:_SHOWN_BYTES]))
                continue
            row = self._row(number, place, line)
            if first:
                first = False
                _check_shape(row or _LEFT_OUT, line, stream, name)
            if row is not None:
                yield row

    def finish(self, name: str) -> None:
        """Check, after the last row, that every requested column occurred in some row.

        Raises:
            SourceError: a column occurred in no row.
        """
        if self._reading is not None and self._has_rows and not self._has_cursor:
            column = self._reading.cursor.column
            raise SourceError(f"{name}: no row has the key {column!r}, which is the cursor; no watermark moved")
        for key, column in self._mapped.items():
            if self._renamed and column in self._unseen:
                raise SourceError(f"{name}: no row has the key {column!r}, which is mapped to {key!r}")

    def _admits(self, value: dict[str, Any], place: str) -> bool:
        """Whether the cursor admits a row; its key is no part of a response, unless it has the name of one."""
        if self._reading is None:
            return True
        column = self._reading.cursor.column
        self._has_rows = True
        self._has_cursor = self._has_cursor or column in value
        cell = value.get(column)
        if column not in _RESPONSE_KEYS and column not in self._mapped.values():
            value.pop(column, None)
        return self._reading.admits(cell, place)

    def _row(self, number: int, place: str, line: bytes) -> Row | None:
        try:
            text = line.decode("utf-8")
            value = parse_response(text)
        except UnicodeDecodeError as error:
            reason = f"byte {line[error.start]:#04x} at position {error.start + 1} is not UTF-8"
            return reject_row(number, place, "not_utf8", reason, self._find_id(line))
        except ResponseTextError as error:
            where = "" if error.position is None else f" (character {error.position + 1})"
            return reject_row(number, place, error.code, error.reason + where, self._find_id(line))
        if not isinstance(value, dict):
            return reject_row(number, place, "not_object", "each line must be one contact response, which is an object")
        if not self._admits(value, place):
            return None
        if self._mapped:
            self._rename(value)
            if self._id_column is not None and value.get("id") in (None, ""):
                return no_id(number, place, self._id_column)
        return row_of(number, place, value)

    def _rename(self, value: dict[str, Any]) -> None:
        self._renamed = True
        # Remove all before adding any: a column may have the name of another one's key.
        found = {key: value[name] for key, name in self._mapped.items() if name in value}
        for name in self._mapped.values():
            value.pop(name, None)
        if self._id_column is not None:
            value.pop("id", None)
        if self._unseen:
            self._unseen.difference_update(self._mapped[key] for key in found)
        value.update(found)

    def _find_id(self, line: bytes) -> object:
        """Find the id of an invalid line: its first key, or the id found by a lenient parser."""
        text = line.decode("utf-8", "replace")
        try:
            match = self._first_id.match(text)
            found = json.loads(match.group(1)) if match else json.loads(text).get(self._id_name)
            if isinstance(found, str):
                found.encode("utf-8")
        except (ValueError, AttributeError, RecursionError):  # a lone surrogate is a ValueError too
            return None
        return found


def _check_shape(row: Row, line: bytes, stream: BinaryIO, name: str) -> None:
    """Recognize a file that is one JSON object, or a flow, by its first row."""
    if row.value is not None and row.value.keys() >= _FLOW_KEYS:
        raise _is_a_flow(name)
    if row.problem is None or not row.problem.startswith("not_json") or not line.lstrip().startswith(b"{"):
        return
    # One object over several lines ends its first line after a brace, a bracket or a comma.
    following = _peek(stream)
    if line.rstrip().endswith((b"{", b"[", b",")) and following.lstrip()[:1] not in (b"", b"{"):
        if b'"flow_format"' in line + following:
            raise _is_a_flow(name)
        raise SourceError(
            f"{name}: is one JSON object over several lines; a source must have one JSON object per line (convert it "
            "with jq -c .)"
        )


def _peek(stream: BinaryIO) -> bytes:
    found: bytes = stream.peek(_PEEKED_BYTES)[:_PEEKED_BYTES] if hasattr(stream, "peek") else b""
    return found


def _is_a_flow(name: str) -> SourceError:
    return SourceError(f"{name}: is a flow file, not responses; a source must have one contact response per line")

"""Groups the rows of a source by person: rows that share an identifier, directly or through other rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from airflow_whatsapp_flows.flow.identity import PHONE

_PHONE_MARK = f"{PHONE}:"


class SourceRow(Struct, frozen=True):
    """The fields of a source row that identify its person.

    Attributes:
        marks: its identifiers, see :attr:`~airflow_whatsapp_flows.flow.identity.Identity.marks`.
        response_id: identity of its response.
        chunk: its chunk if the person is new.
    """

    marks: tuple[str, ...]
    response_id: str
    chunk: int


class Move(NamedTuple):
    """Rows of earlier batches to move to another chunk.

    Attributes:
        chunk: the target chunk.
        response_ids: identify some of the rows.
        phones: identify the others, as spelled in the ledger.
    """

    chunk: int
    response_ids: Sequence[str]
    phones: Sequence[str]


class _Group(Struct):
    chunk: int
    size: int = 0


@dataclass(slots=True)
class _Batch:
    group_of: dict[str, int]
    groups: dict[int, _Group]
    merged: dict[int, int] = field(default_factory=dict)
    rows: list[tuple[int, str]] = field(default_factory=list)
    moves: list[tuple[int, list[str], list[str]]] = field(default_factory=list)

    def find(self, group: int) -> int:
        while group in self.merged:
            group = self.merged[group]
        return group


class Persons:
    """Assigns all rows of a person to one chunk. Works on disk: memory does not grow with the source.

    Rows identified only by phone cost nothing here as long as no row has another identifier: the ledger knows the chunk
    of a phone.
    """

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        self._next = 1

    def close(self) -> None:
        """Delete the temporary database."""
        if self._database is not None:
            self._database.close()

    def place(
        self, rows: Sequence[SourceRow], phones: Mapping[str, tuple[int, int]]
    ) -> tuple[dict[str, int], list[Move]]:
        """Assign chunks to the rows of one batch.

        Args:
            rows: the batch's rows that have an identifier.
            phones: chunk and number of earlier rows by phone, from the ledger.

        Returns:
            The chunk of each identifier of people with several, and the earlier rows to move.
        """
        if self._database is None and all(len(row.marks) == 1 and row.marks[0].startswith(_PHONE_MARK) for row in rows):
            return {}, []
        database = self._open_database()
        marks = list({mark for row in rows for mark in row.marks})
        batch = self._find_groups(database, marks)
        of_phones = {f"{_PHONE_MARK}{phone}" for phone in phones}
        for row in rows:
            if len(row.marks) > 1 and batch.group_of.keys().isdisjoint(row.marks) and of_phones.isdisjoint(row.marks):
                self._put(batch, row, self._new(batch, _Group(row.chunk)))
                continue
            if len(row.marks) > 1 or not row.marks[0].startswith(_PHONE_MARK) or row.marks[0] in batch.group_of:
                self._add(database, batch, row, phones)
        self._save(database, batch)
        places = {group: batch.groups[batch.find(group)].chunk for group in set(batch.group_of.values())}
        chunks = {mark: places[group] for mark, group in batch.group_of.items()}
        moves = [Move(batch.groups[batch.find(group)].chunk, ids, spelt) for group, ids, spelt in batch.moves]
        return chunks, moves

    def _open_database(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect("")  # a temporary file, deleted when closed
            self._database.executescript(
                "PRAGMA journal_mode=OFF; PRAGMA cache_size=-16384;"
                "CREATE TABLE marks (mark TEXT PRIMARY KEY, person INTEGER) WITHOUT ROWID;"
                "CREATE INDEX marks_person ON marks (person);"
                "CREATE TABLE persons (person INTEGER PRIMARY KEY, chunk INTEGER, size INTEGER);"
                "CREATE TABLE rows (person INTEGER, response_id TEXT);"
                "CREATE INDEX rows_person ON rows (person);"
            )
        return self._database

    def _find_groups(self, database: sqlite3.Connection, marks: Sequence[str]) -> _Batch:
        group_of = dict(_select_in(database, "SELECT mark, person FROM marks WHERE mark IN ({})", marks))
        numbers = list(set(group_of.values()))
        query = "SELECT person, chunk, size FROM persons WHERE person IN ({})"
        groups = {person: _Group(chunk, size) for person, chunk, size in _select_in(database, query, numbers)}
        return _Batch(group_of, groups)

    def _add(
        self, database: sqlite3.Connection, batch: _Batch, row: SourceRow, phones: Mapping[str, tuple[int, int]]
    ) -> None:
        for mark in row.marks:
            known = phones.get(mark.removeprefix(_PHONE_MARK)) if mark.startswith(_PHONE_MARK) else None
            if known is not None and mark not in batch.group_of:
                batch.group_of[mark] = self._new(batch, _Group(*known))
        found = {batch.find(batch.group_of[mark]) for mark in row.marks if mark in batch.group_of}
        if not found:
            found = {self._new(batch, _Group(row.chunk))}
        person = max(found, key=lambda number: (batch.groups[number].size, -number))
        for other in sorted(found - {person}):
            self._merge(database, batch, other, person)
        self._put(batch, row, person)

    def _put(self, batch: _Batch, row: SourceRow, person: int) -> None:
        batch.groups[person].size += 1
        batch.group_of.update(dict.fromkeys(row.marks, person))
        batch.rows.append((person, row.response_id))

    def _new(self, batch: _Batch, group: _Group) -> int:
        number, self._next = self._next, self._next + 1
        batch.groups[number] = group
        return number

    def _merge(self, database: sqlite3.Connection, batch: _Batch, smaller: int, larger: int) -> None:
        if batch.groups[smaller].chunk != batch.groups[larger].chunk:
            ids = [id_ for (id_,) in database.execute("SELECT response_id FROM rows WHERE person = ?", (smaller,))]
            marks = {mark for (mark,) in database.execute("SELECT mark FROM marks WHERE person = ?", (smaller,))}
            marks.update(mark for mark, number in batch.group_of.items() if batch.find(number) == smaller)
            spelt = [mark.removeprefix(_PHONE_MARK) for mark in sorted(marks) if mark.startswith(_PHONE_MARK)]
            batch.moves.append((larger, ids, spelt))
        database.execute("UPDATE marks SET person = ? WHERE person = ?", (larger, smaller))
        database.execute("UPDATE rows SET person = ? WHERE person = ?", (larger, smaller))
        batch.groups[larger].size += batch.groups[smaller].size
        batch.merged[smaller] = larger

    def _save(self, database: sqlite3.Connection, batch: _Batch) -> None:
        database.executemany(
            "INSERT OR REPLACE INTO marks VALUES (?, ?)",
            [(mark, batch.find(number)) for mark, number in batch.group_of.items()]
            if batch.merged
            else list(batch.group_of.items()),
        )
        database.executemany(
            "INSERT OR REPLACE INTO persons VALUES (?, ?, ?)",
            [(number, one.chunk, one.size) for number, one in batch.groups.items() if number not in batch.merged],
        )
        database.executemany(
            "INSERT INTO rows VALUES (?, ?)",
            [(batch.find(number), id_) for number, id_ in batch.rows] if batch.merged else batch.rows,
        )


def _select_in(database: sqlite3.Connection, query: str, values: Sequence[object]) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(values), 500):
        some = values[start : start + 500]
        found += database.execute(query.format(", ".join("?" * len(some))), some)
    return found

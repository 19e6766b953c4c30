"""The ids and people seen so far while reading a source."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence


class SeenRows:
    """Stores the ids of rows and of their people on disk: memory does not grow with their number."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a temporary file, deleted when closed
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA cache_size=-16384")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, digest TEXT, epoch INTEGER) WITHOUT ROWID")
        self._database.execute("CREATE TABLE marks (mark TEXT PRIMARY KEY) WITHOUT ROWID")

    def contents(self, ids: Sequence[str]) -> list[tuple[str, str, int]]:
        """Return those of the ids that were seen, each with the digest and epoch of its content."""
        marks = ", ".join("?" * len(ids))
        query = f"SELECT id, digest, epoch FROM seen WHERE id IN ({marks})"  # noqa: S608  # only question marks
        return self._database.execute(query, ids).fetchall()

    def add(self, rows: Iterable[tuple[str | None, str | None, int]]) -> None:
        """Add ids, digests and epochs; for each id the first one counts."""
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", rows)

    def is_first(self, marks: Sequence[str]) -> bool:
        """Whether none of a person's identifiers was passed to this method before."""
        rows = [(mark,) for mark in marks]
        return not rows or self._database.executemany("INSERT OR IGNORE INTO marks VALUES (?)", rows).rowcount == len(
            rows
        )

    def close(self) -> None:
        """Delete the temporary database."""
        self._database.close()

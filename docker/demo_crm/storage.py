"""Where the demo CRM keeps things: one SQLite file, one connection."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

KINDS = ("leads", "documents", "tickets", "notes", "threads", "messages", "runs")

SCHEMA = """
CREATE TABLE IF NOT EXISTS contacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, phone TEXT NOT NULL UNIQUE, name TEXT, tags TEXT NOT NULL,
    extra TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (number TEXT PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL,
    body BLOB NOT NULL, saved_at TEXT NOT NULL);
""" + "\n".join(
    f"CREATE TABLE IF NOT EXISTS {kind} "
    "(id INTEGER PRIMARY KEY AUTOINCREMENT, created_at TEXT NOT NULL, data TEXT NOT NULL);"
    for kind in KINDS
)

ORDERS: dict[str, dict[str, Any]] = {
    "1001": {"status": "shipped", "carrier": "Estafeta", "total": "459.00", "currency": "MXN"},
    "1002": {"status": "pending", "carrier": None, "total": "1280.50", "currency": "MXN"},
    "1003": {"status": "delivered", "carrier": "DHL", "total": "89.90", "currency": "MXN"},
}


def now() -> str:
    """The time in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Storage:
    """The CRM's tables.

    The gate (gate.py) lets one request at a time in here, each in one transaction: what a request changed, its
    saved reply and its line in the request log are kept together or not at all.

    Args:
        database: Path of the SQLite file, made if absent; `:memory:` keeps nothing.
    """

    def __init__(self, database: str | Path) -> None:
        self._connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(SCHEMA)
        for number, order in ORDERS.items():
            self.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", number, json.dumps(order))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def changes(self) -> int:
        """How many rows were ever changed over this connection."""
        return self._connection.total_changes

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside, or undo all of it if it raises."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run one statement with its values bound."""
        return self._connection.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self.execute(sql, *values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        found: sqlite3.Row | None = self.execute(sql, *values).fetchone()
        return found

    def add(self, kind: str, data: Any) -> int:
        """Keep one record, and return its id.

        Args:
            kind: One of `KINDS`.
            data: Anything JSON can say.
        """
        cursor = self.execute(
            f"INSERT INTO {_known(kind)} (created_at, data) VALUES (?, ?)", now(), json.dumps(data, ensure_ascii=False)
        )
        return int(cursor.lastrowid or 0)

    def get(self, kind: str, record_id: int) -> Any:
        """The data of one record, or None."""
        found = self.row(f"SELECT data FROM {_known(kind)} WHERE id = ?", record_id)
        return None if found is None else json.loads(found["data"])

    def latest(self, kind: str, limit: int) -> list[dict[str, Any]]:
        """The newest records first, each as `{"id", "created_at", "data"}`."""
        found = self.rows(f"SELECT id, created_at, data FROM {_known(kind)} ORDER BY id DESC LIMIT ?", limit)
        return [{"id": row["id"], "created_at": row["created_at"], "data": json.loads(row["data"])} for row in found]


def _known(kind: str) -> str:
    # A table name cannot be bound as a value, so it is checked before it is put into SQL.
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of record; kinds are {', '.join(KINDS)}")
    return kind

"""Ledgers as earlier releases made them, from dumps in the folder of their version.

``v1`` was made by commit 5bf6596: three replays (one finished, one of the same rows again, one that was stopped by a
server that is gone), two DAG runs of the same flow, and one of a hand-written DAG.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

_DUMPS = Path(__file__).parent
TABLES = ("replays", "contacts", "attempts", "chunks", "slots")


def make_ledger(url: str, version: str = "v1") -> None:
    """Create the ledger of a version in an empty database."""
    backend = make_url(url).get_backend_name()
    folder = _DUMPS / version
    text = "".join((folder / f"{name}.sql").read_text(encoding="utf-8") for name in (backend, "rows"))
    if backend == "sqlite":
        connection = sqlite3.connect(make_url(url).database or "")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(text)
        connection.close()
        return
    with psycopg.connect(url.replace("+psycopg", "")) as server:
        server.execute(text.encode())
        for table, column in (("replays", "no"), ("contacts", "id"), ("attempts", "id")):
            name = f"whatsapp_flows_{table}"
            server.execute(f"SELECT setval('{name}_{column}_seq', (SELECT max({column}) FROM {name}))".encode())


def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table of version 1, in order, read by the driver alone."""
    statements = {table: f"SELECT * FROM whatsapp_flows_{table} ORDER BY 1, 2" for table in TABLES}
    if make_url(url).get_backend_name() == "sqlite":
        connection = sqlite3.connect(make_url(url).database or "")
        connection.row_factory = sqlite3.Row
        found = {table: [dict(row) for row in connection.execute(text)] for table, text in statements.items()}
        connection.close()
        return found
    with psycopg.connect(url.replace("+psycopg", ""), row_factory=psycopg.rows.dict_row) as server:
        return {table: server.execute(text.encode()).fetchall() for table, text in statements.items()}

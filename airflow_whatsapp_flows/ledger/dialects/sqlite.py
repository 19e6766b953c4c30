"""The SQLite dialect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, func, select
from sqlalchemy.exc import OperationalError

from airflow_whatsapp_flows.ledger.dialects.dialect import Dialect, RowsWork

_LOOK_AGAIN_MS = 2
"""Milliseconds between attempts to become the writer.

SQLite's own pauses grow to 100 ms, while another process writes for one.
"""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Sqlite:
    shared_lock = ""  # only one write transaction runs at a time
    needs_statistics = False

    def begin(self, connection: Connection) -> None:
        # A transaction that reads first and writes later cannot wait for another writer: SQLite refuses it.
        driver: Any = connection.connection.driver_connection
        (patience,) = driver.execute("PRAGMA busy_timeout").fetchone()
        until = time.monotonic() + patience / 1000
        driver.execute(f"PRAGMA busy_timeout = {_LOOK_AGAIN_MS}")
        try:
            while True:
                try:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                except OperationalError as error:
                    if "locked" not in str(error.orig) or time.monotonic() >= until:
                        raise
                else:
                    return
        finally:
            driver.execute(f"PRAGMA busy_timeout = {patience}")

    def lock_until_commit(self, connection: Connection, number: int) -> None:
        """Do nothing: only one write transaction runs at a time."""

    def run_for_rows(self, connection: Connection, work: Sequence[RowsWork]) -> None:
        for one in work:
            connection.exec_driver_sql(one.for_each, list(one.rows))

    def clock(self, connection: Connection) -> float:
        # The machine's monotonic clock, which is the same for all its processes.
        return time.monotonic()

    def clock_scope(self) -> str:
        try:
            return _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def is_one_of(self, column: ColumnElement[Any], texts: Sequence[str]) -> ColumnElement[bool]:
        each = func.json_each(msgspec.json.encode(texts).decode()).table_valued("value")
        return column.in_(select(each.c.value))

    def text_before(self, column: ColumnElement[Any], mark: str) -> ColumnElement[str]:
        return func.substr(column, 1, func.instr(column.concat(mark), mark) - 1)

    def refresh_statistics(self, connection: Connection, table: Table) -> None:
        """Do nothing: SQLite needs no statistics here."""

    def give_back_room(self, connection: Connection, tables: Sequence[str]) -> None:
        connection.exec_driver_sql("VACUUM").close()
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()


SQLITE: Dialect = _Sqlite()

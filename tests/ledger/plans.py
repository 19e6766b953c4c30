"""The plans of the statements that a function runs: whether one reads a whole table that grows with the contacts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from airflow_whatsapp_flows.ledger import Ledger

_ALL_AFTER_A_ROW = re.compile(r"USING INTEGER PRIMARY KEY \(rowid[<>]")
GROWING = ("whatsapp_flows_contacts", "whatsapp_flows_attempts", "whatsapp_flows_identifiers")


@contextmanager
def record_statements(ledger: Ledger) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that are run meanwhile, with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters))

    event.listen(ledger._engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(ledger._engine, "before_cursor_execute", note)


def full_scans(ledger: Ledger, statements: list[tuple[str, Any]]) -> list[str]:
    """Return the steps of plans that read a growing table as a whole."""
    return [step for statement, parameters in statements for step in _scans(ledger, statement, parameters)]


def _scans(ledger: Ledger, statement: str, parameters: Any) -> list[str]:
    if not statement.lstrip().upper().startswith(("SELECT", "WITH")):
        return []
    with ledger.connect() as connection:
        if ledger.is_sqlite:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            return [f"{row[3]}: {statement}" for row in rows if _reads_all(row[3])]
        # A small table is read as a whole because that is cheaper; what matters is whether an index serves.
        connection.exec_driver_sql("SET enable_seqscan = off")
        steps = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()]
        return [
            f"{step.strip()}: {statement}" for step in steps if "Seq Scan" in step and any(n in step for n in GROWING)
        ]


def _reads_all(step: str) -> bool:
    # "SCAN table", also by way of a covering index, or all rows after one; an index finds what matches. The index of
    # unusual phones has only those of earlier releases.
    return (
        any(name in step for name in GROWING)
        and "_unusual_phone" not in step
        and (step.startswith("SCAN ") or _ALL_AFTER_A_ROW.search(step) is not None)
    )

"""Reclaims the space of deleted rows."""

from __future__ import annotations

from sqlalchemy import Connection, text

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.locks import find_running_replays
from airflow_whatsapp_flows.ledger.schema import metadata


def vacuum(ledger: Ledger) -> int:
    """Rewrite an SQLite file without its unused space, or let PostgreSQL reuse that of our tables.

    Args:
        ledger: a ledger that no replay uses.

    Returns:
        Bytes freed in the ledger's files; on a server only those at the end of its files.

    Raises:
        LedgerError: a replay is running, or the ledger cannot be written.
    """
    ledger.check_writable()
    with ledger.read() as connection:
        running = find_running_replays(connection, ledger.file)
    if running:
        raise LedgerError(
            f"the ledger {ledger.display_url} is in use: {', '.join(running)}. Let it finish, or stop it, and try "
            "again; it can be resumed"
        )
    with ledger.read() as connection:
        before = _size(ledger, connection)
        connection.rollback()
        ledger.check_identity()
        ledger.dialect.give_back_room(connection, list(metadata.tables))
        return max(0, before - _size(ledger, connection))


def _size(ledger: Ledger, connection: Connection) -> int:
    if ledger.file is not None:
        log = ledger.file.with_name(f"{ledger.file.name}-wal")
        return sum(file.stat().st_size for file in (ledger.file, log) if file.exists())
    sizes = " + ".join(f"pg_total_relation_size('{table}')" for table in metadata.tables)
    return int(connection.execute(text(f"SELECT {sizes}")).scalar_one())

"""Where SQLite and PostgreSQL differ: one module for each."""

from __future__ import annotations

from sqlalchemy import Connection

from airflow_whatsapp_flows.ledger.dialects.dialect import Dialect, RowsWork
from airflow_whatsapp_flows.ledger.dialects.postgresql import POSTGRESQL
from airflow_whatsapp_flows.ledger.dialects.sqlite import SQLITE

__all__ = ["POSTGRESQL", "SQLITE", "Dialect", "RowsWork", "dialect_of"]


def dialect_of(connection: Connection) -> Dialect:
    """Return the dialect of a connection's database."""
    return SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL

"""What contacts are known by besides their phone: the one writer of its table."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, delete, select

from airflow_whatsapp_flows.flow.identity import Identifier
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, identifiers, once
from airflow_whatsapp_flows.ledger.statements import insert_statement

_ADD = insert_statement(
    identifiers.name,
    {"value": "text", "kind": "text", "flow_id": "text", "response_id": "text"},
    or_nothing=True,
)
ADD_ONE = (
    f"INSERT INTO {identifiers.name} (value, kind, flow_id, response_id) "  # noqa: S608  # the table's own names
    "VALUES (:value, :kind, :flow_id, :response_id) ON CONFLICT DO NOTHING"
)
"""Adds one identifier, by SQLite's driver and by PostgreSQL's."""


def add_identifiers(
    connection: Connection, flow_id: str, responses: Iterable[tuple[str, tuple[Identifier, ...]]]
) -> None:
    """Add identifiers of responses; those that are there already stay.

    Args:
        connection: in a transaction.
        flow_id: id of the flow.
        responses: ids of responses, each with the identifiers of its contact.
    """
    rows = [(value, kind, flow_id, response_id) for response_id, known in responses for kind, value in known]
    _ADD.run(connection, sorted(set(rows)))  # in one order: two writers never wait for each other


def forget_purged(connection: Connection) -> None:
    """Remove identifiers, and claims of ``only_once``, of responses of which no personal data is left."""
    for table in (identifiers, once):
        held = (
            select(contacts.c.id)
            .where(contacts.c.response_id == table.c.response_id, contacts.c.digest.is_not(None))
            .where(contacts.c.response.is_not(None))
            .correlate(table)
        )
        run = (
            select(attempts.c.id)
            .where(attempts.c.response_id == table.c.response_id, attempts.c.flow_id == table.c.flow_id)
            .where(attempts.c.replay_no.is_(None))
            .where(attempts.c.result.is_not(None) | attempts.c.phone.is_not(None) | attempts.c.fate.is_(None))
            .correlate(table)
        )
        connection.execute(delete(table).where(and_(~held.exists(), ~run.exists())))

"""Identifiers of contacts other than the phone: the only writer of their table."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, and_, delete, select

from airflow_whatsapp_flows.flow.identity import Identifier
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, identifiers, once
from airflow_whatsapp_flows.ledger.statements import insert_statement

ADD_IDENTIFIERS = insert_statement(identifiers, ("value", "kind", "flow_id", "response_id"), or_nothing=True)
"""Inserts the rows of :func:`identifier_rows`; existing rows stay unchanged."""


def add_identifiers(
    connection: Connection, flow_id: str, responses: Iterable[tuple[str, tuple[Identifier, ...]]]
) -> None:
    """Add identifiers of responses; existing rows stay unchanged.

    Args:
        responses: ids of responses, each with the identifiers of its contact.
    """
    rows = {row for response_id, known in responses for row in identifier_rows(flow_id, response_id, known)}
    ADD_IDENTIFIERS.run(connection, sorted(rows))  # always in the same order: two writers never deadlock


def identifier_rows(flow_id: str, response_id: str, known: Iterable[Identifier]) -> list[tuple[str, str, str, str]]:
    """Return the table's rows for one response."""
    return [(value, kind, flow_id, response_id) for kind, value in known]


def forget_purged(connection: Connection, responses: Collection[str] | None = None) -> None:
    """Remove the identifiers and ``only_once`` claims of responses that have no other personal data left.

    Args:
        connection: in a transaction.
        responses: ids of the responses to look at; by default all.
    """
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
        unused = and_(~held.exists(), ~run.exists())
        if responses is not None:
            unused = and_(dialect_of(connection).is_one_of(table.c.response_id, list(responses)), unused)
        connection.execute(delete(table).where(unused))

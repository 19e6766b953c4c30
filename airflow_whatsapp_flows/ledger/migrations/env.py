"""Entry point of alembic commands: run in the caller's transaction, or on the ledger from the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from airflow_whatsapp_flows.ledger.schema import MIGRATIONS_TABLE, PREFIX, metadata


def _is_of_the_ledger(_object: object, name: str | None, kind: str, *_: object) -> bool:
    return kind != "table" or (name or "").startswith(PREFIX)  # the database may contain other tables


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=MIGRATIONS_TABLE,
        include_object=_is_of_the_ledger,
    )
    with context.begin_transaction():
        context.run_migrations()


_run(context.config.attributes["connection"])

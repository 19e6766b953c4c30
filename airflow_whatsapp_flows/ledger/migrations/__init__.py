"""Migrations of the ledger's tables: one alembic revision per version, in a linear history.

alembic is imported only when a ledger is upgraded, never when one is opened.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from airflow_whatsapp_flows.errors import LedgerError

FOLDER = Path(__file__).parent


def revision_of(version: int) -> str:
    """Return the alembic revision of a schema version."""
    return f"{version:04d}"


def upgrade_tables(connection: Connection, found: int, target: int) -> None:
    """Upgrade the tables from one version to another.

    Args:
        connection: in a transaction; a failure rolls everything back, also on SQLite.
        found: version of the tables; 0 if there are none.
        target: version to upgrade to.

    Raises:
        LedgerError: alembic finds tables that no release created.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    # Every process checks the ledger's own version. alembic's table follows it: version 1 had none.
    try:
        command.stamp(config, revision_of(found) if found else "base", purge=True)
        command.upgrade(config, revision_of(target))
    except CommandError as error:
        raise LedgerError(f"the tables of the ledger cannot be upgraded from version {found}: {error}") from error

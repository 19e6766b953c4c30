"""Migrations of the ledger's tables: one alembic revision for each version, in one linear history.

alembic is imported when a ledger is upgraded, and never when one is opened.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from airflow_whatsapp_flows.errors import LedgerError

FOLDER = Path(__file__).parent


def revision_of(version: int) -> str:
    """The alembic revision that makes a version of the schema."""
    return f"{version:04d}"


def upgrade_tables(connection: Connection, found: int, target: int) -> None:
    """Upgrade the tables from one version to another.

    Args:
        connection: in a transaction; a failure rolls everything back, on SQLite too.
        found: version of the tables; 0 where there are none.
        target: version to upgrade to.

    Raises:
        LedgerError: alembic finds tables that no release made.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    # The ledger's own version is what every process checks. alembic's table follows it: version 1 had none.
    try:
        command.stamp(config, revision_of(found) if found else "base", purge=True)
        command.upgrade(config, revision_of(target))
    except CommandError as error:
        raise LedgerError(f"the tables of the ledger cannot be upgraded from version {found}: {error}") from error

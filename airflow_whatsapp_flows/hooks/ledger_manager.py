"""Upgrades the ledger with ``airflow db migrate``."""

from __future__ import annotations

from typing import Any

from airflow.utils.db_manager import BaseDBManager

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.ledger.engine import display_url, read_url
from airflow_whatsapp_flows.ledger.migrations import FOLDER, revision_of
from airflow_whatsapp_flows.ledger.schema import MIGRATIONS_TABLE, SCHEMA_VERSION, metadata
from airflow_whatsapp_flows.ledger.upgrade import find_version, upgrade


class LedgerDBManager(BaseDBManager):
    """Upgrades the ledger configured in ``[whatsapp_flows] ledger``, in any database.

    The first task or replay creates a missing ledger. ``airflow db reset`` does not reset the ledger: it records what
    was sent to servers that were not reset.
    """

    metadata = metadata
    migration_dir = str(FOLDER)
    alembic_file = ""
    version_table_name = MIGRATIONS_TABLE
    supports_table_dropping = False
    revision_heads_map = {"0.1.0": revision_of(SCHEMA_VERSION)}  # noqa: RUF012  # as Airflow declares it

    def get_current_revision(self) -> str | None:
        """The revision of the ledger; ``None`` without a ledger."""
        found = find_version(self._url)
        return None if found is None else revision_of(found)

    def check_migration(self) -> bool:
        """Whether no upgrade is needed."""
        return find_version(self._url) in (None, SCHEMA_VERSION)

    def initdb(self, use_migration_files: bool = False) -> None:
        """Upgrade the ledger when Airflow's database is created."""
        self.upgradedb(use_migration_files=use_migration_files)

    def create_db_from_orm(self) -> None:
        """Upgrade the ledger; a missing one is not created."""
        self.upgradedb()

    def resetdb(self, skip_init: bool = False, use_migration_files: bool = False) -> None:
        """Upgrade the ledger without resetting it."""
        self.log.info("The ledger %s was not reset: it records what was sent", self._display_url)
        if not skip_init:
            self.upgradedb(use_migration_files=use_migration_files)

    def upgradedb(
        self,
        to_revision: str | None = None,
        from_revision: str | None = None,
        show_sql_only: bool = False,
        use_migration_files: bool = False,
    ) -> None:
        """Upgrade the ledger to the version of this release.

        Raises:
            LedgerError: another version or only the SQL was requested, or it cannot be upgraded.
        """
        if show_sql_only or from_revision or to_revision not in (None, "heads", revision_of(SCHEMA_VERSION)):
            raise LedgerError("the ledger can only be upgraded to the version that this release uses")
        if find_version(self._url) is None:
            self.log.info("There is no ledger in %s yet; the first task or replay creates it", self._display_url)
            return
        done = upgrade(self._url)
        if done.found == done.version:
            self.log.info("The ledger %s already has version %s", self._display_url, done.version)
            return
        kept = f"; a copy from before the upgrade is in {done.backup}" if done.backup else ""
        self.log.info(
            "The ledger %s was upgraded from version %s to %s%s", self._display_url, done.found, done.version, kept
        )

    def downgrade(self, to_revision: Any, from_revision: Any = None, show_sql_only: bool = False) -> None:
        """A ledger cannot be downgraded.

        Raises:
            LedgerError: always.
        """
        raise LedgerError("a ledger cannot be downgraded: restore the copy from before its upgrade")

    @property
    def _url(self) -> str:
        return provider_settings().ledger_url

    @property
    def _display_url(self) -> str:
        return display_url(read_url(self._url))

"""Upgrading the ledger with ``airflow db migrate``."""

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
    """Upgrades the ledger that ``[whatsapp_flows] ledger`` names, whichever database that is.

    A ledger that is not there yet is made by the first task or replay. ``airflow db reset`` leaves the ledger alone: it
    says what was sent to a server that was not reset.
    """

    metadata = metadata
    migration_dir = str(FOLDER)
    alembic_file = ""
    version_table_name = MIGRATIONS_TABLE
    supports_table_dropping = False
    revision_heads_map = {"0.1.0": revision_of(SCHEMA_VERSION)}  # noqa: RUF012  # as Airflow declares it

    def get_current_revision(self) -> str | None:
        """The revision of the ledger; ``None`` where there is none."""
        found = find_version(self._url)
        return None if found is None else revision_of(found)

    def check_migration(self) -> bool:
        """Whether nothing has to be upgraded."""
        return find_version(self._url) in (None, SCHEMA_VERSION)

    def initdb(self, use_migration_files: bool = False) -> None:
        """Upgrade it, for Airflow's database is being made."""
        self.upgradedb(use_migration_files=use_migration_files)

    def create_db_from_orm(self) -> None:
        """Upgrade it; one that is not there is not made."""
        self.upgradedb()

    def resetdb(self, skip_init: bool = False, use_migration_files: bool = False) -> None:
        """Leave it as it is, and upgrade it."""
        self.log.info("The ledger %s is kept: it knows what was sent", self._display_url)
        if not skip_init:
            self.upgradedb(use_migration_files=use_migration_files)

    def upgradedb(
        self,
        to_revision: str | None = None,
        from_revision: str | None = None,
        show_sql_only: bool = False,
        use_migration_files: bool = False,
    ) -> None:
        """Upgrade it to the version of this release.

        Raises:
            LedgerError: another version, or the statements alone, were asked for; or it cannot be upgraded.
        """
        if show_sql_only or from_revision or to_revision not in (None, "heads", revision_of(SCHEMA_VERSION)):
            raise LedgerError("the ledger is upgraded as a whole, to the version that this release uses")
        if find_version(self._url) is None:
            self.log.info("There is no ledger in %s yet; the first task or replay makes it", self._display_url)
            return
        done = upgrade(self._url)
        if done.found == done.version:
            self.log.info("The ledger %s has version %s already", self._display_url, done.version)
            return
        kept = f"; as it was before it is in {done.backup}" if done.backup else ""
        self.log.info(
            "The ledger %s was upgraded from version %s to %s%s", self._display_url, done.found, done.version, kept
        )

    def downgrade(self, to_revision: Any, from_revision: Any = None, show_sql_only: bool = False) -> None:
        """A ledger cannot be downgraded.

        Raises:
            LedgerError: always.
        """
        raise LedgerError("a ledger cannot be downgraded: put back the copy that was made before its upgrade")

    @property
    def _url(self) -> str:
        return provider_settings().ledger_url

    @property
    def _display_url(self) -> str:
        return display_url(read_url(self._url))

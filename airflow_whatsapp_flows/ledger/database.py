"""Opens, reads and writes the ledger's database."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, insert
from sqlalchemy.exc import SQLAlchemyError

from airflow_whatsapp_flows.errors import LedgerError, LedgerReplacedError
from airflow_whatsapp_flows.ledger.dialects import POSTGRESQL, SQLITE
from airflow_whatsapp_flows.ledger.engine import (
    SYNCS_ITSELF,
    display_url,
    file_engine,
    is_read_only,
    make_file,
    read_only_engine,
    read_url,
    reason_of,
    server_engine,
    table_version,
)
from airflow_whatsapp_flows.ledger.identity import FileIdentity, ServerIdentity, rescue_ledger
from airflow_whatsapp_flows.ledger.locks import lock_number
from airflow_whatsapp_flows.ledger.migrations import revision_of
from airflow_whatsapp_flows.ledger.outages import Outages
from airflow_whatsapp_flows.ledger.schema import COMMITS, SCHEMA_VERSION, alembic_versions, metadata, versions
from airflow_whatsapp_flows.ledger.synced_log import SyncedLog
from airflow_whatsapp_flows.ledger.upgrade import check_version, upgrade_file

__all__ = ["Connection", "Ledger"]

_log = logging.getLogger(__name__)


class Ledger:
    """The ledger's database, in SQLite or PostgreSQL.

    Attributes:
        is_sqlite: whether it is an SQLite file.
        dialect: the operations that differ between databases.
        is_read_only: whether it is a file that this process can read but not write.
        outages: handles times when its server is unreachable.

    Args:
        url: SQLAlchemy URL, such as ``sqlite:////srv/airflow/whatsapp_flows.db`` or
            ``postgresql://user:password@host/database``. Missing tables are created.
            A file of an earlier version is upgraded, if no other process uses it.

    Raises:
        LedgerError: the database cannot be opened, or has tables of another version.
    """

    def __init__(self, url: str) -> None:
        self._url = read_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.dialect = SQLITE if self.is_sqlite else POSTGRESQL
        self.is_read_only = self.file is not None and is_read_only(self.file)
        self._identity: FileIdentity | ServerIdentity | None = None
        self.outages = Outages(self.display_url)
        self._synced_log = SyncedLog(self.file) if self.file is not None else None
        self._engine = self._make_engine()
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            if self._synced_log is not None:
                self._synced_log.close()
            raise

    @property
    def display_url(self) -> str:
        """The URL without its password."""
        return display_url(self._url)

    @property
    def url(self) -> str:
        """The URL with its password, for another process."""
        return self._url.render_as_string(hide_password=False)

    @property
    def file(self) -> Path | None:
        """The ledger's SQLite file; ``None`` for a server."""
        return Path(self._url.database or "") if self.is_sqlite else None

    def check_writable(self) -> None:
        """Check that the ledger can be written, as far as this is known in advance.

        Raises:
            LedgerError: it is a read-only file.
        """
        if self.is_read_only:
            raise LedgerError(
                f"the ledger {self.display_url} is read-only: give this user write permission for the file and its "
                "folder, or use another ledger"
            )

    def check_identity(self) -> None:
        """Check that an SQLite ledger's file is still the one that was opened.

        Raises:
            LedgerReplacedError: it was deleted, replaced or overwritten.
        """
        if isinstance(self._identity, FileIdentity):
            self._identity.check()

    def close(self) -> None:
        """Close its connections."""
        self.outages.close()
        self._engine.dispose()
        if self._synced_log is not None:
            self._synced_log.close()
        if self._identity is not None:
            self._identity.close()

    def __enter__(self) -> Ledger:
        """Return the ledger; leaving the context closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> Connection:
        """Open a connection; the caller closes it.

        Raises:
            LedgerError: no connection can be opened.
        """
        with self._explain_errors("opened"):
            return self._engine.connect()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection for reading.

        Raises:
            LedgerError: the database cannot be read.
        """
        with self._explain_errors("read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, connection: Connection | None = None) -> Iterator[Connection]:
        """Run the block in a transaction: committed at its end, rolled back on an exception.

        Args:
            connection: the connection to use; by default a new one.

        Raises:
            LedgerError: the database cannot be written; the transaction is rolled back.
            LedgerReplacedError: it is not the one that was opened.
        """
        self.check_writable()
        with self._explain_errors("written"):
            if connection is None:
                with self._engine.connect() as own, self._transaction(own):
                    yield own
            else:
                with self._transaction(connection):
                    yield connection

    @contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        if self._synced_log is not None and self._synced_log.failure is not None:
            raise self._explain_disk(self._synced_log.failure)
        with connection.begin():
            self.dialect.begin(connection)
            commits = self._count_commit(connection)
            yield
        if self._synced_log is not None and not connection.info[SYNCS_ITSELF]:
            self._sync(self._synced_log)
        if self._identity is not None:
            self._identity.note_commit(commits)

    def _sync(self, log: SyncedLog) -> None:
        try:
            log.sync()
        except FileNotFoundError as error:
            if self._is_replaced():
                return  # the next transaction saves a copy, through a connection that still has the file open
            raise LedgerError(
                f"the ledger {self.display_url} cannot be written: its log {self.file}-wal was deleted while it was in "
                "use, with what it contained; stop everything that uses the ledger, then start again"
            ) from error
        except OSError as error:
            raise self._explain_disk(error) from error

    def _explain_disk(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"the ledger {self.display_url} cannot be written: {error.strerror}; what was committed last may not be on "
            "the disk: check the disk, then start again"
        )

    def _is_replaced(self) -> bool:
        try:
            self.check_identity()
        except LedgerReplacedError:
            return True
        return False

    def _count_commit(self, connection: Connection) -> int:
        """Check that the ledger is still the one that was opened, and increment its number of commits."""
        if self._identity is None:
            return 0
        try:
            commits = self._identity.begin(lambda statement: connection.exec_driver_sql(statement).one_or_none())
        except LedgerReplacedError as error:
            if self.file is None or not error.can_be_copied:
                raise
            raise rescue_ledger(connection.connection.driver_connection, self.file, error) from None
        connection.info[COMMITS] = commits
        return commits

    @contextmanager
    def _explain_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            self.check_identity()  # the database's own error about a deleted file is misleading
            raise LedgerError(f"the ledger {self.display_url} cannot be {what}: {reason_of(error)}") from error

    def _make_engine(self) -> Engine:
        if self.file is None:
            engine = server_engine(self._url)
            self.outages.watch(engine)
            return engine
        if self.is_read_only:
            return read_only_engine(self.file)
        FileIdentity(self.file).check_opening()
        make_file(self.file)
        return file_engine(self.file)

    def _prepare(self) -> None:
        with self.read() as connection:
            found = table_version(connection)
        if found is None:
            with self.write() as connection:
                found = self._make_tables(connection)
        elif self.file is not None and not self.is_read_only and 0 < found < SCHEMA_VERSION:
            self._engine.dispose()  # our own connection would count as another user of the file
            done = upgrade_file(self.file)
            found = done.version
            if done.backup is not None:
                text = "the ledger %s was upgraded from version %s to %s; a copy from before the upgrade is in %s"
                _log.warning(text, self.display_url, done.found, done.version, done.backup)
        check_version(found, self.display_url, is_read_only=self.is_read_only)
        if not self.is_read_only:
            identity = ServerIdentity(self.display_url) if self.file is None else FileIdentity(self.file)
            with self.read() as connection:
                identity.learn(lambda statement: connection.exec_driver_sql(statement).one_or_none())
            self._identity = identity

    def _make_tables(self, connection: Connection) -> int:
        # Two workers creating the tables at once would fail on PostgreSQL's catalog.
        self.dialect.lock_until_commit(connection, lock_number("tables"))
        found = table_version(connection)
        if found is None:
            metadata.create_all(connection)
            connection.execute(insert(versions).values(version=SCHEMA_VERSION, ledger_id=uuid.uuid4().hex))
            connection.execute(insert(alembic_versions).values(version_num=revision_of(SCHEMA_VERSION)))
        return found or SCHEMA_VERSION

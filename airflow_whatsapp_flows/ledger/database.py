"""Opening the ledger's database, reading and writing it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.migrations import revision_of
from airflow_whatsapp_flows.ledger.schema import SCHEMA_VERSION, alembic_versions, metadata, versions

_BUSY_SECONDS = 60.0
_OLDEST_SQLITE = (3, 35, 0)  # RETURNING


class Ledger:
    """What was intended, sent and answered, in SQLite or PostgreSQL.

    Attributes:
        is_sqlite: whether it is a file.
        is_read_only: whether it is a file that this process may read and not write.

    Args:
        url: SQLAlchemy URL, such as ``sqlite:////srv/airflow/whatsapp_flows.db`` or
            ``postgresql://user:password@host/database``. The tables are made when they are not there.

    Raises:
        LedgerError: the database cannot be opened, or holds tables of another version.
    """

    def __init__(self, url: str) -> None:
        self._url = _read_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.is_read_only = self.file is not None and _may_only_be_read(self.file)
        self._engine = _reading_engine(self._url) if self.is_read_only else _engine(self._url)
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def shown(self) -> str:
        """The URL without its password, as it may be given again."""
        return self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite ledger; ``None`` for a server."""
        return Path(self._url.database or "") if self.is_sqlite else None

    def check_writable(self) -> None:
        """Find out whether it may be written, as far as that can be told beforehand.

        Raises:
            LedgerError: it is a file that may only be read.
        """
        if self.is_read_only:
            raise LedgerError(
                f"the ledger {self.shown} may only be read here: let this user write the file and its folder, or name "
                "another ledger"
            )

    def close(self) -> None:
        """Give back its connections."""
        self._engine.dispose()

    def __enter__(self) -> Ledger:
        """Use it as a context; it is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> Connection:
        """A connection of one's own, to be closed.

        Raises:
            LedgerError: there is none to be had.
        """
        with self._explained("opened"):
            return self._engine.connect()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading.

        Raises:
            LedgerError: the database cannot be read.
        """
        with self._explained("read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, connection: Connection | None = None) -> Iterator[Connection]:
        """A transaction; committed at the end of the block, rolled back by an exception.

        Args:
            connection: one's own; another one by default.

        Raises:
            LedgerError: the database cannot be written; nothing of the transaction is in it.
        """
        self.check_writable()
        with self._explained("written"):
            if connection is None:
                with self._engine.connect() as own, self._transaction(own):
                    yield own
            else:
                with self._transaction(connection):
                    yield connection

    @contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        with connection.begin():
            if self.is_sqlite:
                # A transaction that reads first and writes later cannot wait for another writer: SQLite refuses it.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            reason = " ".join(str(cause).split()) or type(cause).__name__
            raise LedgerError(f"the ledger {self.shown} cannot be {what}: {reason}") from error

    def _prepare(self) -> None:
        with self.read() as connection:
            found = self._version(connection)
        if found is None:
            with self.write() as connection:
                found = self._make_tables(connection)
        if found != SCHEMA_VERSION:
            raise LedgerError(
                f"the ledger {self.shown} has version {found}, and this release reads version "
                f"{SCHEMA_VERSION}: use the release that made it, or name another ledger"
            )

    def _version(self, connection: Connection) -> int | None:
        if not inspect(connection).has_table(versions.name):
            return None
        return connection.execute(select(versions.c.version)).scalar_one_or_none()

    def _make_tables(self, connection: Connection) -> int:
        if not self.is_sqlite:
            # Two workers that make the tables at once would fail on PostgreSQL's own catalogue.
            connection.execute(select(func.pg_advisory_xact_lock(lock_number("tables"))))
        metadata.create_all(connection)
        found = self._version(connection)
        if found is None:
            connection.execute(insert(versions).values(version=SCHEMA_VERSION, ledger_id=uuid.uuid4().hex))
            connection.execute(insert(alembic_versions).values(version_num=revision_of(SCHEMA_VERSION)))
        return found or SCHEMA_VERSION


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        backend, url = "", URL.create("unknown")
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+pysqlite", database=str(Path(url.database).expanduser().absolute()))
    raise LedgerError(
        "a ledger is an SQLAlchemy URL: sqlite:////path/to/whatsapp_flows.db, or postgresql://user@host/database"
    )


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise LedgerError(f"SQLite 3.35 or newer is needed for a ledger; this is {sqlite3.sqlite_version}")
        folder = Path(url.database or "").parent
        try:
            folder.mkdir(exist_ok=True)  # one level: a mistyped path is not to become an empty ledger
        except OSError as error:
            raise LedgerError(f"the folder {folder} of the ledger cannot be made: {error.strerror}") from None
        engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    try:
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except ImportError:
        raise LedgerError(
            "a ledger in PostgreSQL needs psycopg: pip install 'airflow-whatsapp-flows[postgres]'"
        ) from None


def _may_only_be_read(file: Path) -> bool:
    def writable(path: Path) -> bool:
        return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)

    # A writer makes two more files beside it, unless they are there.
    return file.exists() and not (writable(file) and (writable(file.parent) or _log_of(file).exists()))


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _reading_engine(url: URL) -> Engine:
    """An engine for a file that may not be written, nor any file be made beside it."""
    file = Path(url.database or "")

    def connect() -> sqlite3.Connection:
        # Without a log nobody writes now. With one, what is in it is read by way of the files that its writer made.
        how = "mode=ro" if _log_of(file).exists() else "immutable=1"
        return sqlite3.connect(
            f"file:{quote(str(file))}?{how}", uri=True, timeout=_BUSY_SECONDS, check_same_thread=False
        )

    return create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by Ledger.write, and by nothing else
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a commit that was reported survives the loss of power
    cursor.close()


def lock_number(*parts: str | int) -> int:
    """The number of an advisory lock of PostgreSQL: other programs share them, so it is a hash."""
    digest = hashlib.sha256(repr(("whatsapp_flows", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)

"""Resolves a ledger's URL to a file or a server, and creates the engine for it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool, QueuePool

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.schema import versions
from airflow_whatsapp_flows.ledger.urls import hide_password

_BUSY_SECONDS = 60.0
_OLDEST_SQLITE = (3, 35, 0)  # RETURNING

SYNCS_ITSELF = "syncs_itself"
"""Key of a connection's info: whether a commit syncs what it wrote; otherwise a :class:`SyncedLog` must."""


def read_url(text: str) -> URL:
    """Parse the URL of a ledger: set the driver, and resolve symbolic links in a file's path.

    Raises:
        LedgerError: it is not a ledger's URL.
    """
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        backend, url = "", URL.create("unknown")
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+pysqlite", database=str(ledger_path(url.database)))
    raise LedgerError(
        "a ledger must be an SQLAlchemy URL: sqlite:////path/to/whatsapp_flows.db, or postgresql://user@host/database"
    )


def ledger_path(text: str) -> Path:
    """Resolve symbolic links: a ledger's log and locks are beside the actual file."""
    return Path(os.path.realpath(Path(text).expanduser()))


def is_missing_file(text: str) -> bool:
    """Whether a URL names an SQLite file that does not exist; false for text that is not a URL."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return False
    return url.get_backend_name() == "sqlite" and bool(url.database) and not ledger_path(url.database or "").exists()


def display_url(url: URL) -> str:
    """Return the URL without its password."""
    return hide_password(url.set(drivername=url.get_backend_name()))


def make_file(file: Path) -> None:
    """Create an empty file for a ledger, and its folder, if missing.

    Raises:
        LedgerError: they cannot be created.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise LedgerError(f"SQLite 3.35 or newer is needed for a ledger; this is {sqlite3.sqlite_version}")
    try:
        file.parent.mkdir(exist_ok=True)  # one level only: a mistyped path must not become an empty ledger
    except OSError as error:
        raise LedgerError(f"the folder {file.parent} of the ledger cannot be created: {error.strerror}") from None
    if not file.exists():
        try:
            file.open("ab").close()
        except OSError as error:
            raise LedgerError(f"the ledger sqlite:///{file} cannot be opened: {error.strerror}") from None


def file_engine(file: Path) -> Engine:
    """Create an engine for an existing file; a deleted file is never recreated empty."""

    def connect() -> sqlite3.Connection:
        return open_file(file, "mode=rw")

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def open_file(file: Path, how: str, timeout: float | None = None) -> sqlite3.Connection:
    """Open a connection to an SQLite file.

    Args:
        file: an existing file.
        how: parameters of the file's URI.
        timeout: seconds to wait for another writer; a minute by default.
    """
    seconds = _BUSY_SECONDS if timeout is None else timeout
    return sqlite3.connect(f"file:{quote(str(file))}?{how}", uri=True, timeout=seconds, check_same_thread=False)


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Copy a database into a new file, readable only by its owner; the file is complete or does not appear.

    Args:
        connection: connection to the database.
        target: the new file; an existing one is replaced.

    Raises:
        OSError: the file cannot be created.
        sqlite3.Error: it cannot be written.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        copy = sqlite3.connect(part)
        try:
            connection.backup(copy)
        finally:
            copy.close()
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def server_engine(url: URL) -> Engine:
    """Create an engine for PostgreSQL.

    Raises:
        LedgerError: its driver is not installed.
    """
    try:
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 8})
    except ImportError:
        raise LedgerError(
            "a ledger in PostgreSQL needs psycopg: pip install 'airflow-whatsapp-flows[postgres]'"
        ) from None


def is_read_only(file: Path) -> bool:
    """Whether a file exists that this process can read but not write."""

    def writable(path: Path) -> bool:
        return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)

    # A writer creates two more files beside it, if missing.
    return file.exists() and not (writable(file) and (writable(file.parent) or log_of(file).exists()))


def read_only_engine(file: Path) -> Engine:
    """Create an engine for a read-only file in a read-only folder."""

    def connect() -> sqlite3.Connection:
        # Without a log, nobody is writing. With one, it is read through the files that its writer created.
        return open_file(file, "mode=ro" if log_of(file).exists() else "mode=ro&immutable=1")

    return create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)


def table_version(connection: Connection) -> int | None:
    """Return the version of the tables; ``None`` if there are none."""
    if not inspect(connection).has_table(versions.name):
        return None
    return connection.execute(select(versions.c.version)).scalar_one_or_none()


def reason_of(error: BaseException) -> str:
    """Return the driver's message in one line."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__


def log_of(file: Path) -> Path:
    """Return the path of an SQLite file's log."""
    return file.with_name(f"{file.name}-wal")


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # only Ledger.write starts transactions
    set_up: Callable[[str], Any] = connection.execute
    has_log = set_up("PRAGMA journal_mode=WAL").fetchone()[0] == "wal"
    record.info[SYNCS_ITSELF] = not has_log
    # An acknowledged commit survives a power loss: Ledger.write syncs the log.
    set_up(f"PRAGMA synchronous={'NORMAL' if has_log else 'FULL'}")
    set_up("PRAGMA fullfsync=1")

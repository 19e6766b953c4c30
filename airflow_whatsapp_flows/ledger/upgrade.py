"""Upgrades a ledger of an earlier release, keeping its content.

A file is upgraded when it is opened and no other process uses it, after a backup copy is made beside it. A database on
a server is upgraded only on request.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.engine import (
    copy_database,
    display_url,
    is_read_only,
    open_file,
    read_only_engine,
    read_url,
    reason_of,
    server_engine,
    table_version,
)
from airflow_whatsapp_flows.ledger.locks import find_running_replays, lock_file, lock_number
from airflow_whatsapp_flows.ledger.migrations import upgrade_tables
from airflow_whatsapp_flows.ledger.schema import SCHEMA_VERSION, versions

_ALONE_SECONDS = 5.0
"""Seconds to wait for another process that uses the file: a process that opens it checks its version first."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The result of an upgrade.

    Attributes:
        found: version before.
        version: version now.
        backup: copy of the original file; ``None`` for a server, or if no upgrade was needed.
    """

    found: int
    version: int
    backup: Path | None = None


def upgrade_command(shown: str) -> str:
    """Return the command that upgrades a ledger."""
    return f"whatsapp-flows ledger upgrade --ledger {shown}"


def check_version(found: int, shown: str, *, is_read_only: bool = False) -> None:
    """Check that this release can use tables of a version.

    Args:
        found: version of the tables.
        shown: the ledger's URL without its password.
        is_read_only: whether it is a file that this process cannot write.

    Raises:
        LedgerError: it cannot use them; the message says what to do.
    """
    if found == SCHEMA_VERSION:
        return
    has = f"the ledger {shown} has version {found}, but this release uses version {SCHEMA_VERSION}"
    if found > SCHEMA_VERSION:
        raise LedgerError(
            f"{has}: it was created by a newer release. Upgrade airflow-whatsapp-flows here to that release; another "
            "ledger has no record of what was already sent"
        )
    if found < 1:
        raise LedgerError(f"{has}: no release uses that version, so the file is damaged; restore it from a backup")
    who = ", as a user with write permission for the file" if is_read_only else ""
    raise LedgerError(f"{has}: run `{upgrade_command(shown)}`{who}. No data is lost")


def found_version(url: str) -> int:
    """Return the version of a ledger; changes nothing.

    Raises:
        LedgerError: the ledger does not exist or cannot be read.
    """
    found = find_version(url)
    if found is None:
        raise LedgerError(f"there is no ledger in {display_url(read_url(url))}; the first replay or task creates it")
    return found


def find_version(url: str) -> int | None:
    """Return the version of a ledger, or ``None`` if there is none; changes nothing.

    Raises:
        LedgerError: it cannot be read.
    """
    parsed = read_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not Path(parsed.database or "").exists():
            return None
        engine = read_only_engine(Path(parsed.database or ""))
    else:
        engine = server_engine(parsed)
    try:
        with engine.connect() as connection:
            return table_version(connection)
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger {display_url(parsed)} cannot be read: {reason_of(error)}") from error
    finally:
        engine.dispose()


def upgrade(url: str) -> Upgrade:
    """Upgrade a ledger; on failure it is unchanged.

    Raises:
        LedgerError: the ledger does not exist, is in use by another process, or cannot be upgraded.
    """
    parsed, found = read_url(url), found_version(url)
    if found >= SCHEMA_VERSION or found < 1:
        check_version(found, display_url(parsed))
        return Upgrade(found, found)
    if parsed.get_backend_name() == "sqlite":
        return upgrade_file(Path(parsed.database or ""))
    return _upgrade_server(parsed)


def upgrade_file(file: Path) -> Upgrade:
    """Upgrade an SQLite ledger, if no other process uses it; wait for a process that is upgrading it.

    Raises:
        LedgerError: another process uses it, or it cannot be upgraded; it is unchanged.
    """
    shown = f"sqlite:///{file}"
    if is_read_only(file):
        check_version(found_version(shown), shown, is_read_only=True)
    lock = lock_file(file, "upgrade", wait=True)
    try:
        found = found_version(shown)
        if found >= SCHEMA_VERSION:  # another process has upgraded it, and may be using the file
            return Upgrade(found, found)
        connection = _alone(file)
        try:
            found = int(connection.execute(f"SELECT version FROM {versions.name}").fetchone()[0])  # noqa: S608
            if found >= SCHEMA_VERSION:  # another process has upgraded it
                return Upgrade(found, found)
            backup = _back_up(connection, file, found)
            _migrate_file(connection, found)
        finally:
            connection.close()
    except (sqlite3.Error, SQLAlchemyError, OSError) as error:
        raise LedgerError(f"the ledger {shown} cannot be upgraded: {reason_of(error)}; it was not changed") from error
    finally:
        if lock is not None:
            lock.close()
    return Upgrade(found, SCHEMA_VERSION, backup)


def _alone(file: Path) -> sqlite3.Connection:
    """Open a connection that locks out all others until it is closed."""
    connection = open_file(file, "mode=rw", timeout=_ALONE_SECONDS)
    connection.isolation_level = None
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")  # the lock is kept in this locking mode
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" not in str(error):
            raise
        shown = f"sqlite:///{file}"
        raise LedgerError(
            f"the ledger {shown} has an earlier version, but another process is using it, so it was not upgraded: "
            f"when that process has ended, run `{upgrade_command(shown)}`"
        ) from None
    except BaseException:
        connection.close()
        raise


def _back_up(connection: sqlite3.Connection, file: Path, found: int) -> Path:
    name, number = f"{file.name}.v{found}-backup", 1
    backup = file.with_name(name)
    while backup.exists():
        number += 1
        backup = file.with_name(f"{name}-{number}")
    copy_database(connection, backup)
    return backup


def _migrate_file(connection: sqlite3.Connection, found: int) -> None:
    engine = create_engine("sqlite+pysqlite://", creator=lambda: connection, poolclass=StaticPool)
    with engine.connect() as own, own.begin():
        own.exec_driver_sql("BEGIN EXCLUSIVE")
        upgrade_tables(own, found, SCHEMA_VERSION)


def _upgrade_server(url: URL) -> Upgrade:
    engine, shown = server_engine(url), display_url(url)
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SET LOCAL lock_timeout = '30s'"))
            connection.execute(select(func.pg_advisory_xact_lock(lock_number("tables"))))
            found = table_version(connection)
            if found is None or found >= SCHEMA_VERSION:  # another process has upgraded it
                return Upgrade(found or SCHEMA_VERSION, found or SCHEMA_VERSION)
            if running := find_running_replays(connection, None):
                raise LedgerError(
                    f"the ledger {shown} was not upgraded, because replays of the earlier version are running: "
                    f"{', '.join(running)}. Let them finish, or stop them; they can be resumed"
                )
            upgrade_tables(connection, found, SCHEMA_VERSION)
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger {shown} cannot be upgraded: {reason_of(error)}; it was not changed") from error
    finally:
        engine.dispose()
    return Upgrade(found, SCHEMA_VERSION)

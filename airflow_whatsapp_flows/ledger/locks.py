"""Locks that end with their process: on a file beside an SQLite ledger, or in PostgreSQL."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, select, text

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.schema import chunks, replays


def lock_number(*parts: str | int) -> int:
    """Return the number of a PostgreSQL advisory lock: a hash, because other programs share the numbers."""
    digest = hashlib.sha256(repr(("whatsapp_flows", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def locks_folder(file: Path) -> Path:
    """Return the folder beside an SQLite ledger for its lock files and its mark."""
    return file.with_name(f"{file.name}-locks")


def lock_file(file: Path, name: str, *, wait: bool) -> IO[bytes] | None:
    """Take a lock beside an SQLite ledger; closing the file releases it.

    Args:
        file: the ledger's file.
        name: name of the lock.
        wait: whether to wait for another process that holds it; otherwise ``None`` is returned.

    Raises:
        LedgerError: the lock cannot be created.
    """
    folder = locks_folder(file)
    try:
        folder.mkdir(exist_ok=True)
        opened = open(folder / name, "ab")  # noqa: SIM115  # the open file holds the lock
    except OSError as error:
        raise LedgerError(f"the lock file next to the ledger {file} cannot be created: {error.strerror}") from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        opened.close()
        return None
    return opened


def advisory_locks(connection: Connection) -> set[int]:
    """Return the advisory locks that any session of a PostgreSQL database holds now."""
    query = text(
        "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 "
        "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return set(connection.execute(query).scalars())


def find_running_replays(connection: Connection, file: Path | None) -> list[str]:
    """Return the names of the replays that are running now; changes nothing.

    Args:
        connection: connection to the ledger.
        file: an SQLite ledger's file; ``None`` for a server.

    Raises:
        LedgerError: the locks beside the file cannot be checked.
    """
    query = (
        select(replays.c.id, chunks.c.replay_no, chunks.c.chunk)
        .join(chunks, chunks.c.replay_no == replays.c.no)
        .where(chunks.c.owner.is_not(None))  # the first of several processes to end records the replay's end
    )
    rows = connection.execute(query).all()
    held = advisory_locks(connection) if file is None else set()

    def is_held(replay_no: int, chunk: int) -> bool:
        if file is None:
            return lock_number("chunk", replay_no, chunk) in held
        lock = lock_file(file, f"{replay_no}.{chunk}", wait=False)
        if lock is not None:
            lock.close()
        return lock is None

    return sorted({row.id for row in rows if is_held(row.replay_no, row.chunk)})

"""Owning a chunk: a live lock, so that a dead owner is replaced at once, and a fence, so that a late one is refused.

The lock is the operating system's on a file beside an SQLite ledger, and a session's advisory lock in PostgreSQL:
both end with their process, however it ends. The fence is a number that counts up with every owner; a commit of an
owner that is no longer the latest is refused.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, and_, func, select, update

from airflow_whatsapp_flows.errors import LedgerError, OwnershipLostError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.locks import lock_file, lock_number
from airflow_whatsapp_flows.ledger.outages import SessionHeldError
from airflow_whatsapp_flows.ledger.schema import chunks

_PROCESSES = Path("/proc/self")


@dataclass(slots=True)
class Claim:
    """One chunk of a replay, owned.

    Attributes:
        replay_no: number of the replay.
        chunk: number of the chunk.
        fence: above that of every owner before.
    """

    replay_no: int
    chunk: int
    fence: int
    _file: IO[bytes] | None = field(default=None, repr=False)


def claim(ledger: Ledger, connection: Connection, replay_no: int, chunk: int) -> Claim | None:
    """Own a chunk.

    Args:
        ledger: where it is.
        connection: of the owner; in PostgreSQL the lock lives as long as its session.
        replay_no: number of the replay.
        chunk: number of the chunk.

    Returns:
        ``None`` while another living process owns it, or has lost its session and may be about to own it again.

    Raises:
        LedgerError: the ledger cannot be written, or there is no such chunk.
    """
    file: IO[bytes] | None = None
    if ledger.is_sqlite:
        file = _lock_file(ledger, f"{replay_no}.{chunk}")
        if file is None:
            return None
    else:
        with ledger.write(connection):
            number = lock_number("chunk", replay_no, chunk)
            if not connection.execute(select(func.pg_try_advisory_lock(number))).scalar_one():
                return None
            if _may_come_back(ledger, connection, replay_no, chunk):
                connection.execute(select(func.pg_advisory_unlock(number)))
                return None
    try:
        fence = _next_fence(ledger, connection, replay_no, chunk)
    except BaseException:
        release(ledger, connection, Claim(replay_no, chunk, 0, file))
        raise
    return Claim(replay_no, chunk, fence, file)


def _may_come_back(ledger: Ledger, connection: Connection, replay_no: int, chunk: int) -> bool:
    """Whether the last owner of a chunk, whose lock is free, may only be reconnecting."""
    own = and_(chunks.c.replay_no == replay_no, chunks.c.chunk == chunk)
    row = connection.execute(select(chunks.c.owner, chunks.c.fence).where(own)).one_or_none()
    if row is None or row.owner is None or row.owner == _own_name():
        return False
    host, _, pid = row.owner.rpartition(":")
    if host == socket.gethostname() and pid.isdecimal() and not Path(f"/proc/{pid}").exists() and _PROCESSES.exists():
        return False  # it is dead
    return ledger.outages.is_fresh((replay_no, chunk, row.fence))


def _own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def reclaim(ledger: Ledger, connection: Connection, claimed: Claim) -> None:
    """Own a chunk again that was claimed on a session which is gone.

    The lock is free only when that session has ended on the server too, so nothing that it began can still be
    committed afterwards.

    Args:
        ledger: where it is.
        connection: of the new session.
        claimed: by :func:`claim`.

    Raises:
        OwnershipLostError: the chunk has another owner.
        SessionHeldError: the server still keeps the lock for the session that is gone.
        LedgerError: the ledger cannot be written.
    """
    with ledger.write(connection):
        number = lock_number("chunk", claimed.replay_no, claimed.chunk)
        is_free: bool = connection.execute(select(func.pg_try_advisory_lock(number))).scalar_one()
        check_fences(connection, [claimed])
    if not is_free:
        raise SessionHeldError(f"the ledger {ledger.display_url} still holds a lock of the lost session")


def _next_fence(ledger: Ledger, connection: Connection, replay_no: int, chunk: int) -> int:
    own = and_(chunks.c.replay_no == replay_no, chunks.c.chunk == chunk)
    with ledger.write(connection):
        fence: int | None = connection.execute(
            update(chunks).where(own).values(fence=chunks.c.fence + 1, owner=_own_name()).returning(chunks.c.fence)
        ).scalar_one_or_none()
    if fence is None:
        raise LedgerError(f"there is no chunk {chunk}")
    return fence


def release(ledger: Ledger, connection: Connection, claimed: Claim) -> None:
    """Let another process own a chunk.

    Args:
        ledger: where it is.
        connection: that it was claimed on.
        claimed: by :func:`claim`.
    """
    if claimed._file is not None:
        claimed._file.close()
        return
    with ledger.write(connection):
        connection.execute(select(func.pg_advisory_unlock(lock_number("chunk", claimed.replay_no, claimed.chunk))))


def is_owned(ledger: Ledger, connection: Connection, replay_no: int, chunk: int) -> bool:
    """Whether a living process owns a chunk now; nothing is changed.

    Args:
        ledger: where it is.
        connection: of the one who asks, and does not own it.
        replay_no: number of the replay.
        chunk: number of the chunk.

    Raises:
        LedgerError: the lock cannot be asked for.
    """
    if ledger.is_sqlite:
        file = _lock_file(ledger, f"{replay_no}.{chunk}")
        if file is None:
            return True
        file.close()
        return False
    with ledger.write(connection):
        number = lock_number("chunk", replay_no, chunk)
        is_free: bool = connection.execute(select(func.pg_try_advisory_lock(number))).scalar_one()
        if is_free:
            connection.execute(select(func.pg_advisory_unlock(number)))
    return not is_free


def check_fences(connection: Connection, claimed: Iterable[Claim]) -> None:
    """Check, within a transaction, that chunks are still owned; it stays true until the transaction's end.

    Raises:
        OwnershipLostError: one has another owner.
    """
    lock = dialect_of(connection).shared_lock
    for one in claimed:
        # In every commit: a statement that SQLAlchemy need not build costs a tenth. All of it is numbers of our own.
        query = f"SELECT fence FROM {chunks.name} WHERE replay_no = {one.replay_no:d} AND chunk = {one.chunk:d}{lock}"  # noqa: S608
        if connection.exec_driver_sql(query).scalar_one_or_none() != one.fence:
            raise OwnershipLostError("another worker has taken over; this worker cannot record anything more")


@contextmanager
def exclusive(ledger: Ledger, *name: str) -> Iterator[None]:
    """Be the only process that does something; another one waits until the first is done, or dead.

    Args:
        ledger: that the processes share.
        *name: what is done.

    Raises:
        LedgerError: the lock cannot be made.
    """
    number = lock_number(*name)
    if ledger.is_sqlite:
        file = _lock_file(ledger, f"{number:x}", wait=True)
        try:
            yield
        finally:
            if file is not None:
                file.close()
        return
    with ledger.read() as connection:
        connection.detach()  # in a pool the session, and its lock, would live on
        connection.execute(select(func.pg_advisory_lock(number)))
        connection.commit()  # the lock is the session's; no transaction is to stay open
        yield


def _lock_file(ledger: Ledger, name: str, *, wait: bool = False) -> IO[bytes] | None:
    if ledger.file is None:
        raise TypeError("only an SQLite ledger has lock files")
    ledger.check_writable()
    return lock_file(ledger.file, name, wait=wait)

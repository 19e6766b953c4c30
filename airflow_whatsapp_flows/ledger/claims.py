"""Ownership of chunks: a lock that ends with its owner, and a fence number that stops an outdated owner.

The lock is an operating system lock on a file beside an SQLite ledger, or a session's advisory lock in PostgreSQL:
both end with their process, however it ends, so a dead owner is replaced at once. The fence number increases with
each owner; a commit by any owner but the latest is refused.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, and_, func, null, select, update

from airflow_whatsapp_flows.errors import LedgerError, OwnershipLostError
from airflow_whatsapp_flows.ledger.counts import delete_counts, store_counts_of_owner
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.locks import lock_file, lock_number
from airflow_whatsapp_flows.ledger.outages import SessionHeldError
from airflow_whatsapp_flows.ledger.schema import chunks

_PROCESSES = Path("/proc/self")


@dataclass(slots=True)
class Claim:
    """An owned chunk of a replay.

    Attributes:
        fence: higher than that of every previous owner.
    """

    replay_no: int
    chunk: int
    fence: int
    _file: IO[bytes] | None = field(default=None, repr=False)


def claim(ledger: Ledger, connection: Connection, replay_no: int, chunk: int) -> Claim | None:
    """Take ownership of a chunk, if no other process owns it.

    Args:
        connection: the owner's connection; in PostgreSQL the lock lasts as long as its session.

    Returns:
        ``None`` while another running process owns it, or has lost its session and may be about to reclaim it.

    Raises:
        LedgerError: the ledger cannot be written, or the chunk does not exist.
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
        _unlock(ledger, connection, Claim(replay_no, chunk, 0, file))
        raise
    return Claim(replay_no, chunk, fence, file)


def _may_come_back(ledger: Ledger, connection: Connection, replay_no: int, chunk: int) -> bool:
    """Whether the last owner of an unlocked chunk may be reconnecting."""
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
    """Take back a chunk that was claimed on a lost session.

    The lock is free only once the server has ended that session too, so nothing it started can be committed later.

    Args:
        connection: connection of the new session.
        claimed: the claim made on the lost session.

    Raises:
        OwnershipLostError: the chunk has another owner.
        SessionHeldError: the server still holds the lock for the lost session.
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
    change = {"fence": chunks.c.fence + 1, "owner": _own_name(), "requests": null()}
    with ledger.write(connection):
        fence: int | None = connection.execute(
            update(chunks).where(own).values(change).returning(chunks.c.fence)
        ).scalar_one_or_none()
        delete_counts(connection, replay_no, chunk)
    if fence is None:
        raise LedgerError(f"there is no chunk {chunk}")
    return fence


def release(ledger: Ledger, connection: Connection, claimed: Claim) -> None:
    """Store the counts of a chunk, and give up ownership.

    Args:
        connection: the connection on which it was claimed.
        claimed: what :func:`claim` returned.

    Raises:
        LedgerError: the ledger cannot be written; a file's lock is released.
    """
    try:
        with ledger.write(connection):
            store_counts_of_owner(connection, claimed.replay_no, claimed.chunk, claimed.fence)
    finally:
        _unlock(ledger, connection, claimed)


def _unlock(ledger: Ledger, connection: Connection, claimed: Claim) -> None:
    if claimed._file is not None:
        claimed._file.close()
        return
    with ledger.write(connection):
        connection.execute(select(func.pg_advisory_unlock(lock_number("chunk", claimed.replay_no, claimed.chunk))))


def is_owned(ledger: Ledger, connection: Connection, replay_no: int, chunk: int) -> bool:
    """Whether a running process owns a chunk now; changes nothing.

    Args:
        connection: a connection that does not own the chunk.

    Raises:
        LedgerError: the lock cannot be checked.
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
    """Check, within a transaction, that chunks are still owned; this holds until the transaction ends.

    Raises:
        OwnershipLostError: one has another owner.
    """
    lock = dialect_of(connection).shared_lock
    # In the order in which others lock several chunks, such as a retry: any other order could be a deadlock.
    for one in sorted(claimed, key=lambda one: (one.replay_no, one.chunk)):
        # Runs in every commit: plain SQL costs a tenth of a statement that SQLAlchemy builds. It contains only our own
        # numbers.
        query = f"SELECT fence FROM {chunks.name} WHERE replay_no = {one.replay_no:d} AND chunk = {one.chunk:d}{lock}"  # noqa: S608
        if connection.exec_driver_sql(query).scalar_one_or_none() != one.fence:
            raise OwnershipLostError("another worker has taken over; this worker cannot record anything more")


@contextmanager
def exclusive(ledger: Ledger, *name: str) -> Iterator[None]:
    """Run the block in one process at a time; others wait until the first one finishes or dies.

    Args:
        ledger: the ledger that the processes share.
        *name: names the lock.

    Raises:
        LedgerError: the lock cannot be created.
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
        connection.detach()  # a pool would keep the session, and its lock, alive
        connection.execute(select(func.pg_advisory_lock(number)))
        connection.commit()  # the lock belongs to the session; leave no transaction open
        yield


def _lock_file(ledger: Ledger, name: str, *, wait: bool = False) -> IO[bytes] | None:
    if ledger.file is None:
        raise TypeError("only an SQLite ledger has lock files")
    ledger.check_writable()
    return lock_file(ledger.file, name, wait=wait)

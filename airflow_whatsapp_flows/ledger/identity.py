"""Checks that the ledger is still the one that was opened, with every commit made to it.

A file can be deleted, replaced, or overwritten by an older copy, while in use or between uses; requests sent since
that copy would then be sent again. So every commit increments a number in the ledger and checks the file's device,
inode and modification time. The last number is also stored outside the file, in the folder of its locks, and checked
on opening. On a server the number comes from a sequence, because a row would serialize the commits of all workers.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from airflow_whatsapp_flows.errors import LedgerError, LedgerReplacedError
from airflow_whatsapp_flows.ledger.engine import copy_database, open_file
from airflow_whatsapp_flows.ledger.marks import Mark, advance_mark, mark_path, read_mark, write_mark
from airflow_whatsapp_flows.ledger.schema import COMMITS, versions
from airflow_whatsapp_flows.ledger.synced_log import SyncedLog

_READ = f"SELECT ledger_id, commits FROM {versions.name}"  # noqa: S608
_COUNT_IN_FILE = f"UPDATE {versions.name} SET commits = commits + 1 RETURNING ledger_id, commits"  # noqa: S608
_COUNT_ON_SERVER = f"SELECT ledger_id, nextval('{COMMITS}') FROM {versions.name}"  # noqa: S608
# A file is read without SQLite's locks, so nothing signals that another process has finished writing it.
_TRIES, _TRY_AGAIN_SECONDS = 3, 0.02

Execute = Callable[[str], Sequence[Any] | None]
"""A function that runs a statement and returns its only row."""


def read_stored_commits(file: Path) -> tuple[str, int] | None:
    """Read id and commits from the file itself, without its log; ``None`` if they cannot be read."""
    with suppress(sqlite3.Error), closing(open_file(file, "mode=ro&immutable=1", timeout=0)) as connection:
        row = connection.execute(_READ).fetchone()
        return None if row is None or row[0] is None else (str(row[0]), int(row[1]))
    return None


def _is_database(file: Path) -> bool:
    """Whether a file starts with a database header, even if the rest is damaged.

    The file is only ever opened through SQLite: closing any other handle would release this process's SQLite locks, and
    another process would consider itself the last user and remove the log.
    """
    try:
        with closing(open_file(file, "mode=ro&immutable=1", timeout=0)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.DatabaseError as error:
        return "not a database" not in str(error)
    return file.exists() and file.stat().st_size > 0


class ServerIdentity:
    """The identity of a ledger on a server, as known to one process."""

    def __init__(self, shown: str) -> None:
        self.commits = 0
        self._ledger_id = ""
        self._display_url = shown

    def learn(self, execute: Execute) -> None:
        """Record the ledger that was opened."""
        row = execute(_READ)
        self._ledger_id = str(row[0]) if row else ""

    def begin(self, execute: Execute) -> int:
        """Check, within a transaction, that the ledger is still the same; return the number of the commit.

        Raises:
            LedgerReplacedError: it is another ledger or an older copy.
        """
        seen = self.commits
        row = execute(_COUNT_ON_SERVER)
        if row is None or row[0] != self._ledger_id or row[1] <= seen:
            raise LedgerReplacedError(
                f"the ledger {self._display_url} was replaced or restored from an older copy while it was in use; "
                "nothing more is sent. Restore the newest copy before you run anything: requests sent since that copy "
                "was made would be sent again"
            )
        return int(row[1])

    def note_commit(self, commits: int) -> None:
        """Record that a transaction was committed."""
        self.commits = max(self.commits, commits)

    def close(self) -> None:
        """Record that the ledger is no longer in use."""


class FileIdentity:
    """The identity of an SQLite ledger, as known to one process.

    Args:
        file: the ledger's file.
    """

    def __init__(self, file: Path) -> None:
        self.commits = 0
        self.stored = 0
        self._file = file
        self._ledger_id = ""
        self._inode = self._changed = (0, 0)
        self._mark: int | None = None
        self._problem: LedgerReplacedError | None = None

    def check_opening(self) -> None:
        """Check, before a file is created or read, that no existing ledger is missing.

        Raises:
            LedgerReplacedError: the ledger existed before and is gone, or was overwritten.
        """
        mark = read_mark(self._file)
        if mark is not None and not (self._file.exists() and self._file.stat().st_size):
            raise LedgerReplacedError(_missing_text(self._file, mark))
        if mark is not None and mark.is_overwritten:
            was = f"the ledger sqlite:///{self._file} was overwritten while it was in use"
            raise LedgerReplacedError(f"{was}. {_damage_hint(self._file)}")
        own = read_stored_commits(self._file)
        if mark is not None and own is not None:
            # Before SQLite reads it: it would apply the log left over from the newer file.
            self._compare(mark, own[0], own[1], mark.stored)

    def learn(self, execute: Execute) -> None:
        """Record the ledger that was opened, and compare it with earlier commits.

        Raises:
            LedgerReplacedError: it is another ledger or an older copy.
        """
        mark = read_mark(self._file)  # read before the ledger, which others write first
        row = execute(_READ)
        self._ledger_id, self.commits = (str(row[0]), int(row[1])) if row else ("", 0)
        found = os.stat(self._file)
        self._inode, self._changed = (found.st_dev, found.st_ino), (found.st_mtime_ns, found.st_size)
        own = read_stored_commits(self._file)
        self.stored = own[1] if own else 0  # empty so far, or unreadable
        if mark is not None:
            self._compare(mark, self._ledger_id, self.commits, mark.commits)
        if mark is None or mark.commits < self.commits:
            # A mark must never be newer than the ledger. There is no log if everything is in the file.
            try:
                with suppress(FileNotFoundError), closing(SyncedLog(self._file)) as log:
                    log.sync()
            except OSError as error:
                raise LedgerError(f"the ledger {self._file} cannot be read safely: {error.strerror}") from error
            write_mark(self._file, self._own_mark())

    def begin(self, execute: Execute) -> int:
        """Check, within a transaction, that the ledger is still the same; return the number of the commit.

        Raises:
            LedgerReplacedError: the file was deleted, replaced or overwritten.
        """
        self.check()
        seen = self.commits
        row = execute(_COUNT_IN_FILE)
        if row is None or row[0] != self._ledger_id or row[1] <= seen:
            self._fail_overwritten(None if row is None else row[0])
        return int(row[1])

    def check(self) -> None:
        """Check that the file is still the one that was opened.

        Raises:
            LedgerReplacedError: it is not.
        """
        if self._problem is not None:
            raise self._problem  # the overwritten file may look valid after SQLite has written to it
        try:
            found = os.stat(self._file)
        except OSError:
            self._fail_replaced("was deleted or moved")
        if (found.st_dev, found.st_ino) != self._inode:
            self._fail_replaced("was replaced by another file")
        changed = (found.st_mtime_ns, found.st_size)
        if changed != self._changed:
            self._check_content()
            self._changed = changed

    def note_commit(self, commits: int) -> None:
        """Record, here and in the mark, that a transaction was committed."""
        self.commits = max(self.commits, commits)
        with suppress(LedgerReplacedError):  # the next transaction reports it
            self.check()  # the commit may have checkpointed the log
        if self._problem is not None:
            return
        if self._mark is None:
            write_mark(self._file, self._own_mark())
            with suppress(OSError):
                self._mark = os.open(mark_path(self._file), os.O_WRONLY)
        elif self._mark >= 0:
            with suppress(OSError):
                os.pwrite(self._mark, self._own_mark().text(), 0)

    def close(self) -> None:
        """Record that the ledger is no longer in use; its log may be in the file now."""
        if self._mark is None:
            return
        os.close(self._mark)
        self._mark = None
        with suppress(LedgerReplacedError):
            self.check()
            own = read_stored_commits(self._file)
            if own is not None and own[0] == self._ledger_id:
                self.stored = max(self.stored, own[1])
                advance_mark(self._file, self._own_mark())

    def _own_mark(self) -> Mark:
        return Mark(self._ledger_id, self.commits, self.stored)

    def _check_content(self) -> None:
        """Check whether a changed file was only checkpointed, or overwritten."""
        for number in range(_TRIES):
            if number:
                time.sleep(_TRY_AGAIN_SECONDS)
            # Other processes and threads may know of more commits; read before the file, which they write first.
            mark, least = read_mark(self._file), self.stored
            own = read_stored_commits(self._file)
            if own is not None:
                if own[0] != self._ledger_id or own[1] < max(least, mark.stored if mark else 0):
                    self._fail_overwritten(own[0])
                self.stored = max(self.stored, own[1])
                return
        # Only part of the log may be in it, for example on a full disk: then it cannot be read without the rest.
        if not _is_database(self._file):
            self._fail_overwritten()

    def _fail_replaced(self, what: str) -> NoReturn:
        mark = read_mark(self._file)
        if mark is None or mark.ledger_id == self._ledger_id:  # otherwise a person has accepted the other one
            # The restored file contains everything. A log left here may belong to another file.
            commits = max(self.commits, mark.commits if mark else 0)
            advance_mark(self._file, replace(self._own_mark(), stored=commits))
        text = f"the ledger sqlite:///{self._file} {what} while it was in use; nothing more is sent"
        self._problem = LedgerReplacedError(text, can_be_copied=True)
        raise self._problem

    def _fail_overwritten(self, found: str | None = None) -> NoReturn:
        mark, shown = read_mark(self._file), f"the ledger sqlite:///{self._file}"
        if mark is not None and found == mark.ledger_id != self._ledger_id:
            self._problem = LedgerReplacedError(
                f"{shown} was accepted again with `whatsapp-flows ledger accept` while it was in use; nothing more is "
                "sent here. Rerun the same command to continue with the accepted ledger"
            )
            raise self._problem
        advance_mark(self._file, replace(self._own_mark(), is_overwritten=True))
        self._problem = LedgerReplacedError(
            f"{shown} was overwritten with something else while it was in use; nothing more is sent. "
            f"{_damage_hint(self._file)}"
        )
        raise self._problem

    def _compare(self, mark: Mark, ledger_id: str, has: int, wanted: int) -> None:
        if mark.ledger_id != ledger_id:
            what = "is a different ledger than the one used here before, and has no record of what was sent"
        elif has < wanted:
            what = f"is an older copy: {wanted - has:,} of {mark.commits:,} commits are missing"
        else:
            return
        raise LedgerReplacedError(f"the ledger sqlite:///{self._file} {what}. {_restore_hint(self._file)}")


def rescue_ledger(connection: Any, file: Path, error: LedgerReplacedError) -> LedgerReplacedError:
    """Save a ledger whose file was deleted or replaced, through a connection that still has it open.

    Args:
        connection: a connection of the driver.
        file: the ledger's path.
        error: what happened.

    Returns:
        The error, extended by what was saved and what to do.
    """
    if connection.in_transaction:
        connection.rollback()  # SQLite waits forever if the writer is the reader itself
    row = connection.execute(_READ).fetchone()
    copy = file.with_name(f"{file.name}-rescued-{row[1] if row else 0}")
    try:
        if not copy.exists():
            copy_database(connection, copy)
    except (OSError, sqlite3.Error) as problem:
        return LedgerReplacedError(f"{error}. A copy of it could not be saved ({problem}). {_restore_hint(file)}")
    return LedgerReplacedError(f"{error}. All of it was saved. {_restore_hint(file)}")


def _missing_text(file: Path, mark: Mark) -> str:
    return (
        f"the ledger sqlite:///{file} is missing: it was deleted or moved, with {mark.commits:,} commits that record "
        f"what was sent. {_restore_hint(file)}"
    )


def _restore_hint(file: Path) -> str:
    saved = (copy for copy in file.parent.glob(f"{file.name}-rescued-*") if ".part" not in copy.name[len(file.name) :])
    copies = sorted(saved, key=lambda copy: copy.stat().st_mtime)  # another process may be writing one more
    how = f"`mv {copies[-1]} {file}` restores the saved copy" if copies else "Restore the newest copy"
    return (
        f"{how}. To continue without it, run `whatsapp-flows ledger accept --ledger sqlite:///{file}`: requests that "
        "it has no record of may then be sent again"
    )


def _damage_hint(file: Path) -> str:
    return (
        f"It may be damaged now: when no process uses it, delete {file.name}-wal and {file.name}-shm, restore the file "
        f"again, and run `whatsapp-flows ledger accept --ledger sqlite:///{file}`"
    )

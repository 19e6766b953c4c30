"""The log of an SQLite file, and when what was committed to it is on the disk."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from airflow_whatsapp_flows.ledger.engine import log_of

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync does not reach the disk


class SyncedLog:
    """Waits until commits to an SQLite file are on the disk.

    SQLite does this by itself under ``synchronous=FULL``, but holds the lock that admits one writer at a time while the
    disk is busy. Under ``NORMAL`` a commit only writes its pages to the log; the log is synced when it is first created
    or reused, and before its pages are copied to the file, and the file before the log is reused. So once the log is
    synced here, whatever was committed before is in one of the two, complete. No lock is held on the log itself, and it
    exists as long as any process has the file open.

    It keeps the log open: the system reports an error of the disk to everyone who had the file open before, and to
    nobody who opens it later.

    Attributes:
        failure: the first error of the disk. The system forgets what it could not write: the next sync would
            succeed.

    Args:
        file: the SQLite file.
    """

    def __init__(self, file: Path) -> None:
        self._path = log_of(file)
        self._lock = threading.Lock()
        self._log: int | None = None
        self._inode = (0, 0)
        self.failure: OSError | None = None

    def sync(self) -> None:
        """Wait until every commit so far is on the disk.

        Raises:
            OSError: it cannot be synced; :exc:`FileNotFoundError` if there is no log.
        """
        with self._lock:
            found = os.stat(self._path)
            log = self._log
            if log is None or (found.st_dev, found.st_ino) != self._inode:
                log = self._open()
            try:
                _sync(log)
            except OSError as error:
                self.failure = error
                raise

    def close(self) -> None:
        """Close the log."""
        with self._lock:
            if self._log is not None:
                os.close(self._log)
            self._log = None

    def _open(self) -> int:
        log = os.open(self._path, os.O_RDWR)
        if self._log is not None:
            os.close(self._log)
        found = os.fstat(log)
        self._log, self._inode = log, (found.st_dev, found.st_ino)
        return log


def _sync(log: int) -> None:
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(log, _FULL_SYNC)
        except OSError:  # some file systems do not know it
            os.fsync(log)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(log)
    else:
        os.fsync(log)

"""The log of an SQLite file, and when it is on the disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from airflow_whatsapp_flows.ledger.synced_log import SyncedLog


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The descriptor and the inode of each sync."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fdatasync", lambda number: found.append((number, os.fstat(number).st_ino)))
    return found


@pytest.fixture
def log(file: Path) -> Iterator[SyncedLog]:
    with closing(SyncedLog(file)) as log:
        yield log


def write(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
    return connection


def inode_of(file: Path) -> int:
    return os.stat(f"{file}-wal").st_ino


def test_the_log_stays_open_so_that_no_error_of_the_disk_is_missed(
    file: Path, log: SyncedLog, syncs: list[tuple[int, int]]
) -> None:
    with closing(write(file)):
        log.sync()
        with file.open("rb"):  # takes the lowest number that is free
            log.sync()

        assert syncs == [syncs[0]] * 2
        assert syncs[0][1] == inode_of(file)


def test_a_new_log_is_opened(file: Path, log: SyncedLog, syncs: list[tuple[int, int]], tmp_path: Path) -> None:
    with closing(write(file)):
        log.sync()
        Path(f"{file}-wal").rename(tmp_path / "kept")  # so that its inode is not reused
    with closing(write(file)):
        log.sync()

        assert [inode for _, inode in syncs] == [os.stat(tmp_path / "kept").st_ino, inode_of(file)]


def test_a_missing_log_is_an_error(file: Path, log: SyncedLog) -> None:
    with closing(write(file)):
        log.sync()

    with pytest.raises(FileNotFoundError):
        log.sync()


def test_a_closed_log_leaves_no_descriptor(file: Path, syncs: list[tuple[int, int]]) -> None:
    with closing(write(file)):
        log = SyncedLog(file)
        log.sync()
        log.close()
        log.close()

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(syncs[0][0])

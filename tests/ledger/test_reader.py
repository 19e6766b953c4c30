"""A reader opens what is there, and changes nothing."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.reader import LedgerReader, MissingLedgerError
from airflow_whatsapp_flows.ledger.replays import create_replay, list_replays
from airflow_whatsapp_flows.ledger.schema import SCHEMA_VERSION, versions
from tests.ledger.filling import a_replay


def test_reads_what_a_ledger_holds(ledger: Ledger, ledger_url: str) -> None:
    a_replay(ledger, [])
    with LedgerReader(ledger_url) as reader:
        assert [replay.id for replay in list_replays(reader)] == ["first"]


def test_sees_what_is_written_meanwhile(ledger: Ledger, ledger_url: str) -> None:
    with LedgerReader(ledger_url) as reader:
        a_replay(ledger, [])
        assert [replay.id for replay in list_replays(reader)] == ["first"]


def test_writes_nothing(ledger: Ledger, ledger_url: str) -> None:
    with LedgerReader(ledger_url) as reader, pytest.raises(LedgerError):
        create_replay(reader, "second", "lead", "{}", ("x", None))
    assert list_replays(ledger) == []


def test_a_missing_ledger_is_not_created(ledger_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(MissingLedgerError, match="the first replay or task creates it"):
            LedgerReader(ledger_url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_ledger_of_another_version_is_named_and_left_alone(ledger: Ledger, ledger_url: str, version: int) -> None:
    with ledger.write() as connection:
        connection.execute(versions.update().values(version=version))
    with pytest.raises(LedgerError, match=f"has version {version}"):
        LedgerReader(ledger_url)
    with ledger.read() as connection:
        assert connection.execute(versions.select()).one().version == version


def test_a_ledger_that_nobody_has_open_can_be_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as ledger:
        a_replay(ledger, [])
    with LedgerReader(url) as reader:
        assert len(list_replays(reader)) == 1


def test_waits_for_a_locked_file_only_briefly(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{file}").close()
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    try:
        with pytest.raises(LedgerError, match="database is locked"):
            LedgerReader(f"sqlite:///{file}")
    finally:
        holder.close()
    assert time.monotonic() - started < 20


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_text("not a database, but long enough to look like one" * 100)
    with pytest.raises(LedgerError, match=str(file)):
        LedgerReader(f"sqlite:///{file}")

"""The ledger of one task: reads and writes through the driver and through SQLAlchemy."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from airflow_whatsapp_flows.errors import IntentConflictError, LedgerError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, Intent, Ledger, Subject
from airflow_whatsapp_flows.ledger.task_store import TaskLedger, open_task_ledger
from tests.ledger.filling import record_of

SUBJECT = Subject("f", "r")
INTENT = Intent(SUBJECT, "A", 1, "k", 1, "d", "POST", "crm:443", 1.5, 2.5, phone="+52", origin="{}")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new' / 'ledger.db'}"


@pytest.fixture(params=["driver", "sqlalchemy"])
def ledger(request: pytest.FixtureRequest, url: str) -> TaskLedger:
    """Through the SQLite driver, and through SQLAlchemy as for a server."""
    return open_task_ledger(url if request.param == "driver" else url.replace("sqlite", "sqlite+pysqlite"))


def test_a_replay_reads_what_a_task_writes(ledger: TaskLedger, url: str) -> None:
    with ledger.transaction() as transaction:
        transaction.intend(INTENT)
    with ledger.transaction() as transaction:
        transaction.end(AttemptEnd(INTENT, Fate.SUCCEEDED, 201, None, '{"outcome":"success"}', 3.5))
        [row] = transaction.attempts(SUBJECT)
    assert (row.step, row.visit, row.key, row.number, row.fate, row.moment) == ("A", 1, "k", 1, "succeeded", 1.5)
    with Ledger(url) as whole, whole.read() as connection:
        record = record_of(connection, SUBJECT, None, 1)
    assert record.walk_started_at == 1.5
    assert record.find_settled_result("A", 1) is not None


def test_reading_writes_nothing_to_disk(url: str) -> None:
    ledger = open_task_ledger(url)
    with ledger.transaction() as transaction:
        transaction.intend(INTENT)
    log = Path(url.removeprefix("sqlite:///") + "-wal")
    before = log.stat()
    with ledger.transaction() as transaction:
        assert len(transaction.attempts(SUBJECT)) == 1
        assert transaction.renames("f") == {}
        assert len(transaction.attempts_of_visit(SUBJECT, ["A"], 1)) == 1
    assert (log.stat().st_size, log.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_visit_counts_its_own_attempts_and_those_of_its_key(ledger: TaskLedger) -> None:
    def intent(subject: Subject, step: str, visit: int, key: str) -> Intent:
        return replace(INTENT, subject=subject, step=step, visit=visit, key=key)

    with ledger.transaction() as transaction:
        for step, visit, key in (("A", 1, "k2"), ("A", 1, "k1"), ("A", 2, "k2"), ("A", 2, "k3"), ("B", 2, "k2")):
            transaction.intend(intent(SUBJECT, step, visit, key))
        transaction.intend(intent(Subject("f", "s"), "A", 2, "k2"))
        found = transaction.attempts_of_visit(SUBJECT, ["A"], 2, "k2")
        assert [(row.visit, row.key) for row in found] == [(1, "k2"), (2, "k2"), (2, "k3")]


def test_another_workers_intent_is_a_conflict(ledger: TaskLedger) -> None:
    with ledger.transaction() as transaction:
        transaction.intend(INTENT)
    with pytest.raises(IntentConflictError), ledger.transaction() as transaction:
        transaction.intend(INTENT)


def test_a_failed_transaction_is_rolled_back(ledger: TaskLedger) -> None:
    with contextlib.suppress(KeyError), ledger.transaction() as transaction:
        transaction.intend(INTENT)
        raise KeyError
    with ledger.transaction() as transaction:
        assert transaction.attempts(SUBJECT) == []


def test_an_unwritable_ledger_gives_path_and_reason(url: str, tmp_path: Path) -> None:
    ledger = open_task_ledger(url)
    with contextlib.closing(sqlite3.connect(tmp_path / "new" / "ledger.db")) as connection:
        connection.execute("DROP TABLE whatsapp_flows_attempts")
    why = r"new/ledger\.db cannot be written: no such table"
    with pytest.raises(LedgerError, match=why), ledger.transaction() as transaction:
        transaction.intend(INTENT)


def test_a_ledger_of_another_version_is_refused(url: str, tmp_path: Path) -> None:
    Ledger(url).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "new" / "ledger.db")) as connection:
        connection.execute("UPDATE whatsapp_flows_ledger SET version = 99")
        connection.commit()
    with pytest.raises(LedgerError, match="has version 99"):
        open_task_ledger(url)


def test_opens_once_per_process_and_again_after_fork(url: str) -> None:
    opened = open_task_ledger(url)
    assert open_task_ledger(url) is opened
    child = os.fork()
    if child == 0:
        os._exit(int(open_task_ledger(url) is opened))
    assert os.waitpid(child, 0)[1] == 0

"""``airflow db migrate`` and the ledger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.hooks.ledger_manager import LedgerDBManager
from airflow_whatsapp_flows.ledger.schema import SCHEMA_VERSION
from airflow_whatsapp_flows.ledger.upgrade import find_version
from tests.ledger.old_ledgers import make_ledger

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'l.db'}"
    make_ledger(url)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", url)
    return url


def test_airflow_knows_the_manager_and_finds_it_valid() -> None:
    from airflow.utils.db_manager import RunDBManager

    manager = RunDBManager()
    assert LedgerDBManager in manager._managers
    manager.validate()


def test_db_migrate_upgrades_the_ledger_of_the_settings(old: str, tmp_path: Path) -> None:
    assert not LedgerDBManager(None).check_migration()

    env = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"}
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert find_version(old) == SCHEMA_VERSION
    assert (tmp_path / "l.db.v1-backup").exists()
    assert "was upgraded from version 1 to" in done.stdout + done.stderr
    assert LedgerDBManager(None).check_migration()


def test_a_reset_of_airflow_keeps_the_ledger(old: str) -> None:
    manager = LedgerDBManager(None)
    manager.drop_tables(None)
    manager.resetdb(skip_init=True)
    assert find_version(old) == 1
    manager.resetdb()
    assert find_version(old) == SCHEMA_VERSION


def test_does_not_create_a_missing_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'none.db'}")
    manager = LedgerDBManager(None)
    manager.initdb()
    assert manager.check_migration()
    assert manager.get_current_revision() is None
    assert list(tmp_path.iterdir()) == []


def test_reports_operations_that_cannot_be_done(old: str) -> None:
    with pytest.raises(LedgerError, match="cannot be downgraded: restore the copy"):
        LedgerDBManager(None).downgrade("0001")
    with pytest.raises(LedgerError, match="only be upgraded to the version"):
        LedgerDBManager(None).upgradedb(to_revision="0001")

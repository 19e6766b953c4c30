"""A logging CRM, a PostgreSQL server, and an SQLite ledger for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_whatsapp_flows.ledger import Ledger
from tests.servers.crm_log import CrmProcess, running_crm
from tests.servers.postgres import PostgresServer, running_postgres


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CrmProcess]:
    with running_crm(tmp_path / "crm.log") as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_in_each(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """A ledger in each database; a module names it ``ledger``."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    with Ledger(url) as opened:
        yield opened


@pytest.fixture
def private(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server for one test; skipped where the shared one is."""
    with running_postgres() as server:
        yield server

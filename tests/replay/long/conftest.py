"""What tests of many kills share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay.runs import sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a new ledger in each database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    url: str = request.getfixturevalue("postgres").create_database()
    return url

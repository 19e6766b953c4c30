"""The file of a ledger's URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_whatsapp_flows.ledger.engine import is_missing_file


def test_a_file_is_missing_until_it_exists(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    assert is_missing_file(f"sqlite:///{file}")
    file.touch()
    assert not is_missing_file(f"sqlite:///{file}")


@pytest.mark.parametrize("url", ["postgresql://db/flows", "postgresql://db:port/flows", "no url", "sqlite://"])
def test_text_that_names_no_file_is_not_a_missing_file(url: str) -> None:
    assert not is_missing_file(url)

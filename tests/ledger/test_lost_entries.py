"""The memory for recently committed requests is bounded."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import AttemptEnd, lost_entries
from airflow_whatsapp_flows.ledger.attempts import group_by_type
from airflow_whatsapp_flows.ledger.lost_entries import RecentEntries
from tests.ledger.filling import intent


@pytest.mark.parametrize("keeps", [True, False], ids=["file", "server"])
def test_long_results_never_stop_a_run(monkeypatch: pytest.MonkeyPatch, keeps: bool) -> None:
    monkeypatch.setattr(lost_entries, "_MOST_CHARACTERS", 1000)
    recent = RecentEntries(keeps=keeps)
    for number in range(10):
        made = intent(f"r-{number}")
        recent.add(number, group_by_type([made, AttemptEnd(made, Fate.SUCCEEDED, 200, None, "x" * 400, 1.0)]))
    assert recent.requests == 10
    assert [number for number, *_ in recent._commits] == ([8, 9] if keeps else [])

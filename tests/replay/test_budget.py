"""How many contacts may fail."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.replay.budget import FailureBudget


def test_without_a_budget_any_number_may_fail() -> None:
    budget = FailureBudget(None)
    for _ in range(10_000):
        budget.note_failed()
    assert budget.stop_reason is None


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [
        (0, "1 contact failed, and max_failures allows 0"),
        (2, "3 contacts failed, and max_failures allows 2"),
    ],
)
def test_one_more_than_allowed_stops_the_batch(allowed: int, reason: str) -> None:
    budget = FailureBudget(allowed)
    for _ in range(allowed):
        budget.note_failed()
    assert budget.stop_reason is None
    budget.note_failed()
    assert (budget.stop_reason or "").startswith(f"{reason}: `replay retry`")


def test_a_batch_that_goes_on_knows_what_failed_before() -> None:
    told = FailureBudget(10, failed=11).stop_reason or ""
    assert told.startswith("11 contacts failed, and max_failures allows 10: ")
    assert FailureBudget(11, failed=11).stop_reason is None

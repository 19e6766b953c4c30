"""How many contacts may fail, or take an error exit."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.ledger.replays import Tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.budget import FailureBudget, max_handled, too_many_handled
from airflow_whatsapp_flows.replay.option_checks import read_handled_errors


def test_without_a_limit_any_number_may_fail() -> None:
    assert FailureBudget(None, failed=10_000, handled=10_000, walked=10_000).stop_reason is None


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
        budget.failed += 1
    assert budget.stop_reason is None
    budget.failed += 1
    assert (budget.stop_reason or "").startswith(f"{reason}: `replay retry`")


def test_a_resumed_batch_counts_earlier_failures() -> None:
    told = FailureBudget(10, failed=11).stop_reason or ""
    assert told.startswith("11 contacts failed, and max_failures allows 10: ")
    assert FailureBudget(11, failed=11).stop_reason is None


@pytest.mark.parametrize(
    ("limit", "last_allowed", "reason"),
    [
        (0, 0, "1 contact took an error exit, and max_handled_errors allows 0: `replay retry --handled`"),
        (3, 3, "4 contacts took an error exit, and max_handled_errors allows 3: `replay retry --handled`"),
        ("20%", 200, "201 contacts took an error exit, and max_handled_errors allows 20%, 200 contacts: "),
        ("0.5%", 5, "6 contacts took an error exit, and max_handled_errors allows 0.5%, 5 contacts: "),
    ],
)
def test_one_more_handled_error_than_allowed_stops_the_batch(limit: Any, last_allowed: int, reason: str) -> None:
    budget = FailureBudget(max_handled_errors=limit, walked=1000, handled=last_allowed)
    assert budget.stop_reason is None
    budget.handled += 1
    assert (budget.stop_reason or "").startswith(reason)


@pytest.mark.parametrize(
    ("limit", "allowed"), [("0%", 0), ("29%", 29), ("99.99%", 99), ("100%", 100), ("57%", 57), (7, 7)]
)
def test_a_percentage_refers_to_walked_contacts(limit: Any, allowed: int) -> None:
    assert max_handled(limit, 100) == allowed


@pytest.mark.parametrize("written", [0, 50, "20%", "0.5%", "100%"])
def test_a_limit_is_a_number_or_a_percentage(written: Any) -> None:
    assert read_handled_errors(written) == written


def test_accepts_a_number_as_text() -> None:
    assert read_handled_errors("50") == 50


@pytest.mark.parametrize("written", [-1, 0.2, True, "", "101%", "-1%", "20 %", "٢٠%", "٢٠", "x"])
def test_refuses_other_formats(written: Any) -> None:
    with pytest.raises(ValueError, match="neither a number of contacts nor a percentage"):
        read_handled_errors(written)


def _tally(completed: int, handled: int, failed: int = 0, skipped: int = 0) -> Tally:
    counts = {ContactState.COMPLETED: completed, ContactState.FAILED: failed, ContactState.SKIPPED: skipped}
    states = {state: counts.get(state, 0) for state in ContactState}
    return Tally(sum(counts.values()), states, handled, handled, 0, 0)


@pytest.mark.parametrize(
    ("limit", "tally", "wrong"),
    [
        pytest.param(None, _tally(0, 0), None, id="nobody"),
        pytest.param(None, _tally(9, 8), None, id="all-but-one"),
        pytest.param(None, _tally(9, 9), "every one of 9 contacts that completed took an error exit", id="all"),
        pytest.param(None, _tally(1, 1), "the contact that completed took an error exit", id="the-only-one"),
        pytest.param(None, _tally(9, 9, failed=3), "every one of 9 contacts", id="the-others-failed"),
        pytest.param("100%", _tally(9, 9), None, id="all-may"),
        pytest.param(2, _tally(9, 2), None, id="as-many-as-may"),
        pytest.param(2, _tally(9, 3), "3 contacts took an error exit, and max_handled_errors allows 2", id="one-more"),
        pytest.param("50%", _tally(10, 6, skipped=90), "allows 50%, 5 contacts", id="share-of-the-walked"),
    ],
)
def test_too_many_handled_errors_are_not_a_success(limit: Any, tally: Tally, wrong: str | None) -> None:
    found = too_many_handled(limit, tally)
    assert found is None if wrong is None else wrong in (found or "")

"""Refusals of all workers count together until the first success."""

from __future__ import annotations

from airflow_whatsapp_flows.replay.refusals import Refusal
from airflow_whatsapp_flows.replay.workers.first_refusals import FirstRefusals

CREDENTIALS = Refusal("crm:443", "crm", None, 401, "401 Unauthorized")
STEP = Refusal("crm:443", "crm", "Create", 422, "422 No")


def find_stop(refusals: FirstRefusals, refusal: Refusal, most: int = 100) -> int | None:
    for number in range(1, most + 1):
        refusals.note(refusal)
        if refusals.due == refusal:
            return number
    return None


def test_refusals_stop_all_workers_as_they_stop_one_process() -> None:
    refusals = FirstRefusals(workers=2)

    assert find_stop(refusals, CREDENTIALS) == 20
    assert find_stop(FirstRefusals(workers=2), STEP) == 50


def test_the_first_requests_to_a_host_are_enough_to_find_refused_credentials() -> None:
    """Eight workers send two each to a host that has not answered otherwise."""
    assert find_stop(FirstRefusals(workers=8), CREDENTIALS) == 16


def test_workers_that_have_nothing_to_do_are_not_waited_for() -> None:
    """The only one left sends no more than its part, so nobody would ever count to 20."""
    refusals = FirstRefusals(workers=2)
    assert find_stop(refusals, CREDENTIALS, 10) is None

    refusals.leave()

    assert refusals.due == CREDENTIALS
    assert "10 times in a row" in refusals.stop_for(CREDENTIALS).reason


def test_a_success_of_any_worker_ends_the_count() -> None:
    refusals = FirstRefusals(workers=2)
    assert find_stop(refusals, CREDENTIALS, 19) is None
    assert find_stop(refusals, STEP, 49) is None

    refusals.accept(CREDENTIALS.account)
    refusals.accept("Create")

    assert (find_stop(refusals, CREDENTIALS), find_stop(refusals, STEP)) == (None, None)
    assert find_stop(refusals, Refusal("crm:443", "other", None, 401, "401")) == 20

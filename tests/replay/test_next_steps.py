"""What is suggested next, for a replay and for the contacts with one error."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.ledger.groups import ErrorGroup
from airflow_whatsapp_flows.ledger.replays import Tally
from airflow_whatsapp_flows.ledger.results import ContactResult
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.next_steps import next_steps, next_steps_of_group

FAILED, IN_DOUBT, REJECTED = ContactState.FAILED, ContactState.IN_DOUBT, ContactState.REJECTED
KEYED = {"Create": Delivery.KEYED}


def group(count: int = 1, in_doubt: int = 0, handled: int = 0, step: str | None = "Create") -> ErrorGroup:
    error = None if step is None else {"step": step}
    sample = ContactResult("r-1", "1", FAILED, None, 0, [], error, [])
    return ErrorGroup("f1", count, in_doubt, handled, 0.0, 0.0, sample, None, None)


def tally(handled: int = 0, **states: int) -> Tally:
    counts = {state: states.get(state.value, 0) for state in ContactState}
    return Tally(sum(counts.values()), counts, handled, handled, 0, 0)


@pytest.mark.parametrize(
    ("counted", "errors", "expected"),
    [
        pytest.param(tally(completed=3), [], [], id="all-done"),
        pytest.param(tally(failed=1), [group()], ["results --state failed R", "retry R"], id="failed"),
        pytest.param(tally(completed=1, handled=1), [group(handled=1)], ["retry --handled R"], id="handled"),
        pytest.param(tally(rejected=1), [], ["results --state rejected R"], id="rejected"),
        pytest.param(
            tally(in_doubt=1),
            [group(in_doubt=1)],
            ["results --state in_doubt R", "resolve --as sent -- R RESPONSE"],
            id="in-doubt",
        ),
    ],
)
def test_each_state_has_its_steps(counted: Tally, errors: list[ErrorGroup], expected: list[str]) -> None:
    found = [step.command("R") for step in next_steps(counted, errors, {})]
    assert found == [f"whatsapp-flows replay {command}" for command in expected]


def test_what_may_be_repeated_is_retried_and_the_rest_is_looked_up() -> None:
    counted = tally(in_doubt=2)
    verbs = [step.verb for step in next_steps(counted, [group(in_doubt=1)], KEYED)]
    assert verbs == ["results", "retry"]
    both = [group(in_doubt=1), group(in_doubt=1, step="Other")]
    assert [step.verb for step in next_steps(counted, both, KEYED)] == ["results", "retry", "resolve"]
    assert [step.verb for step in next_steps(counted, [], KEYED)] == ["results", "resolve"]  # of another replay


@pytest.mark.parametrize(
    ("errors", "delivery", "expected"),
    [
        pytest.param(group(2), {}, ["retry --fingerprint f1 R"], id="failed"),
        pytest.param(group(2, handled=2), {}, ["retry --handled --fingerprint f1 R"], id="handled"),
        pytest.param(group(in_doubt=1), {}, ["resolve --fingerprint f1 --as not_sent R"], id="in-doubt"),
        pytest.param(
            group(3, in_doubt=1, handled=1),
            KEYED,
            [
                "retry --fingerprint f1 R",
                "retry --handled --fingerprint f1 R",
                "retry --state in_doubt --fingerprint f1 R",
                "resolve --fingerprint f1 --as not_sent R",
            ],
            id="all-of-them",
        ),
        pytest.param(group(step=None), {}, ["retry --fingerprint f1 R"], id="of-the-flow"),
    ],
)
def test_a_group_has_the_steps_of_its_contacts(
    errors: ErrorGroup, delivery: dict[str, Delivery], expected: list[str]
) -> None:
    found = [step.command("R") for step in next_steps_of_group(errors, delivery)]
    assert found == [f"whatsapp-flows replay {command}" for command in expected]


def test_further_options_come_before_the_names() -> None:
    [_, step] = next_steps(tally(failed=1), [], {})
    assert step.command("-x", "--ledger L") == "whatsapp-flows replay retry --ledger L -- -x"

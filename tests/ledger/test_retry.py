"""Which contacts are retried, and how their rows change."""

from __future__ import annotations

import json
import time
from dataclasses import replace as replaced
from typing import Any

import pytest
from sqlalchemy import update

from airflow_whatsapp_flows.errors import LedgerError, ReplayError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import find_replay
from airflow_whatsapp_flows.ledger.retry import RetrySelection, find_selected, find_unknown_responses, walk_again
from airflow_whatsapp_flows.ledger.retry_runs import (
    PlannedRetry,
    count_unsent,
    planned_retry,
    retrying_runs,
    store_planned_retry,
    tally_retry,
)
from airflow_whatsapp_flows.ledger.schema import contacts
from tests.ledger.filling import FLOW, a_replay, attempt, attempts_of, change, end, response, rows_of, states_of

C, F, D, P = ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT, ContactState.PENDING


def test_by_default_failed_contacts_get_a_new_round(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3), None])
    end(ledger, replay, [C, F, D], fingerprint="f", path='["Create"]', error="{}", handled_errors=2, unanswered=True)

    chosen = walk_again(ledger, replay, RetrySelection())

    assert (chosen.contacts, chosen.purged) == (1, 0)
    assert states_of(ledger, replay) == ["completed", "pending", "in_doubt", "rejected"]
    row = rows_of(ledger, replay)[1]
    assert (row.round, row.handled_errors, row.unanswered) == (2, 0, False)
    assert (row.reason, row.path, row.error, row.fingerprint, row.ended_at) == (None,) * 5
    assert row.response is not None


def test_selects_only_the_named_states(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3), response(1)])
    end(ledger, replay, [C, F, D])

    chosen = walk_again(ledger, replay, RetrySelection(states=[C, D, ContactState.SKIPPED]))

    assert chosen.contacts == 3
    assert states_of(ledger, replay) == ["pending", "failed", "pending", "pending"]


def test_a_pending_contact_keeps_its_round(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])

    assert walk_again(ledger, replay, RetrySelection(states=[P, F])).contacts == 0
    assert [row.round for row in rows_of(ledger, replay)] == [1, 1]


def test_does_not_retry_rejected_rows(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), None])
    end(ledger, replay, [F])

    with pytest.raises(ReplayError, match="fix it in the source"):
        walk_again(ledger, replay, RetrySelection(states=[F, ContactState.REJECTED]))
    assert states_of(ledger, replay) == ["failed", "rejected"]


def test_selects_by_the_last_attempt_of_a_step(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 6)])
    end(ledger, replay, [C, C, F, D, C])
    attempt(ledger, "r-1", Fate.ANSWERED, replay, error_kind="status")
    attempt(ledger, "r-2", Fate.ANSWERED, replay)
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay, number=2)
    attempt(ledger, "r-3", Fate.SUCCEEDED, replay)
    attempt(ledger, "r-4", Fate.NOT_SENT, replay)
    attempt(ledger, "r-5", Fate.ANSWERED, replay, step="Other")

    chosen = walk_again(ledger, replay, RetrySelection(steps=["Create"]))

    assert chosen.contacts == 2
    assert states_of(ledger, replay) == ["pending", "completed", "failed", "pending", "completed"]


def test_every_condition_must_hold(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 5)])
    ids = end(ledger, replay, [F, F, F, C], fingerprint="f")
    change(ledger, ids[0], ended_at=500.0)
    change(ledger, ids[1], fingerprint="g")

    chosen = walk_again(ledger, replay, RetrySelection(fingerprint="f", since=1000.0, until=1001.0))

    assert chosen.contacts == 1
    assert chosen.others == {C: 1}
    assert states_of(ledger, replay) == ["failed", "failed", "pending", "completed"]
    assert walk_again(ledger, replay, RetrySelection(until=1000.0)).contacts == 1  # until is not in it


def test_keeps_contacts_with_purged_responses(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])
    ids = end(ledger, replay, [F, F])
    change(ledger, ids[0], response=None)

    chosen = walk_again(ledger, replay, RetrySelection())

    assert (chosen.contacts, chosen.purged) == (1, 1)
    assert states_of(ledger, replay) == ["failed", "pending"]


def test_changes_no_other_replay_and_stores_the_fixed_flow(ledger: Ledger) -> None:
    replay, other = a_replay(ledger, [response(1)]), a_replay(ledger, [response(2)], "second")
    end(ledger, replay, [F])
    end(ledger, other, [F])

    mended = {**FLOW, "name": "Mended"}

    walk_again(ledger, replay, RetrySelection(), load_flow(json.dumps(mended)))

    assert states_of(ledger, other) == ["failed"]
    found, left = find_replay(ledger, "first"), find_replay(ledger, "second")
    assert found is not None
    assert left is not None
    assert (json.loads(found.flow), json.loads(left.flow)) == (mended, FLOW)


def test_a_forced_replay_selects_by_its_own_attempts(ledger: Ledger) -> None:
    forced = a_replay(ledger, [response(1)], force=True)
    end(ledger, forced, [C])
    attempt(ledger, "r-1", Fate.ANSWERED, forced)
    attempt(ledger, "r-1", Fate.SUCCEEDED, key="other")

    assert walk_again(ledger, forced, RetrySelection(steps=["Create"])).contacts == 1


_UNDER = {
    delivery: {**FLOW, "steps": [{**FLOW["steps"][0], "delivery": delivery}, *FLOW["steps"][1:]]}
    for delivery in ("keyed", "idempotent")
}


@pytest.mark.parametrize(
    ("fate", "status", "flow", "walked"),
    [
        pytest.param(Fate.ANSWERED, 422, FLOW, True, id="a refusal"),
        pytest.param(Fate.ANSWERED, 429, FLOW, True, id="too many requests"),
        pytest.param(Fate.NOT_SENT, None, FLOW, True, id="no connection"),
        pytest.param(Fate.ANSWERED, 504, FLOW, False, id="a 504 with an error exit"),
        pytest.param(Fate.ANSWERED, 408, FLOW, False, id="a 408 with an error exit"),
        pytest.param(Fate.ANSWERED, 200, FLOW, False, id="a 2xx that success_when rejects"),
        pytest.param(Fate.UNKNOWN, None, FLOW, False, id="no answer"),
        pytest.param(None, None, FLOW, False, id="a killed process"),
        pytest.param(Fate.UNKNOWN, 504, _UNDER["idempotent"], True, id="idempotent"),
        pytest.param(Fate.UNKNOWN, 504, _UNDER["keyed"], False, id="a key that is too old"),
    ],
)
def test_omits_possibly_applied_requests(
    ledger: Ledger, fate: Fate | None, status: int | None, flow: dict[str, Any], walked: bool
) -> None:
    replay = a_replay(ledger, [response(1)], flow=flow)
    end(ledger, replay, [F], path='["Create", "Failed"]')
    result = json.dumps({"outcome": "error", "status_code": status, "error": {"kind": "status", "sent": "yes"}})
    attempt(ledger, "r-1", fate, replay, status_code=status, result=result)

    chosen = walk_again(ledger, replay, RetrySelection())

    assert (chosen.contacts, chosen.left_out) == ((1, 0) if walked else (0, 1))
    assert states_of(ledger, replay) == ["pending" if walked else "failed"]
    if not walked:
        came = "no reply" if status is None else f"answered {status}"
        assert chosen.unconfirmed == {("Create", came): 1}


def test_a_contact_with_something_else_to_send_is_walked_again(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3)])
    end(ledger, replay, [F, F, F], path='["Create", "Tell", "Failed"]')
    for name in ("r-1", "r-2", "r-3"):
        attempt(ledger, name, Fate.ANSWERED, replay, status_code=504)
    attempt(ledger, "r-1", Fate.ANSWERED, replay, step="Tell", key="tell", status_code=422)
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay, step="Tell", key="tell", status_code=200)
    change(ledger, rows_of(ledger, replay)[2].id, path='["Create", "Tell"]')  # a text of it could not be made

    chosen = walk_again(ledger, replay, RetrySelection())

    assert (chosen.contacts, chosen.left_out) == (2, 1)
    assert states_of(ledger, replay) == ["pending", "failed", "pending"]


def test_a_changed_flow_retries_stuck_contacts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [F])
    attempt(ledger, "r-1", Fate.ANSWERED, replay, status_code=504)

    assert walk_again(ledger, replay, RetrySelection(), load_flow(json.dumps(FLOW))).contacts == 1
    assert attempts_of(ledger, "r-1")[0].fate == "answered"


def test_records_who_accepted_duplicates_and_the_previous_outcome(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])
    end(ledger, replay, [F, F])
    attempt(ledger, "r-1", Fate.ANSWERED, replay, status_code=504, error_kind="status")
    attempt(ledger, "r-2", None, None, begun_at=time.time())  # a DAG run may be sending it

    chosen = walk_again(ledger, replay, RetrySelection(duplicates_accepted_by="ana"))

    assert (chosen.contacts, chosen.left_out) == (1, 1)
    assert states_of(ledger, replay) == ["pending", "failed"]
    accepted, under_way = attempts_of(ledger, "r-1")[0], attempts_of(ledger, "r-2")[0]
    assert (accepted.fate, under_way.fate) == ("not_sent", None)
    origin = json.loads(accepted.origin)
    assert (origin["resolved"], origin["by"]) == ("duplicate_accepted", "ana")
    assert origin["was"] == {"fate": "answered", "status_code": 504, "error_kind": "status"}


def test_selects_by_handled_errors_and_chunk(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 5)], chunk_size=2)
    ids = end(ledger, replay, [C, C, C, F])
    for number in (0, 2, 3):
        change(ledger, ids[number], handled_errors=1)

    chunk = rows_of(ledger, replay)[0].chunk
    assert walk_again(ledger, replay, RetrySelection(handled_errors=True, chunks=[chunk])).contacts == 1
    assert states_of(ledger, replay) == ["pending", "completed", "completed", "failed"]
    assert walk_again(ledger, replay, RetrySelection(handled_errors=True, states=[C])).contacts == 1
    assert states_of(ledger, replay) == ["pending", "completed", "pending", "failed"]


def test_selects_by_responses_and_by_any_of_several_steps(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 5)])
    end(ledger, replay, [F, F, D, C])
    attempt(ledger, "r-1", Fate.ANSWERED, replay, error_kind="status")
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay)
    attempt(ledger, "r-2", Fate.NOT_SENT, replay, step="Tell")
    attempt(ledger, "r-3", Fate.NOT_SENT, replay, step="Tell")

    choice = RetrySelection(steps=["Create", "Tell"], responses=["r-2", "r-3", "r-4", "r-9"])

    assert find_selected(ledger, replay, choice).states == {F: 1, D: 1}
    assert walk_again(ledger, replay, choice).contacts == 2
    assert states_of(ledger, replay) == ["failed", "pending", "pending", "completed"]
    assert find_unknown_responses(ledger, replay, ["r-1", "r-9"]) == ["r-9"]


def test_what_failed_in_a_retry_is_selected_too(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 7)], chunk_size=2)
    end(ledger, replay, [F, C, F, C, F, F], fingerprint="new")
    number_contacts(ledger, {1: 1, 2: 1, 3: 1, 5: -1, 6: 2})

    choice = RetrySelection(fingerprint="none", or_failed_in=1, chunks=[0, 2])

    assert find_selected(ledger, replay, choice).chunks == [0]
    assert walk_again(ledger, replay, choice).contacts == 1
    assert states_of(ledger, replay) == ["pending", "completed", "failed", "completed", "failed", "failed"]


def number_contacts(ledger: Ledger, numbers: dict[int, int]) -> None:
    with ledger.write() as connection:
        for id_, number in numbers.items():
            connection.execute(update(contacts).where(contacts.c.id == id_).values(retry_no=number))


def test_a_retry_walks_what_it_was_planned_with_and_nobody_else(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 9)], chunk_size=4)
    end(ledger, replay, [F, F, C, F, F, F, P, F])
    attempt(ledger, "r-2", Fate.UNKNOWN, replay)
    found = find_selected(ledger, replay, RetrySelection(responses=["r-1", "r-2", "r-4", "r-5"]))
    retry = store_planned_retry(ledger, replay.no, "dag/one", PlannedRetry(1.0, "digest", {}), found)
    assert [row.retry_no for row in rows_of(ledger, replay)] == [-1, -1, None, -1, -1, None, 1, None]
    assert (retry.number, count_unsent(ledger, replay.no, 1), count_unsent(ledger, replay.no, 1, [1])) == (1, 4, 1)
    end(ledger, replay, [F, F, C, C])

    assert walk_again(ledger, replay, RetrySelection(retry_no=-1, chunks=[0])).contacts == 1

    assert states_of(ledger, replay)[:5] == ["pending", "failed", "completed", "completed", "failed"]
    numbers = [row.retry_no for row in rows_of(ledger, replay)]
    assert numbers == [1, 1, None, None, -1, None, 1, None], "2 was left out, 4 no longer matches, 5 is of chunk 1"
    counted = tally_retry(ledger, replay.no, 1)
    assert (counted.total, counted.states[P], counted.states[F]) == (3, 2, 1)
    assert tally_retry(ledger, replay.no, 1, [1]).total == 1


def test_a_contact_belongs_to_the_retry_that_selected_it_last(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 4)])
    end(ledger, replay, [F, F, F])
    for run, chosen in (("one", ["r-1", "r-2"]), ("two", ["r-2", "r-3"]), ("two", ["r-3"])):
        stored = planned_retry(find_replay(ledger, replay.id) or replay, run) or PlannedRetry(1.0, "digest", {})
        found = find_selected(ledger, replay, RetrySelection(responses=chosen))
        store_planned_retry(ledger, replay.no, run, stored, found)
    assert [row.retry_no for row in rows_of(ledger, replay)] == [-1, None, -2]
    walk_again(ledger, replay, RetrySelection(responses=["r-3"]))
    assert [row.retry_no for row in rows_of(ledger, replay)] == [-1, None, None], "retried by the command line"


def test_a_plan_is_not_stored_if_other_contacts_match_by_now(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 4)])
    end(ledger, replay, [F, C, C])
    found = find_selected(ledger, replay, RetrySelection())
    end(ledger, replay, [F, F, C])
    with pytest.raises(LedgerError, match="contacts have ended since they were selected"):
        store_planned_retry(ledger, replay.no, "dag/one", PlannedRetry(1.0, "digest", {}), found)
    assert (rows_of(ledger, replay)[0].retry_no, find_replay(ledger, replay.id)) == (None, replay)


def test_finding_what_a_retry_selects_changes_nothing(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 5)], chunk_size=1)
    end(ledger, replay, [F, D, F, C])
    attempt(ledger, "r-3", Fate.UNKNOWN, replay)
    before = rows_of(ledger, replay)

    found = find_selected(ledger, replay, RetrySelection())

    assert (found.result.contacts, found.result.left_out, found.result.others) == (1, 1, {D: 1, C: 1})
    assert (found.states, found.left_out, found.known) == ({F: 1}, {before[2].id}, 0)
    assert found.chunks == [0, 2]
    assert rows_of(ledger, replay) == before
    assert walk_again(ledger, replay, RetrySelection()) == found.result


def test_runs_store_their_retries_with_the_replay(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2), response(3)])
    end(ledger, replay, [F, F, F], handled_errors=1)
    found = find_selected(ledger, replay, RetrySelection())
    one = PlannedRetry(2000.0, "digest", {"retry_of": "first", "states": ["failed"]})
    first = store_planned_retry(ledger, replay.no, "dag/one", one, found)
    second = store_planned_retry(ledger, replay.no, "dag/two", PlannedRetry(3000.0, "digest", {}), found)
    assert (first.number, second.number) == (1, 2)
    assert store_planned_retry(ledger, replay.no, "dag/one", first, found).number == 1

    stored = find_replay(ledger, replay.id)
    assert stored is not None
    assert planned_retry(stored, "dag/one") == first
    assert planned_retry(stored, "dag/three") is None
    assert retrying_runs(stored) == ["dag/two", "dag/one"]


def test_a_retry_that_an_earlier_version_planned_has_no_contacts(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    old = {"planned_at": 1.0, "flow": "digest", "selection": {"retry_of": "first"}, "selected": True}
    retry = planned_retry(replaced(replay, options={"retries": {"dag/one": old}}), "dag/one")
    assert retry == PlannedRetry(1.0, "digest", {"retry_of": "first"}, number=0)
    assert (count_unsent(ledger, replay.no, 0), tally_retry(ledger, replay.no, 0).total) == (0, 0)

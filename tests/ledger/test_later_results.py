"""A contact keeps the result of its replay; later results of its response are reported separately."""

from __future__ import annotations

import json
from typing import Any

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveSelection, resolve
from airflow_whatsapp_flows.ledger.results import ContactResult, contact_results
from tests.ledger.filling import a_replay, attempt, change, end, response, rows_of

F, D, C = ContactState.FAILED, ContactState.IN_DOUBT, ContactState.COMPLETED


def the_result(ledger: Ledger, replay: Replay) -> ContactResult:
    (found,) = contact_results(ledger, replay)
    return found


def outcomes(found: ContactResult) -> list[tuple[Any, ...]]:
    return [(one.outcome, one.status_code, one.attempts) for one in found.actions]


def test_names_the_dag_run_that_sent_it_later(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    attempt(ledger, "r-1", Fate.ANSWERED, replay, status_code=422)
    end(ledger, replay, [F], at=1000.0)
    attempt(
        ledger, "r-1", Fate.SUCCEEDED, number=2, begun_at=2000.0, status_code=201,
        origin=json.dumps({"dag_id": "lead", "run_id": "manual__1"}),
    )  # fmt: skip

    found = the_result(ledger, replay)

    assert (found.state, outcomes(found)) == (F, [("error", 422, 1)])
    assert found.later is not None
    assert found.later.text == "success in the DAG run manual__1"


def test_a_task_named_resolved_is_not_a_decision(ledger: Ledger) -> None:
    origin = {"dag_id": "resolved", "run_id": '"resolved": 1', "task_id": "resolved"}
    attempt(ledger, "r-1", Fate.ANSWERED, status_code=422, origin=json.dumps(origin))
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [F])

    found = the_result(ledger, replay)

    assert (outcomes(found), found.later) == ([("error", 422, 1)], None)


def test_another_replays_decision_keeps_the_earlier_outcome(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    attempt(ledger, "r-1", Fate.UNKNOWN, first, status_code=504, error_kind="status")
    (contact,) = end(ledger, first, [F], at=1000.0)
    second = a_replay(ledger, [response(1)], "second")
    end(ledger, second, [D], at=1100.0)

    resolved = resolve(ledger, second, ResolveSelection(response_id="r-1"), Resolution(sent=True, by="ana"))

    found = the_result(ledger, first)
    assert resolved.attempts == 1
    assert (found.state, outcomes(found)) == (F, [("error", 504, 1)])
    assert found.later is not None
    assert (found.later.text, found.later.actions) == ("resolved as sent by ana", [])
    # It is the outcome of the contact that it was decided for.
    assert (outcomes(the_result(ledger, second)), the_result(ledger, second).later) == ([("success", 200, 1)], None)
    change(ledger, contact, state=C.value, ended_at=4e9)  # as after a retry
    assert (outcomes(the_result(ledger, first)), the_result(ledger, first).later) == ([("success", 200, 1)], None)


def test_a_held_back_contact_reports_the_result_of_the_other(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    attempt(ledger, "r-1", None, first)
    end(ledger, first, [D])
    second = a_replay(ledger, [response(1)], "second")
    assert [(row.state, row.ended_at) for row in rows_of(ledger, second)] == [("in_doubt", None)]
    attempt(ledger, "r-1", Fate.SUCCEEDED, first, number=2, begun_at=4e9, status_code=201)
    end(ledger, first, [C], at=4e9)

    found = the_result(ledger, second)

    assert (found.state, outcomes(found)) == (D, [("unknown", None, 1)])
    assert found.later is not None
    assert found.later.text == "completed in the replay first"


def test_distinguishes_a_forced_replay_from_earlier_requests(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    attempt(ledger, "r-1", Fate.SUCCEEDED, first, status_code=201)
    end(ledger, first, [C], at=1000.0)
    forced = a_replay(ledger, [response(1)], "forced", force=True)
    attempt(ledger, "r-1", Fate.ANSWERED, forced, key="other", begun_at=2000.0, status_code=422)
    end(ledger, forced, [F], at=2001.0)

    assert outcomes(the_result(ledger, forced)) == [("error", 422, 1)]
    later = the_result(ledger, first).later
    assert outcomes(the_result(ledger, first)) == [("success", 201, 1)]
    assert later is not None
    assert later.text == "failed in the replay forced"

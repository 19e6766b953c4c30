"""The attempts of one task in Airflow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.contact_walk import MOST_BYTES
from airflow_whatsapp_flows.ledger.replies import Replies
from airflow_whatsapp_flows.ledger.resolutions import origin_with_decision
from airflow_whatsapp_flows.ledger.task_attempts import (
    MOST_RECORDED,
    TaskPlace,
    TaskStep,
    newest_flow,
    read_recorded_attempts,
    read_renames,
    read_task_attempts,
)
from tests.ledger.filling import FLOW, FLOW_ID, a_replay, attempt, attempts_of, response, result
from tests.ledger.plans import full_scans, record_statements

TASK = TaskPlace(FLOW_ID, "manual__2026", "create")
NOTHING_HIDDEN = Replies(None)


def origin(task: TaskPlace = TASK, number: int = 1) -> str:
    place = {"dag_id": task.dag_id, "run_id": task.run_id, "task_id": task.task_id, "map_index": task.map_index}
    return json.dumps({**place, "try_number": number})


def ids_of(ledger: Ledger, sends: TaskStep, **more: Any) -> list[int]:
    return [one.id for one in read_task_attempts(ledger, sends, NOTHING_HIDDEN, None, **more)[0]]


def test_finds_the_attempts_of_a_task_alone(ledger: Ledger) -> None:
    own = [
        attempt(ledger, TASK.run_id, Fate.ANSWERED, origin=origin(number=n), number=n, result=result("no"))
        for n in (1, 2)
    ]
    attempt(ledger, TASK.run_id, Fate.SUCCEEDED, origin=origin(TaskPlace(FLOW_ID, TASK.run_id, "Create")), number=3)
    attempt(ledger, TASK.run_id, Fate.SUCCEEDED, origin=origin(), number=4, flow_id="other")
    attempt(ledger, "elsewhere", Fate.SUCCEEDED, origin=origin())
    assert ids_of(ledger, TaskStep(TASK)) == own
    first, second = read_task_attempts(ledger, TaskStep(TASK), NOTHING_HIDDEN, None)[0]
    assert (first.origin["try_number"], second.origin["try_number"], first.reply) == (1, 2, "no")


def test_finds_what_others_sent_for_the_same_step_and_response(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    other = attempt(ledger, "r-1", Fate.SUCCEEDED, replay)
    own = attempt(ledger, "r-1", Fate.SUCCEEDED, origin=origin(), number=2)
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, step="Tell")
    renamed = attempt(ledger, "r-1", Fate.SUCCEEDED, step="Old name", step_id="Create", number=3)
    assert ids_of(ledger, TaskStep(TASK, "r-1", "Create")) == [other, own, renamed]
    assert ids_of(ledger, TaskStep(TASK, "r-1")) == [own]


def test_a_mapped_task_has_its_own(ledger: Ledger) -> None:
    tasks = [TaskPlace(FLOW_ID, TASK.run_id, "create", index) for index in range(12)]
    for task in tasks:
        attempt(ledger, f"{task.run_id}[{task.map_index}]", Fate.SUCCEEDED, origin=origin(task))
    for task in (tasks[1], tasks[10]):
        [one] = read_task_attempts(ledger, TaskStep(task), NOTHING_HIDDEN, None)[0]
        assert one.origin["map_index"] == task.map_index


@pytest.mark.parametrize("task_id", ["grüße", 'with "quotes" and \\', "A"])
def test_a_resolved_attempt_is_still_found(ledger: Ledger, task_id: str) -> None:
    task = TaskPlace(FLOW_ID, TASK.run_id, task_id)
    number = attempt(ledger, TASK.run_id, Fate.UNKNOWN, origin=origin(task))
    assert ids_of(ledger, TaskStep(task)) == [number]
    [row] = attempts_of(ledger, TASK.run_id)
    decided = origin_with_decision(row, "sent", "ana")
    number = attempt(ledger, TASK.run_id, Fate.SUCCEEDED, origin=decided, number=2)
    assert number in ids_of(ledger, TaskStep(task))
    assert ids_of(ledger, TaskStep(TaskPlace(FLOW_ID, TASK.run_id, task_id.swapcase()))) == []


def test_pages_add_up(ledger: Ledger) -> None:
    own = [attempt(ledger, TASK.run_id, Fate.ANSWERED, origin=origin(number=n), number=n) for n in range(1, 6)]
    page, later = read_task_attempts(ledger, TaskStep(TASK), NOTHING_HIDDEN, None, limit=3)
    assert ([one.id for one in page], later) == (own[:3], own[2])
    page, later = read_task_attempts(ledger, TaskStep(TASK), NOTHING_HIDDEN, None, after=own[2], limit=3)
    assert ([one.id for one in page], later) == (own[3:], None)


def test_reads_what_a_walk_is_answered_with(ledger: Ledger) -> None:
    attempt(ledger, "r-1", Fate.SUCCEEDED, result=result("x" * MOST_BYTES), step_id="c-1", epoch=2)
    attempt(ledger, "r-1", None, number=2)
    long, open_ = read_recorded_attempts(ledger, FLOW_ID, "r-1")
    assert (long.result, long.is_long, long.step_id, long.epoch, long.moment) == (None, True, "c-1", 2, 900.0)
    assert (open_.result, open_.is_long, open_.digest, open_.host) == (None, False, "d", "crm:443")
    for number in range(3, MOST_RECORDED + 5):
        attempt(ledger, "r-1", None, number=number)
    assert len(read_recorded_attempts(ledger, FLOW_ID, "r-1")) == MOST_RECORDED


def test_finds_the_newest_flow(ledger: Ledger) -> None:
    assert newest_flow(ledger, FLOW_ID) is None
    a_replay(ledger, [])
    a_replay(ledger, [], "second", flow={**FLOW, "name": "Newer"})
    stored = newest_flow(ledger, FLOW_ID)
    assert stored is not None
    assert (stored.replay_id, json.loads(stored.flow)["name"]) == ("second", "Newer")
    assert read_renames(ledger, FLOW_ID) == {}


def test_no_query_reads_all_attempts(ledger: Ledger) -> None:
    attempt(ledger, "r-1", Fate.SUCCEEDED, origin=origin())
    with record_statements(ledger) as statements:
        read_task_attempts(ledger, TaskStep(TASK, "r-1", "Create"), NOTHING_HIDDEN, None, after=7)
        read_recorded_attempts(ledger, FLOW_ID, "r-1")
        newest_flow(ledger, FLOW_ID)
    assert len(statements) >= 3
    assert full_scans(ledger, statements) == []

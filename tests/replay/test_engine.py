"""Completed requests are not repeated: by the same replay, another one, or a DAG run."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, update

from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts, replays
from tests.replay.checker import SECOND
from tests.replay.crashing import KILLED, PENDING
from tests.replay.ledger_history import read_reasons
from tests.replay.runs import Run, await_requests, response, sqlite_url
from tests.servers.crm_log import CrmProcess, running_crm


@pytest.fixture
def run(tmp_path: Path, crm: CrmProcess) -> Run:
    return Run(tmp_path, crm, sqlite_url(tmp_path), total=30)


def test_rerunning_a_finished_replay_sends_nothing(run: Run, crm: CrmProcess) -> None:
    assert run.finish().status == 0

    again = run.finish()

    assert (again.status, again.told["ended"]) == (0, {})
    assert len(crm.requests()) == 30
    assert run.broken_promises(kills=0) == []


def test_another_replay_of_the_same_responses_skips_them(run: Run, crm: CrmProcess) -> None:
    assert run.finish().status == 0
    run.replay_id = "another"

    assert run.finish().status == 0

    assert run.states() == {"skipped": 30}
    assert set(read_reasons(run.ledger, "another").values()) == {"done: the replay the-replay completed it"}
    assert len(crm.requests()) == 30


def test_requests_in_doubt_stay_in_doubt_in_another_replay(run: Run, crm: CrmProcess) -> None:
    crm.configure(shares={"drop": 1})
    run.settings["concurrency"] = 2
    run.write_responses(response(number) for number in range(5))
    assert run.finish().status == 0
    assert run.states() == {"in_doubt": 5}
    crm.configure()

    assert run.finish().status == 0
    run.replay_id = "another"
    assert run.finish().status == 0

    assert run.states() == {"in_doubt": 5}
    assert all("resolve it there" in reason for reason in read_reasons(run.ledger, "another").values())
    assert len(crm.requests()) == 5


def test_the_same_id_with_other_content_is_rejected(run: Run, crm: CrmProcess) -> None:
    assert run.finish().status == 0
    run.replay_id = "another"
    run.write_responses({**response(number), "step": {"Ask": "something else"}} for number in range(30))

    assert run.finish().status == 0

    assert run.states() == {"rejected": 30}
    assert all(reason.startswith("id_reused: ") for reason in read_reasons(run.ledger, "another").values())
    assert len(crm.requests()) == 30


def test_force_sends_again_under_other_keys(run: Run, crm: CrmProcess) -> None:
    run.begin["force"] = False
    assert run.finish().status == 0
    run.replay_id, run.begin = "forced", {"force": True}
    run.settings["force"] = True

    assert run.finish().status == 0
    assert run.finish().told["ended"] == {}

    assert run.states() == {"completed": 30}
    assert len(crm.requests()) == 60
    assert len({attempt["key"] for attempt in run.attempts()}) == 60


def test_a_forced_replay_resumes_with_the_same_keys(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", dedupe=True) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), "keyed", total=6, concurrency=1)
        assert run.finish().status == 0
        run.replay_id, run.begin, run.settings = "forced", {"force": True}, {"force": True}

        assert run.finish(point="after the reply", passing=3).status == KILLED
        assert run.finish().status == 0

        assert run.states() == {"completed": 6}
        assert len({attempt["key"] for attempt in run.attempts()}) == 12
        assert sum(entry.applied for entry in crm.requests()) == 12


@pytest.mark.parametrize(
    ("fate", "state", "requests"),
    [
        ("succeeded", "completed", 30),
        (None, "in_doubt", 30),
        ("unknown", "in_doubt", 30),
        ("not_sent", "completed", 60),
    ],
)
def test_attempts_of_dag_runs_count(run: Run, crm: CrmProcess, fate: str | None, state: str, requests: int) -> None:
    assert run.finish().status == 0
    _pretend_that_a_dag_run_did_it(run.ledger, fate)

    assert run.finish().status == 0

    assert run.states() == {state: 30}
    assert len(crm.requests()) == requests


def _pretend_that_a_dag_run_did_it(url: str, fate: str | None) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in (contacts, chunks, replays):
            connection.execute(delete(table))
        values = {"replay_no": None, "fate": fate, "origin": '{"dag": "crm_flow"}'}
        if fate != "succeeded":
            values |= {"result": None, "status_code": None}
        connection.execute(update(attempts).values(values))
    engine.dispose()


def test_responses_of_one_contact_are_sent_in_sequence(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=10, shares={"unavailable": 0.1}) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), "keyed", begin={"chunk_size": 7})
        run.write_responses({**response(number), "contact": {"phone": f"+5255{number % 5:08}"}} for number in range(60))
        with run.start() as running:
            await_requests(crm, 20)
            crm.configure(latency_ms=500)  # contacts are left when it stops
            running.signal(signal.SIGTERM)
            assert running.wait(10).status == PENDING
        crm.configure(latency_ms=10, shares={"unavailable": 0.1})
        assert run.finish().status == 0

        response_of = {attempt["key"]: attempt["response_id"] for attempt in run.attempts()}
        for phone in {str(contact["phone"]) for contact in run.contacts()}:
            mine = [entry for entry in crm.requests() if entry.contact == phone]
            order = [response_of[str(entry.key)] for entry in mine]
            assert order == sorted(order)
            assert len(set(order)) == 12
            gaps = [after.t - before.t for before, after in itertools.pairwise(mine)]
            assert min(gaps) >= 0.009 * SECOND


def test_a_missing_connection_ends_it_with_nothing_in_doubt(run: Run, crm: CrmProcess) -> None:
    # The first contact that reaches the second step finds it; the others have requests in flight.
    crm.configure(latency_ms=100)
    flow = json.loads(run.flow.read_text(encoding="utf-8"))
    flow["steps"][0]["on_success"] = "Note"
    flow["steps"].append({"name": "Note", "type": "action", "connection": "nowhere", "url": "/note"})
    run.flow.write_text(json.dumps(flow), encoding="utf-8")

    ended = run.finish()

    assert ended.status == 1, ended
    assert "ConnectionConfigError: the connection 'nowhere'" in ended.errors
    assert run.states() == {"pending": 30}
    assert {attempt["fate"] for attempt in run.attempts()} <= {"succeeded", "not_sent"}


def test_walks_other_contacts_while_one_waits_in_a_polling_loop(tmp_path: Path, crm: CrmProcess) -> None:
    run = Run(tmp_path, crm, sqlite_url(tmp_path), "polling", total=20, concurrency=1)

    assert run.finish().status == 0

    assert run.states() == {"completed": 20}
    paths = [entry.path.partition("?")[0] for entry in crm.requests()]
    assert Counter(paths) == {"/find": 40, "/create": 20}
    # Two contacts are walked at a time: if waiting contacts kept their places, two would be created early.
    assert set(paths[:20]) == {"/find"}
    assert run.broken_promises(kills=0) == []


def test_walks_contacts_after_a_waiting_one_when_all_workers_were_idle(tmp_path: Path, crm: CrmProcess) -> None:
    run = Run(tmp_path, crm, sqlite_url(tmp_path), "some_wait", concurrency=1)
    phones = ["+52551", "+52552", "+52559", "+52559", "+52553", "+52554", "+52555"]  # at 9 both workers are at work
    run.write_responses(response(number, contact={"phone": phone}) for number, phone in enumerate(phones))

    assert run.finish(timeout=20).status == 0

    assert run.states() == {"completed": 7}


def test_contacts_waiting_from_their_first_step_free_their_place(tmp_path: Path, crm: CrmProcess) -> None:
    crm.configure(latency_ms=500)
    run = Run(tmp_path, crm, sqlite_url(tmp_path), "some_wait", concurrency=2)
    numbers = [91, 92, 93, 94, 1, 2, 3, 4]  # four are walked at a time, and those with a 9 wait
    run.write_responses(response(number) for number in numbers)

    assert run.finish().status == 0

    first, second = crm.requests()[:2]
    assert second.t - first.t < 0.49 * SECOND  # two at a time


def test_a_wait_resumes_where_it_stopped(tmp_path: Path, crm: CrmProcess) -> None:
    run = Run(tmp_path, crm, sqlite_url(tmp_path), "polling", total=10)
    run.change_flow('"max_visits": 2', '"max_visits": 1')
    run.change_flow('"SECOND"', '"HOUR"')
    with run.start() as running:
        await_requests(crm, 10)
        running.signal(signal.SIGTERM)
        stopped = running.wait(10)

    ended = run.finish(clock=3_597, timeout=20)

    assert (stopped.status, ended.status) == (PENDING, 0)
    begun = {(attempt["response_id"], attempt["step"]): attempt["begun_at"] for attempt in run.attempts()}
    waits = [begun[id_, "Create"] - moment for (id_, step), moment in begun.items() if step == "Find"]
    assert len(waits) == 10
    assert min(waits) >= 3_600
    assert run.broken_promises(kills=0) == []


def test_contacts_that_wake_together_do_not_send_together(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=100) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), "some_wait", concurrency=4)
        until = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=4)
        run.change_flow('"amount": 1, "unit": "SECOND"', f'"until": "{until.isoformat()}"')
        phones = [*(f"+9{number:04}" for number in range(100)), *(f"+1{number:o}" for number in range(400))]
        run.write_responses(response(number, contact={"phone": phone}) for number, phone in enumerate(phones))
        with run.start() as running:
            running.await_running()
            while not any(str(entry.contact).startswith("+9") for entry in crm.requests()):
                assert running.process.poll() is None
                time.sleep(0.02)
            running.kill()

        assert sum(attempt["fate"] is None for attempt in run.attempts()) <= 2 * 4
        assert len(crm.requests()) < 400  # others were sent meanwhile

"""Clearing replay tasks resends only what is known not to have been applied."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import find_replay, tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators import replay_run as replay_module
from tests.airflow_runs import run_dag
from tests.operators.clearing import run_cleared
from tests.operators.conftest import TaskLog
from tests.operators.flows import write_responses
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.recording import Answer, Received, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

SORRY = {"name": "Sorry", "type": "message", "body": "sorry"}


def flow_source(*others: dict[str, Any], **keys: Any) -> dict[str, Any]:
    action = {"name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "body": "{{ contact }}"}
    replay = keys.pop("replay", None)
    flow = {"flow_format": 1, "id": new_dag_id(), "steps": [{**action, **keys}, *others]}
    return flow if replay is None else {**flow, "replay": replay}


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 12)


def count_sent(server: RecordingServer) -> Counter[int]:
    return Counter(int(json.loads(request.content)["phone"][-4:]) for request in server.received)


def set_answers(server: RecordingServer, answers: Callable[[int], Answer]) -> None:
    def script(request: Received) -> Answer:
        return answers(int(json.loads(request.content)["phone"][-4:]))

    server._script = script


def refuse(*refused: int, status: int = 422) -> Callable[[int], Answer]:
    return lambda number: Answer(status if number in refused else 200)


def by_hand(responses: Path, flow: dict[str, Any] | None = None, **arguments: Any) -> DAG:
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(
            task_id="replay", flow=flow or flow_source(), source=str(responses), **{"concurrency": 2, **arguments}
        )
    return dag


def test_clearing_a_failed_replay_task_resends_its_failed_contacts(
    server: RecordingServer, responses: Path, task_log: TaskLog
) -> None:
    set_answers(server, refuse(3, 7))
    dag = by_hand(responses)
    run = run_dag(dag)
    assert run.states == {"replay": "failed"}
    set_answers(server, refuse())
    run = run_cleared(dag, run.run_id, ["replay"])
    assert run.states == {"replay": "success"}
    assert run.result("replay")["completed"] == 12
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 3: 2, 7: 2}
    assert "retrying 2 contacts" in task_log.text


def test_each_clear_resends_failed_contacts_until_completed(server: RecordingServer, responses: Path) -> None:
    set_answers(server, refuse(3))
    dag = by_hand(responses)
    run = run_dag(dag)
    for times in (2, 3):
        run = run_cleared(dag, run.run_id, ["replay"])
        assert (run.states["replay"], count_sent(server)[3]) == ("failed", times)
    set_answers(server, refuse())
    assert run_cleared(dag, run.run_id, ["replay"]).states == {"replay": "success"}
    assert run_cleared(dag, run.run_id, ["replay"]).states == {"replay": "success"}
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 3: 4}


def test_a_clear_does_not_resend_possibly_applied_requests(
    server: RecordingServer, responses: Path, task_log: TaskLog
) -> None:
    """A dropped connection is in doubt; a handled 504 may have been applied."""
    flow = flow_source({"name": "Give up", "type": "end", "state": "failed"}, on_error="Give up")
    answers = {1: Answer(422), 2: Answer(504), 3: Answer(drop=True)}
    set_answers(server, lambda number: answers.get(number, Answer()))
    dag = by_hand(responses, flow)
    run = run_dag(dag)
    first = run.result("replay")
    assert (first["failed"], first["in_doubt"]) == (2, 1)
    set_answers(server, refuse())
    run = run_cleared(dag, run.run_id, ["replay"])
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 1: 2}
    assert (run.result("replay")["failed"], run.result("replay")["in_doubt"]) == (1, 1)
    assert "1 contact left out: the request may have been applied" in task_log.text
    assert "Create: answered 504" in task_log.text


def test_a_clear_does_not_resend_handled_errors(server: RecordingServer, responses: Path) -> None:
    set_answers(server, refuse(3))
    dag = by_hand(responses, flow_source(SORRY, on_error="Sorry"))
    run = run_dag(dag)
    assert (run.result("replay")["completed"], run.result("replay")["handled_errors"]) == (12, 1)
    run_cleared(dag, run.run_id, ["replay"])
    assert count_sent(server) == dict.fromkeys(range(12), 1)


def test_an_airflow_retry_does_not_resend_failed_contacts(
    server: RecordingServer, responses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after a clear, each try is interrupted as soon as the contact has failed."""
    failures = Failures()
    dag = by_hand(responses, concurrency=1, retries=2, retry_delay=0, **failures.callbacks)
    stop = _make_stop(monkeypatch)

    def cut_off_once(number: int) -> Answer:
        if number == 3 and len(failures.errors) in (0, 2):
            stop()
        return Answer(422 if number in (3, 7) else 200)

    set_answers(server, cut_off_once)
    run = run_dag(dag)
    assert ["contacts are pending" in str(error) for error in failures.errors] == [True, False]
    assert (run.states["replay"], count_sent(server)) == ("failed", dict.fromkeys(range(12), 1))
    run = run_cleared(dag, run.run_id, ["replay"])
    assert ["contacts are pending" in str(error) for error in failures.errors] == [True, False, True, False]
    assert (run.states["replay"], count_sent(server)) == ("failed", {**dict.fromkeys(range(12), 1), 3: 2, 7: 2})


def _make_stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return a function that stops the running replay after the request in flight."""
    from airflow_whatsapp_flows.replay.engine import Engine

    run, running = Engine.run, []

    async def run_and_note(self: Engine, *arguments: Any) -> Any:
        running.append((asyncio.get_running_loop(), self))
        return await run(self, *arguments)

    def stop() -> None:
        loop, engine = running[-1]
        loop.call_soon_threadsafe(engine.stop, "somebody tripped over the cable")

    monkeypatch.setattr(Engine, "run", run_and_note)
    return stop


def test_a_clear_resends_only_the_chunks_of_the_task(
    server: RecordingServer, responses: Path, ledger_file: Path
) -> None:
    set_answers(server, refuse(1, 7))
    with DAG(new_dag_id()) as dag:
        for chunk in (0, 1):
            WhatsAppReplayOperator(
                task_id=f"half_{chunk}", flow=flow_source() | {"id": "halves"}, source=str(responses), chunk=chunk,
                chunk_size=6, replay_id=dag.dag_id,
            )  # fmt: skip
    run = run_dag(dag)
    assert run.states == {"half_0": "failed", "half_1": "failed"}
    set_answers(server, refuse())
    run = run_cleared(dag, run.run_id, ["half_1"])
    assert run.states == {"half_0": "failed", "half_1": "success"}
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 7: 2}
    with Ledger(f"sqlite:///{ledger_file}") as ledger:
        replay = find_replay(ledger, dag.dag_id)
        assert replay is not None
        states = tally(ledger, replay.no).states
    assert (states[ContactState.FAILED], states[ContactState.PENDING]) == (1, 0), "the other half is left as it was"


def test_the_next_try_repeats_a_clear_after_a_ledger_failure(
    server: RecordingServer, responses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_whatsapp_flows.errors import LedgerError

    set_answers(server, refuse(3))
    dag = by_hand(responses, retries=1, retry_delay=0)
    run = run_dag(dag)
    set_answers(server, refuse())
    again, refusals = replay_module.retry_cleared, iter([LedgerError("database is locked")])

    def once_locked(*arguments: Any) -> Any:
        for error in refusals:
            raise error
        return again(*arguments)

    monkeypatch.setattr(replay_module, "retry_cleared", once_locked)
    assert run_cleared(dag, run.run_id, ["replay"]).states == {"replay": "success"}
    assert count_sent(server)[3] == 2


# The DAG of a replay.


@pytest.fixture
def finished_run(server: RecordingServer, responses: Path) -> tuple[DAG, str]:
    """A finished run of ``<id>__replay`` in three chunks, with the 7th contact refused."""
    set_answers(server, refuse(6))
    dag = build_replay_dag(load_flow(flow_source(replay={"source": str(responses), "chunk_size": 5})))
    run = run_dag(dag)
    assert run.states["replay[1]"] == run.states["report"] == "failed", "the chunk of the refused contact is red"
    assert run.states["replay[0]"] == run.states["replay[2]"] == "success"
    set_answers(server, refuse())
    return dag, run.run_id


def _failed_tasks(dag: DAG, run_id: str) -> list[Any]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        where = (TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == run_id, TaskInstance.state == "failed")
        return [(ti.task_id, ti.map_index) for ti in session.scalars(select(TaskInstance).where(*where))]


def test_clearing_failed_tasks_of_a_replay_dag_resends_failed_contacts(
    server: RecordingServer, finished_run: tuple[DAG, str]
) -> None:
    dag, run_id = finished_run
    assert sorted(_failed_tasks(dag, run_id)) == [("replay", 1), ("report", -1)]
    run = run_cleared(dag, run_id, _failed_tasks(dag, run_id))
    assert run.state == "success"
    assert run.result("report")["completed"] == 12
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 6: 2}


def test_clearing_all_replay_tasks_resends_only_failed_contacts(
    server: RecordingServer, finished_run: tuple[DAG, str]
) -> None:
    dag, run_id = finished_run
    assert run_cleared(dag, run_id, ["replay", "report"]).state == "success"
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 6: 2}


def test_clearing_the_whole_run_plans_and_resends_failed_contacts(
    server: RecordingServer, finished_run: tuple[DAG, str]
) -> None:
    dag, run_id = finished_run
    run = run_cleared(dag, run_id, dag.task_ids)
    assert run.state == "success"
    assert run.result("plan") == [[1]], "the one chunk that has something to send"
    assert (run.result("report")["total"], run.result("report")["completed"]) == (12, 12)
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 6: 2}


def test_clearing_only_the_report_explains_what_to_clear(
    server: RecordingServer, finished_run: tuple[DAG, str]
) -> None:
    dag, run_id = finished_run
    failures = Failures()
    dag.task_dict["report"].on_failure_callback = [failures.note]
    assert run_cleared(dag, run_id, ["report"]).states["report"] == "failed"
    assert count_sent(server) == dict.fromkeys(range(12), 1)
    assert "clear the tasks that sent them" in str(failures.errors[0])

"""The progress of a running replay, as Airflow's pages show it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators import replay_progress
from airflow_whatsapp_flows.operators.replay_progress import PROGRESS, ProgressReport
from tests.airflow_runs import run_dag
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow, write_responses
from tests.operators.one_action import new_dag_id
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

HAS_STORE = False
try:
    from airflow.models.task_state_store import TaskStateStoreModel

    HAS_STORE = True
except ImportError:  # Airflow 3.2
    pass


def labels(dag_id: str, run_id: str, task_id: str) -> list[str | None]:
    """What Airflow shows for each task of a mapped task, in order."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
    with create_session() as session:
        query = select(TaskInstance.rendered_map_index).where(*wanted).order_by(TaskInstance.map_index)
        return list(session.scalars(query))


def test_mapped_chunks_are_shown_by_their_content(server: RecordingServer, tmp_path: Path) -> None:
    server._script = lambda request: Answer(422 if b"0000001" in request.content else 201)
    block = {"chunk_size": 3, "source": str(write_responses(tmp_path, 5))}
    dag = build_replay_dag(load_flow(flow(action("Create", body="{{ contact }}"), replay=block)))
    run = run_dag(dag)
    assert labels(dag.dag_id, run.run_id, "replay") == ["chunk 0: 2 done, 1 failed", "chunk 1: 2 done"]


def test_a_running_chunk_is_shown_by_its_number(
    server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_whatsapp_flows.operators import replay_run

    block = {"source": str(write_responses(tmp_path, 1))}
    dag = build_replay_dag(load_flow(flow(action("Create"), replay=block)))
    original, running = replay_run.run_replay_task, []

    def run(task: Any, context: Any) -> Any:
        running.extend(labels(dag.dag_id, context["run_id"], "replay"))
        return original(task, context)

    monkeypatch.setattr(replay_run, "run_replay_task", run)
    run_dag(dag)
    assert running == ["chunk 0"]


def test_a_template_of_ones_own_takes_precedence(server: RecordingServer, tmp_path: Path) -> None:
    source = str(write_responses(tmp_path, 2))
    with DAG(new_dag_id()) as dag:
        task = WhatsAppReplayOperator.partial(
            task_id="replay", flow=flow(action("Create")), map_index_template="file {{ task.map_label }}"
        )
        task.expand(source=[source])
    assert labels(dag.dag_id, run_dag(dag).run_id, "replay") == ["file 2 done"]


@pytest.mark.skipif(not HAS_STORE, reason="Airflow 3.3 has a task state store")
def test_the_progress_is_in_the_task_state_store(server: RecordingServer, tmp_path: Path) -> None:
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(task_id="replay", flow=flow(action("Create")), source=str(write_responses(tmp_path, 3)))
    run = run_dag(dag)
    assert run.state == "success"
    with create_session() as session:
        rows = session.scalars(select(TaskStateStoreModel).where(TaskStateStoreModel.dag_id == dag.dag_id))
        found = [(row.key, row.value) for row in rows]
    [(key, value)] = found
    assert key == PROGRESS
    assert '"done": 3' in str(value)


class Store:
    def __init__(self, error: Exception | None = None) -> None:
        self.saved: list[Any] = []
        self.error = error

    def set(self, key: str, value: Any) -> None:
        if self.error is not None:
            raise self.error
        self.saved.append((key, value))


def report(log: Any, context: Mapping[str, Any], total: int) -> ProgressReport:
    return ProgressReport(log, context, total)  # type: ignore[arg-type]


def test_reports_states_rate_and_time_left() -> None:
    store = Store()
    report(None, {"task_state_store": store}, 100).save({ContactState.COMPLETED: 20, ContactState.FAILED: 5})
    [(key, value)] = store.saved
    assert key == "progress"
    assert (value["done"], value["total"], value["completed"], value["failed"]) == (25, 100, 20, 5)
    assert value["per_second"] > 0
    assert value["seconds_left"] is not None


def test_nothing_done_yet_gives_no_time_left() -> None:
    store = Store()
    report(None, {"task_state_store": store}, 100).save({})
    assert store.saved[0][1]["seconds_left"] is None


def test_a_store_that_fails_is_logged_once_and_not_asked_again(task_log: TaskLog) -> None:
    import logging

    own = report(logging.getLogger("task"), {"task_state_store": Store(OSError("the server is gone"))}, 1)
    own.save({})
    own.save({})
    assert [line for line in task_log.warnings if "the server is gone" in line] == [task_log.warnings[0]]


def test_airflow_without_a_store_shows_nothing() -> None:
    report(None, {}, 1).save({ContactState.COMPLETED: 1})


def test_nobody_waits_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers = threading.Event(), threading.Event()

    class HangingStore:
        def set(self, *_: Any) -> None:
            asked.set()
            answers.wait(60)

    monkeypatch.setattr(replay_progress, "LAST_SAVE_SECONDS", 0.01)
    own = report(None, {"task_state_store": HangingStore()}, 1)
    own.save_last({ContactState.COMPLETED: 1})

    assert asked.wait(60)
    assert not answers.is_set()
    answers.set()


def test_the_last_progress_is_saved() -> None:
    store = Store()
    own = report(None, {"task_state_store": store}, 2)
    own.save_meanwhile({})
    own.save_last({ContactState.COMPLETED: 2})

    assert store.saved[-1][1]["done"] == 2

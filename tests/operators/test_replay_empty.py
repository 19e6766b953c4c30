"""A source without rows: a warning, an error, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.airflow_runs import run_dag
from tests.operators.clearing import run_again
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow, write_responses
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def dag_of(source: Path, **arguments: Any) -> tuple[DAG, Failures]:
    failures = Failures()
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(
            task_id="replay", flow=flow(action("Create")), source=str(source), **failures.callbacks, **arguments
        )
    return dag, failures


@pytest.mark.parametrize(("empty", "is_reported"), [(None, True), ("ok", False)])
def test_no_rows_are_a_warning_unless_they_are_ok(
    server: RecordingServer, tmp_path: Path, task_log: TaskLog, empty: Any, is_reported: bool
) -> None:
    dag, _ = dag_of(write_responses(tmp_path, 0), empty=empty)
    assert run_dag(dag).states["replay"] == "success"
    assert ("0 responses" in task_log.text) is is_reported


def test_no_rows_may_be_an_error_that_blocks_nothing(server: RecordingServer, tmp_path: Path) -> None:
    source = write_responses(tmp_path, 0)
    dag, failures = dag_of(source, empty="fail")
    run = run_dag(dag)
    assert run.states["replay"] == "failed"
    assert f"{source}: 0 responses, and `empty` is 'fail'; nothing was recorded" in str(failures.errors[0])

    write_responses(tmp_path, 2)
    assert run_again(dag, run.run_id, "replay")["completed"] == 2


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_plan_of_a_replays_dag_fails_too(server: RecordingServer, tmp_path: Path, dry_run: bool) -> None:
    source = flow(action("Create"), replay={"source": str(write_responses(tmp_path, 0)), "empty": "fail"})
    assert run_dag(build_replay_dag(load_flow(source)), {"dry_run": dry_run}).states["plan"] == "failed"


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        WhatsAppReplayOperator(task_id="replay", flow={}, empty="maybe")

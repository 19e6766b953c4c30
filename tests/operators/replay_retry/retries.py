"""Replays, and runs of their DAG that retry contacts of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_whatsapp_flows import build_replay_dag
from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.groups import error_groups
from airflow_whatsapp_flows.ledger.replays import Replay, list_replays, tally
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.flows import action, flow
from tests.operators.one_action import Failures
from tests.servers.recording import Answer, Received, RecordingServer


def flow_source(responses: Path, **replay: Any) -> dict[str, Any]:
    create = action("Create", body="{{ contact }}")
    return flow(create, replay={"source": str(responses), "chunk_size": 5, **replay})


def dag_of(source: dict[str, Any]) -> tuple[DAG, Failures]:
    dag, failures = build_replay_dag(load_flow(source)), Failures()
    for task in dag.tasks:
        if hasattr(task, "partial_kwargs"):
            task.partial_kwargs["on_failure_callback"] = [failures.note]
        else:
            task.on_failure_callback = [failures.note]
    return dag, failures


def count_sent(server: RecordingServer) -> Counter[int]:
    return Counter(int(json.loads(request.content)["phone"][-4:]) for request in server.received)


def answer(server: RecordingServer, statuses: dict[int, int] | Callable[[int], int]) -> None:
    """Answer contacts by their number; others with 200."""
    status_of = (lambda number: statuses.get(number, 200)) if isinstance(statuses, dict) else statuses

    def script(request: Received) -> Answer:
        return Answer(status_of(int(json.loads(request.content)["phone"][-4:])))

    server._script = script


def the_replay(url: str) -> Replay:
    with Ledger(url) as ledger:
        (replay,) = list_replays(ledger)
    return replay


def states(url: str) -> dict[str, int]:
    with Ledger(url) as ledger:
        (replay,) = list_replays(ledger)
        return {state.value: n for state, n in tally(ledger, replay.no).states.items() if n}


def fingerprint(url: str, status: int) -> str:
    with Ledger(url) as ledger:
        found = error_groups(ledger, the_replay(url))
    return next(
        group.fingerprint for group in found if group.sample.error and group.sample.error["status_code"] == status
    )


def replay_by_command(source: dict[str, Any], responses: Path, *options: str) -> None:
    file = responses.with_name("flow.json")
    file.write_text(json.dumps(source), encoding="utf-8")
    assert main(["replay", "run", str(file), "--responses", str(responses), "--replay-id", "spring", *options]) == 3


def retry(dag: DAG, **params: Any) -> FinishedRun:
    return run_dag(dag, {"retry_of": "spring", **params})

"""Tasks with a ledger in PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from sqlalchemy import select

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_dag
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.schema import attempts
from tests.airflow_runs import run_dag
from tests.operators.clearing import run_again
from tests.operators.flows import write_responses
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.postgres import PostgresServer
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

FLOW = {
    "flow_format": 1,
    "id": "replayed",
    "steps": [{"name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "body": "{{ contact }}"}],
}


@pytest.fixture
def url(postgres: PostgresServer, ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A PostgreSQL ledger instead of the file."""
    made = postgres.create_database()
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", made)
    return made


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 20)


def rows(url: str) -> list[Any]:
    with Ledger(url) as ledger, ledger.read() as connection:
        return list(connection.execute(select(attempts).order_by(attempts.c.id)))


def a_replay(source: Path, **arguments: Any) -> Any:
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(task_id="replay", flow=FLOW, source=str(source), **arguments)
    return dag


def test_a_retried_action_uses_one_key_and_records_every_try(
    server: RecordingServer, url: str, ledger_file: Path
) -> None:
    server.queued = [Answer(503), Answer(503)]
    done = run_action(delivery="keyed", body={"a": 1}, retry={"attempts": 3, "wait": 0.01})
    assert (done.state, len(server.received)) == ("success", 3)
    assert len({(request.header("Idempotency-Key"), request.content) for request in server.received}) == 1
    assert [(row.number, row.fate, row.status_code) for row in rows(url)] == [
        (1, "unknown", 503), (2, "unknown", 503), (3, "succeeded", 200),
    ]  # fmt: skip
    assert [json.loads(row.origin)["try_number"] for row in rows(url)] == [1, 2, 3]
    assert not ledger_file.exists()


def test_another_try_does_not_resend_at_most_once_requests(server: RecordingServer, url: str) -> None:
    server.queued = [Answer(drop=True)]
    done = run_action(body={"a": 1}, retries=2)
    assert (done.state, len(server.received)) == ("failed", 1)
    assert [row.fate for row in rows(url)] == ["unknown"]


def test_a_cleared_action_returns_the_recorded_result(server: RecordingServer, url: str) -> None:
    done = run_action(body={"a": 1})
    assert run_again(done.dag, done.run.run_id, "act")["outcome"] == "success"
    assert len(server.received) == len(rows(url)) == 1


def test_rerunning_a_replay_sends_nothing(server: RecordingServer, url: str, responses: Path) -> None:
    server._script = lambda request: Answer(422 if b"0003" in request.content else 200)
    first = run_dag(a_replay(responses, fail_when="never", chunk_size=8))
    status = first.result("replay")
    assert (first.states["replay"], status["completed"], status["failed"], status["requests"]) == ("success", 19, 1, 20)
    again = run_dag(a_replay(responses, replay_id=status["replay_id"], fail_when="never", chunk_size=8))
    assert again.result("replay") | {"elapsed_s": 0} == status | {"elapsed_s": 0}
    assert len(server.received) == len(rows(url)) == 20


def test_a_replay_resumes_after_losing_its_ledger(
    server: RecordingServer, url: str, responses: Path, postgres: PostgresServer
) -> None:
    cut: list[int] = []

    def script(_: object) -> Answer:
        if len(server.received) == 6 and not cut:
            cut.append(postgres.terminate_sessions())
        return Answer()

    server._script = script
    flow = {**FLOW, "steps": [{**FLOW["steps"][0], "delivery": "idempotent"}]}  # type: ignore[index]
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(
            task_id="replay", flow=flow, source=str(responses), concurrency=2, retries=2, retry_delay=0.1
        )
    run = run_dag(dag)
    assert (run.states["replay"], run.result("replay")["completed"], bool(cut)) == ("success", 20, True)
    assert len({request.content for request in server.received}) == 20


def test_replays_and_dag_runs_do_not_duplicate_requests(server: RecordingServer, url: str, responses: Path) -> None:
    response = json.loads(responses.read_text(encoding="utf-8").splitlines()[3])
    run_dag(build_dag(FLOW), response)
    assert len(server.received) == 1
    run_dag(a_replay(responses))
    assert len({request.content for request in server.received}) == len(server.received) == 20

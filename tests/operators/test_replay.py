"""A replay as a task, which defers, keeps every contact, and resumes."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.operators import replay_run as replay_module
from airflow_whatsapp_flows.replay.guards import Guards, Later, Verdict
from airflow_whatsapp_flows.replay.prior_sends import Postponed, PriorSends
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.conftest import TaskLog
from tests.operators.flows import write_responses
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.recording import Answer, Received, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def flow_source(**others: Any) -> dict[str, Any]:
    step = {"name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "body": "{{ contact }}"}
    return {"flow_format": 1, "id": "replayed", "steps": [step], **others}


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 20)


class Replay:
    """A DAG of one replay, run once."""

    def __init__(self, source: Path | str | None, flow: Any = None, **arguments: Any) -> None:
        self.failures = Failures()
        self.dag_id = new_dag_id()
        with DAG(self.dag_id) as dag:
            WhatsAppReplayOperator(
                task_id="replay",
                flow=flow_source() if flow is None else flow,
                source=None if source is None else str(source),
                **self.failures.callbacks,
                **arguments,
            )
        self.run: FinishedRun = run_dag(dag)

    @property
    def state(self) -> str | None:
        return self.run.states["replay"]

    @property
    def message(self) -> str:
        assert len(self.failures.errors) == 1, self.failures.errors
        return str(self.failures.errors[0])


def test_sends_every_response_and_returns_the_states(server: RecordingServer, responses: Path) -> None:
    replay = Replay(responses)
    status = replay.run.result("replay")
    assert replay.state == "success"
    assert len(server.received) == 20
    elapsed = status.pop("elapsed_s")
    assert elapsed >= 0
    assert status == {
        "replay_id": f"replayed:{replay.dag_id}:replay:{replay.run.run_id}",
        "flow_id": "replayed",
        "total": 20,
        "pending": 0,
        "completed": 20,
        "failed": 0,
        "rejected": 0,
        "in_doubt": 0,
        "skipped": 0,
        "handled_errors": 0,
        "unanswered": 0,
        "requests": 20,
        "handled": 0,
    }


@pytest.mark.parametrize("kind", ["path", "text", "flow"])
def test_the_flow_is_a_file_plain_data_or_a_flow(
    server: RecordingServer, responses: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(flow_source()), encoding="utf-8")
    given = {"path": file, "text": str(file), "flow": load_flow(flow_source())}[kind]
    assert Replay(responses, flow=given).state == "success"


def test_chunk_limits_the_run_to_one_chunk(server: RecordingServer, responses: Path) -> None:
    status = Replay(responses, chunk=1, chunk_size=8).run.result("replay")
    assert (status["total"], status["completed"], status["requests"]) == (8, 8, 8)
    phones = sorted(json.loads(request.content)["phone"] for request in server.received)
    assert phones == [f"+52555000{number:04}" for number in range(8, 16)]


def test_chunks_share_a_snapshot_after_the_source_is_gone(server: RecordingServer, responses: Path) -> None:
    for chunk in range(3):
        replay = Replay(responses, chunk=chunk, chunk_size=8, replay_id="all of it")
        responses.unlink(missing_ok=True)
        assert replay.state == "success"
    assert len({request.content for request in server.received}) == len(server.received) == 20


def test_a_stopped_task_ends_quickly_and_resumes_with_the_next_try(server: RecordingServer, responses: Path) -> None:
    stopped: list[float] = []

    def script(request: Received) -> Answer:
        if len(server.received) == 5 and not stopped:
            stopped.append(time.monotonic())
            # As Airflow does it: a signal to the task's process, here this one.
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        threading.Event().wait(0.1)
        return Answer()

    ended: list[float] = []

    def note(_: Any) -> None:
        ended.append(time.monotonic())

    server._script = script
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(
            task_id="replay", flow=flow_source(), source=str(responses), concurrency=2, retries=1, retry_delay=0.1,
            on_retry_callback=note,
        )  # fmt: skip
    run = run_dag(dag)
    assert run.states["replay"] == "success"
    assert ended[0] - stopped[0] < 10
    assert len({request.content for request in server.received}) == len(server.received) == 20
    assert run.result("replay")["completed"] == 20


def test_pending_contacts_fail_the_task_with_advice(
    server: RecordingServer, responses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        PriorSends, "find_not_walked", lambda _, __, page: {one.id: Postponed("elsewhere") for one in page}
    )
    replay = Replay(responses)
    assert "20 of 20 contacts are pending (elsewhere)" in replay.message
    assert "retry or clear this task to resume" in replay.message
    assert server.received == []


def test_quiet_hours_use_up_no_try(server: RecordingServer, responses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "_SHORTEST_WAIT", dt.timedelta(0))
    judge, ends = Guards.judge, list[dt.datetime]()

    def quiet_for_most(self: Guards, response: ContactResponse, now: dt.datetime) -> Verdict:
        if not ends:
            ends.append(now + dt.timedelta(seconds=4))
        asleep = now < ends[0] and response.id != "r-7"
        return Later(ends[0]) if asleep else judge(self, response, now)

    monkeypatch.setattr(Guards, "judge", quiet_for_most)
    replay = Replay(responses, retries=0)
    assert (replay.state, replay.failures.errors) == ("success", [])
    assert replay.run.result("replay")["completed"] == 20
    assert len({request.content for request in server.received}) == len(server.received) == 20
    assert json.loads(server.received[0].content)["phone"] == "+525550000007"
    assert dt.datetime.now(dt.timezone.utc) > ends[0]


def test_waits_until_the_first_contact_is_due(
    server: RecordingServer, responses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime.now(dt.timezone.utc)
    ends = iter([now + dt.timedelta(hours=9), now + dt.timedelta(hours=3), *[now + dt.timedelta(hours=5)] * 18])
    monkeypatch.setattr(Guards, "judge", lambda *_: Later(next(ends)))
    waits: list[dt.datetime] = []

    def defer(_: object, *, trigger: DateTimeTrigger, method_name: str) -> None:
        waits.append(trigger.moment)
        raise AirflowFailException("deferred")

    monkeypatch.setattr(WhatsAppReplayOperator, "defer", defer)
    Replay(responses)
    monkeypatch.setattr(Guards, "judge", lambda *_: Later(now))
    Replay(responses, replay_id="another", force=True)
    assert waits[0] == now + dt.timedelta(hours=3)
    assert waits[1] - now >= dt.timedelta(seconds=10)


def test_failed_contacts_fail_the_task_which_still_returns_its_status(server: RecordingServer, responses: Path) -> None:
    server._script = lambda request: Answer(422 if b"0003" in request.content else 200)
    replay = Replay(responses, retries=2)
    assert replay.state == "failed"
    assert "1 failed; see them with `whatsapp-flows replay results replayed:" in replay.message
    assert replay.run.result("replay")["failed"] == 1
    assert len(server.received) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"source": None}, "no source of responses", id="no-source"),
        pytest.param({"source": "/nowhere.jsonl"}, "/nowhere.jsonl", id="no-such-file"),
        pytest.param({"flow": "/nowhere.json"}, "/nowhere.json", id="no-such-flow"),
        pytest.param({"flow": {"flow_format": 1, "id": "x", "steps": []}}, "steps", id="faulty-flow"),
        pytest.param({"query": "SELECT 1", "source": "nope"}, "no Airflow connection 'nope'", id="no-such-connection"),
    ],
)
def test_a_failed_start_fails_immediately_with_the_reason(
    server: RecordingServer, responses: Path, arguments: dict[str, Any], message: str
) -> None:
    replay = Replay(**{"source": responses, **arguments}, retries=3)
    assert replay.state == "failed"
    assert message in replay.message


@pytest.mark.parametrize(
    "arguments", [{"send": "some"}, {"fail_when": "sometimes"}, {"chunk": 1, "chunks": [1]}], ids=str
)
def test_rejects_invalid_arguments_at_parse_time(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(arguments)):
        WhatsAppReplayOperator(task_id="replay", flow=flow_source(), **arguments)


def test_a_query_reads_from_an_airflow_connection(
    server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("airflow.providers.sqlite", reason="apache-airflow-providers-sqlite is not installed")
    file = tmp_path / "people.db"
    with contextlib.closing(sqlite3.connect(file)) as people:
        people.execute("CREATE TABLE people (id TEXT, phone TEXT)")
        people.execute("INSERT INTO people VALUES ('a', '+525550000001'), ('b', '+525550000002')")
        people.commit()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    replay = Replay("warehouse", query='SELECT id, phone AS "contact.phone" FROM people')
    assert replay.state == "success"
    assert len(server.received) == 2


# A replay and a DAG run detect each other's requests.


def test_a_dag_run_does_not_resend_what_a_replay_has_sent(server: RecordingServer, responses: Path) -> None:
    Replay(responses)
    run = run_dag(build_dag(flow_source()), json.loads(responses.read_text(encoding="utf-8").splitlines()[3]))
    assert run.states["create"] == "success"
    assert len(server.received) == 20


def test_a_replay_does_not_resend_what_a_dag_run_has_sent(server: RecordingServer, responses: Path) -> None:
    run = run_dag(build_dag(flow_source()), json.loads(responses.read_text(encoding="utf-8").splitlines()[3]))
    assert run.states["create"] == "success"
    replay = Replay(responses)
    assert replay.state == "success"
    assert replay.run.result("replay")["total"] == 20
    assert len({request.content for request in server.received}) == len(server.received) == 20


def flow_with_error_exit() -> dict[str, Any]:
    flow = flow_source()
    step = {**flow["steps"][0], "on_error": "Sorry"}
    return {**flow, "steps": [step, {"name": "Sorry", "type": "message", "body": "Sorry"}]}


def test_refused_credentials_fail_the_task_without_a_retry(server: RecordingServer, responses: Path) -> None:
    server._script = lambda _: Answer.json({"error": "token expired"}, 401)

    replay = Replay(responses, flow=flow_with_error_exit(), retries=3, replay_id="outage")

    assert replay.state == "failed"
    assert len(server.received) == 20
    assert "rejected the credentials of the connection 'crm' 20 times in a row" in replay.message
    assert 'reply: {"error":"token expired"}' in replay.message
    assert "20 of 20 contacts are pending: fix the cause, then clear this task" in replay.message
    status = replay.run.result("replay")
    assert (status["pending"], status["completed"], status["handled"]) == (20, 0, 0)

    server._script = lambda _: Answer.json({"id": 1})
    assert Replay(responses, flow=flow_with_error_exit(), replay_id="outage").run.result("replay")["completed"] == 20


@pytest.mark.parametrize(
    ("arguments", "state", "words"),
    [
        pytest.param({}, "failed", "every one of 20 contacts that completed took an error exit", id="default"),
        pytest.param({"fail_when": "budget", "max_failures": 5}, "failed", "every one of 20 contacts", id="budget"),
        pytest.param({"max_handled_errors": "100%"}, "success", "", id="allowed"),
        pytest.param({"max_handled_errors": 4}, "failed", "max_handled_errors allows 4", id="fewer-allowed"),
    ],
)
def test_an_outage_handled_by_error_exits_is_red(
    server: RecordingServer, responses: Path, arguments: dict[str, Any], state: str, words: str
) -> None:
    server._script = lambda _: Answer(422)

    replay = Replay(responses, flow=flow_with_error_exit(), **arguments)

    assert replay.state == state
    if words:
        assert words in replay.message


def test_a_replay_with_unlimited_handled_errors_warns_of_an_outage(
    server: RecordingServer, responses: Path, task_log: TaskLog
) -> None:
    server._script = lambda _: Answer(422)

    assert Replay(responses, flow=flow_with_error_exit(), fail_when="never").state == "success"
    assert any("every one of 20 contacts that completed took an error exit" in line for line in task_log.warnings)


def test_rejects_an_invalid_limit_of_handled_errors() -> None:
    with pytest.raises(ValueError, match="neither a number of contacts nor a percentage"):
        WhatsAppReplayOperator(task_id="replay", flow=flow_source(), max_handled_errors="some")


def test_explains_a_source_with_a_date_that_the_run_lacks(server: RecordingServer, tmp_path: Path) -> None:
    failures = Failures()
    with DAG(new_dag_id()) as dag:
        common: dict[str, Any] = {"flow": flow_source(), **failures.callbacks}
        WhatsAppReplayOperator(task_id="alone", source=f"{tmp_path}/{{{{ ds }}}}.jsonl", **common)
        mapped = WhatsAppReplayOperator.partial(task_id="mapped", **common)
        mapped.expand(source=[f"{tmp_path}/{{{{ ds_nodash }}}}.jsonl"])

    run = run_dag(dag, logical_date=None)

    assert run.state == "failed"
    for error, name in zip(sorted(map(str, failures.errors)), ("alone", "mapped"), strict=True):
        assert error.startswith(f"{name}: source: 'ds")
        assert "this run has no logical date" in error

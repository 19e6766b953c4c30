"""The DAG of a replay (plan, approve, replay, report) in a real Airflow."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import CronDataIntervalTimetable

from airflow_whatsapp_flows import FlowFileError, build_replay_dag, load_dags
from airflow_whatsapp_flows.dag_factory import raise_faults
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.operators import replay_run as operator_module
from airflow_whatsapp_flows.operators.links import REPLAY_LINK
from airflow_whatsapp_flows.operators.replay_approval import ReplayApprovalOperator
from airflow_whatsapp_flows.operators.replay_steps_run import _groups
from airflow_whatsapp_flows.replay.guards import Guards, Later
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.flows import write_responses
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.fixture(autouse=True)
def _ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")


_numbers = iter(range(1000))


def flow_source(source: Path | None = None, **replay: Any) -> dict[str, Any]:
    return {
        "flow_format": 1,
        "id": f"replayed_{next(_numbers)}",
        "replay": {"chunk_size": 5, **({"source": str(source)} if source else {}), **replay},
        "steps": [
            {"name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "body": "{{ contact }}"}
        ],
    }


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 12)


def replay(flow: dict[str, Any], **conf: Any) -> FinishedRun:
    return run_dag(build_replay_dag(load_flow(flow)), conf)


def phones(server: RecordingServer) -> Counter[str]:
    return Counter(json.loads(request.content)["phone"] for request in server.received)


def test_sends_every_response_once_and_the_report_adds_up(server: RecordingServer, responses: Path) -> None:
    flow = flow_source(responses)
    run = replay(flow)
    assert run.state == "success"
    assert len(phones(server)) == len(server.received) == 12
    assert run.result("plan") == [[0], [1], [2]]
    assert [run.result("replay", index)["total"] for index in range(3)] == [5, 5, 2]
    report = run.result("report")
    assert (report["total"], report["completed"], report["requests"]) == (12, 12, 12)
    assert report["replay_id"] == f"{flow['id']}__{run.run_id}"
    assert sum(run.result("replay", index)["requests"] for index in range(3)) == 12


def test_a_dry_run_sends_and_stores_nothing(server: RecordingServer, responses: Path, tmp_path: Path) -> None:
    run = replay(flow_source(responses), dry_run=True)
    assert run.state == "success"
    assert (run.states["replay"], run.states["report"]) == ("skipped", "skipped")
    assert server.received == []
    assert rows_of(tmp_path / "ledger.db", "SELECT * FROM whatsapp_flows_replays") == []


def test_a_run_uses_the_source_and_note_of_its_conf(server: RecordingServer, responses: Path, tmp_path: Path) -> None:
    run = replay(flow_source(), source=str(responses), note="after the outage")
    assert run.state == "success"
    [(source, note)] = rows_of(tmp_path / "ledger.db", "SELECT source, note FROM whatsapp_flows_replays")
    assert (source, note) == (str(responses), "after the outage")


def test_without_a_source_the_plan_fails(server: RecordingServer) -> None:
    run = replay(flow_source())
    assert run.states["plan"] == "failed"
    assert run.state == "failed"


def test_a_second_run_sends_nothing_that_the_first_completed(server: RecordingServer, responses: Path) -> None:
    flow = flow_source(responses)
    replay(flow)
    run = replay(flow)
    assert run.state == "success"
    assert run.result("report")["skipped"] == 12
    assert len(server.received) == 12


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        pytest.param({"fail_when": "any"}, "failed", id="any"),
        pytest.param({"fail_when": "never"}, "success", id="never"),
        pytest.param({"fail_when": "budget", "max_failures": 1}, "success", id="within-the-budget"),
    ],
)
def test_failed_contacts_make_the_run_fail_as_the_flow_says(
    server: RecordingServer, responses: Path, settings: dict[str, Any], state: str
) -> None:
    server._script = lambda request: Answer(422 if b'"+525550000007"' in request.content else 200)
    run = replay(flow_source(responses, **settings))
    # Airflow's "clear failed tasks" finds the chunk whose contacts are to be sent again.
    assert run.states["replay[1]"] == ("failed" if settings["fail_when"] == "any" else "success")
    assert run.states["replay[0]"] == "success"
    assert run.result("report")["failed"] == 1
    assert run.state == run.states["report"] == state


def test_handled_errors_are_judged_over_all_chunks(server: RecordingServer, responses: Path) -> None:
    server._script = lambda request: Answer(422 if b"+52555000001" in request.content else 200)  # the last two
    flow = flow_source(responses)
    flow["steps"] = [{**flow["steps"][0], "on_error": "Sorry"}, {"name": "Sorry", "type": "message", "body": "sorry"}]
    run = replay(flow)
    assert (run.result("replay", 2)["total"], run.result("replay", 2)["handled_errors"]) == (2, 2)
    assert (run.states["replay[2]"], run.state) == ("success", "success")


def test_an_exceeded_failure_limit_stops_the_replay_without_a_retry(server: RecordingServer, responses: Path) -> None:
    server._script = lambda request: Answer(422)
    run = replay(flow_source(responses, max_failures=2, concurrency=1))
    assert run.state == "failed"
    # A chunk that ended within the budget succeeds; every other one fails without a retry.
    assert {"failed"} <= {run.states[f"replay[{index}]"] for index in range(3)} <= {"failed", "success"}
    assert run.result("report")["pending"] > 0
    assert len(server.received) < 12


def test_quiet_hours_use_up_no_try(server: RecordingServer, responses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    monkeypatch.setattr(operator_module, "_SHORTEST_WAIT", dt.timedelta(0))
    judge, over = Guards.judge, dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=5)
    monkeypatch.setattr(Guards, "judge", lambda *asked: Later(over) if asked[2] < over else judge(*asked))
    run = replay(flow_source(responses))
    with create_session() as session:
        of_replay = (TaskInstance.run_id == run.run_id, TaskInstance.task_id == "replay")
        tries = set(session.scalars(select(TaskInstance.try_number).where(*of_replay)))
    assert (run.state, run.result("report")["completed"]) == ("success", 12)
    assert len(phones(server)) == len(server.received) == 12
    assert tries <= {0, 1}


def test_more_chunks_than_airflow_maps_share_tasks() -> None:
    assert _groups(range(5), 1024) == [[0], [1], [2], [3], [4]]
    assert _groups(range(5), 2) == [[0, 1, 2], [3, 4]]
    assert _groups([], 2) == []


@pytest.mark.parametrize("chunks", [1, 2, 1023, 1024, 1025, 10_000])
def test_no_chunk_is_left_out_of_the_tasks(chunks: int) -> None:
    groups = _groups(range(chunks), 1024)
    assert [chunk for group in groups for chunk in group] == list(range(chunks))
    assert len(groups) <= 1024


def test_a_finished_replay_updates_its_asset_with_its_status(server: RecordingServer, responses: Path) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    flow = flow_source(responses)
    run = replay(flow)
    with create_session() as session:
        query = select(AssetEvent).where(AssetEvent.source_dag_id == f"{flow['id']}__replay")
        extras = [event.extra for event in session.scalars(query)]
    assert [extra["completed"] for extra in extras] == [12]
    assert extras[0]["replay_id"] == run.result("report")["replay_id"]


@pytest.mark.parametrize(("above", "asks"), [(None, False), (12, False), (11, True), (0, True)])
def test_settings_of_a_run_override_those_of_the_flow(above: int | None, asks: bool) -> None:
    told = {"replay_id": "f__1", "walked": 12, "postponed": 0, "rows": 12, "source": "s", "calls": {}, "seconds": 3}
    told |= {"exits": [], "rejections": [], **dict.fromkeys(("rejected", "skipped", "in_doubt", "done"), 0)}
    asked: list[str] = []

    class RecordedApproval(ReplayApprovalOperator.__base__):  # type: ignore[name-defined,misc]
        def execute(self, context: Any) -> None:
            asked.append(self.body)

    class Approval(ReplayApprovalOperator, RecordedApproval):
        pass

    approval = Approval(task_id="approve", plan_task="plan", approve_above=above, subject="?")
    linked: list[str] = []
    ti = SimpleNamespace(xcom_pull=lambda **_: told, xcom_push=lambda key, value: linked.append(value))
    approval.execute.__wrapped__(approval, {"ti": ti})
    assert bool(asked) is asks
    assert not asked or "of 12 responses would be sent** from " in asked[0]
    assert linked == ["/whatsapp-flows/replays/f__1"]  # also while it waits


def test_an_answered_approval_still_links_to_the_replay() -> None:
    approval = ReplayApprovalOperator(task_id="approve", plan_task="plan", approve_above=0, subject="?")
    ti = SimpleNamespace(xcom_pull=lambda **_: {"replay_id": "f__1"}, xcom_push=lambda **_: None)
    answer = {"chosen_options": ["Approve"], "params_input": {}, "responded_at": dt.datetime.now(dt.timezone.utc)}
    approval.execute_complete({"ti": ti, "task": approval}, {**answer, "responded_by_user": None})
    assert REPLAY_LINK.get_link(approval, ti_key=None) == "/whatsapp-flows/replays/f__1"


def test_the_approval_page_shows_a_masked_request_per_step(server: RecordingServer, responses: Path) -> None:
    run = replay(flow_source(responses), dry_run=True)

    told = run.xcom("plan", "plan")
    assert list(told["samples"]) == ["Create"]
    request = told["samples"]["Create"].splitlines()
    assert request[0] == f"POST {server.url}/contacts"
    assert request[-1] == "{…"  # the body is one text, the contact's JSON
    assert "+52555000" not in str(told)
    assert server.received == []


# In a folder of flows.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "flows"
    folder.mkdir()
    for name, replay_block in (("plain", None), ("leads", {"schedule": "0 3 * * *", "source": "/x.jsonl"})):
        flow = {**flow_source(), "id": name, "replay": replay_block}
        (folder / f"{name}.json").write_text(json.dumps({k: v for k, v in flow.items() if v}), encoding="utf-8")
    return folder


def test_a_flow_with_a_replay_has_a_second_dag(folder: Path) -> None:
    dags = load_dags(folder)
    assert set(dags) == {"plain", "leads", "leads__replay"}
    assert dags["leads__replay"].schedule == CronDataIntervalTimetable("0 3 * * *", timezone="UTC")
    assert (dags["leads__replay"].catchup, dags["leads__replay"].max_active_runs) == (False, 1)
    assert list(dags["leads__replay"].task_dict) == ["plan", "approve", "replay", "report"]


@pytest.mark.parametrize("wanted", ["leads", "leads__replay"])
def test_a_worker_that_needs_one_dag_opens_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    (folder / "plain.json").write_text("not JSON", encoding="utf-8")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", wanted)
    assert wanted in load_dags(folder)


def test_an_id_of_another_flows_replay_dag_is_a_fault(folder: Path) -> None:
    flow = {**flow_source(), "id": "leads__replay"}
    (folder / "leads__replay.json").write_text(json.dumps(flow), encoding="utf-8")
    with pytest.raises(FlowFileError, match="an id cannot end with __replay"):
        raise_faults(folder)
    assert list(load_dags(folder)["leads__replay"].task_dict) == ["plan", "approve", "replay", "report"]


def test_airflow_does_not_render_the_flows_texts() -> None:
    flow = {**flow_source(), "name": "{{ var.value.secret }}"}
    for task in build_replay_dag(load_flow(flow)).tasks:
        operator = getattr(task, "partial_kwargs", None) or vars(task)
        assert not any("secret" in str(operator.get(name)) for name in task.template_fields)


def test_the_serialized_dag_contains_no_flow_texts() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    flow = flow_source(opt_out=["+525551234567"])
    flow["steps"][0]["headers"] = {"X-Trace": "hunter2hunter2hunter2"}
    stored = [json.dumps(DagSerialization.to_dict(build_replay_dag(load_flow(flow)))) for _ in range(2)]
    assert "hunter2" not in stored[0]
    assert "551234567" not in stored[0]
    assert stored[0] == stored[1], "each parsing would be a new version of the DAG"


def rows_of(file: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def test_an_invalid_schedule_is_a_fault_and_keeps_the_flows_dag(folder: Path) -> None:
    flow = {**flow_source(schedule="every night"), "id": "leads"}
    (folder / "leads.json").write_text(json.dumps(flow), encoding="utf-8")
    assert set(load_dags(folder)) == {"plain", "leads", "leads__replay"}, "the last one stands in for it"
    with pytest.raises(FlowFileError, match=r"leads\.json.*every night"):
        raise_faults(folder)


@pytest.mark.parametrize("schedule", ["*/5 * * * 1-5", "@daily", "@once", "@continuous", "@quarterly"])
def test_accepts_any_airflow_schedule(schedule: str) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = build_replay_dag(load_flow(flow_source(schedule=schedule)))
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).dag_id == dag.dag_id

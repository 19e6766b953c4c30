"""The ``airflow`` block of a flow."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset

from airflow_whatsapp_flows import FlowFileError, build_dag, build_replay_dag, load_dags, load_flow
from airflow_whatsapp_flows.dag_factory import airflow_block, raise_faults
from airflow_whatsapp_flows.dag_factory.airflow_block import replay_asset
from tests.airflow_runs import run_dag
from tests.operators.flows import action, flow, message, polling_flow, seconds
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

BLOCK = {
    "start_date": "2026-02-01", "catchup": True, "tags": ["sales", "whatsapp"], "owner": "data team", "pool": "crm",
    "doc_md": "README.md", "retry_delay": 7, "inlets": ["s3://b/in"], "outlets": ["x-crm://contacts"],
}  # fmt: skip


def flow_with_block(**block: Any) -> dict[str, Any]:
    return flow(
        message("Hi", next="Save"), action("Save", on_success="Bye"), message("Bye"),
        timezone="America/Mexico_City", replay={"source": "x.jsonl", "schedule": "@daily"}, airflow=block,
    )  # fmt: skip


def test_a_dag_matches_its_flow() -> None:
    dag = build_dag(flow_with_block(**BLOCK))
    assert dag.tags == {"whatsapp", "sales"}
    assert {task.owner for task in dag.tasks} == {"data team"}
    save, bye = dag.task_dict["save"], dag.task_dict["bye"]
    assert (save.pool, bye.pool) == ("crm", "default_pool")
    assert (save.inlets, save.outlets) == ([Asset(uri="s3://b/in")], [Asset(uri="x-crm://contacts")])
    assert (bye.inlets, bye.outlets) == ([], [])
    assert bye.retry_delay == dt.timedelta(seconds=7)
    assert save.retry_delay == dt.timedelta(seconds=1), "that of the action's own retry"


def test_sending_tasks_use_their_retry_rule_and_others_airflow_retries() -> None:
    steps = flow(
        message("Hi", next="Wait"),
        seconds("Wait", 1, next="Save"),
        action("Save", on_success="Bye", on_error="Sorry", retry={"attempts": 2}),
        message("Bye"),
        message("Sorry"),
        replay={"source": "x.jsonl"},
    )
    dag = build_dag(steps)
    retries = {task.task_id: (task.retries, task.retry_delay.total_seconds()) for task in dag.tasks}
    assert retries == {
        "hi": (3, 5), "wait": (3, 5), "save": (1, 1), "save__exit": (3, 5), "save__in_doubt": (3, 5),
        "bye": (3, 5), "sorry": (3, 5),
    }  # fmt: skip
    tasks = build_replay_dag(load_flow(steps)).task_dict
    assert (tasks["plan"].retries, tasks["report"].retries) == (3, 3)


def test_the_flow_decides_how_often_to_retry() -> None:
    dag = build_dag({**flow_with_block(retries=0), "id": "own_retries"})
    assert {task.task_id: task.retries for task in dag.tasks} == {"hi": 0, "save": 3, "bye": 0}


def test_a_ledger_failure_retries_a_step_that_sends_nothing(
    server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = f"sqlite:///{tmp_path / 'ledger.db'}", f"sqlite:///{tmp_path}"
    name = "AIRFLOW__WHATSAPP_FLOWS__LEDGER"
    monkeypatch.setenv(name, good)
    dag = build_dag(flow(action("Save", on_success="Bye"), message("Bye"), airflow={"retry_delay": 0}))
    tries = []
    dag.task_dict["save"].on_success_callback = [lambda _: monkeypatch.setenv(name, bad)]

    def fix_ledger(context: Any) -> None:
        tries.append(str(context["exception"]))
        monkeypatch.setenv(name, good)

    dag.task_dict["bye"].on_retry_callback = [fix_ledger]
    assert run_dag(dag).states == {"save": "success", "bye": "success"}
    assert len(tries) == 1
    assert len(server.received) == 1


def test_the_dag_of_its_replay_is_a_stand_in_too() -> None:
    dag = build_replay_dag(load_flow(flow_with_block(**BLOCK)))
    assert dag.start_date == dt.datetime(2026, 2, 1, 6, tzinfo=dt.timezone.utc)
    assert dag.catchup is True
    assert dag.tags == {"whatsapp", "replay", "sales"}
    assert {task.owner for task in dag.tasks} == {"data team"}
    assert dag.task_dict["replay"].partial_kwargs["pool"] == "crm"
    assert dag.task_dict["replay"].partial_kwargs["inlets"] == [Asset(uri="s3://b/in")]
    assert dag.task_dict["report"].outlets == [replay_asset(dag.dag_id[: -len("__replay")]), Asset("x-crm://contacts")]


def test_a_run_before_the_schedule_starts_walks_its_contact() -> None:
    """Airflow would mark it as success without running a task."""
    done = run_dag(build_dag(flow(message("M"), airflow={"start_date": "2099-01-01"})))
    assert (done.state, done.states) == ("success", {"m": "success"})


def test_a_loop_that_sends_takes_the_pool() -> None:
    dag = build_dag({**polling_flow(), "airflow": {"pool": "crm"}})
    assert dag.task_dict["get_reply"].pool == "crm"


def test_does_not_open_a_text_that_looks_like_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("secret", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert build_dag(flow_with_block(**BLOCK)).doc_md == "README.md\n"


def test_without_a_text_describes_steps_and_exits() -> None:
    doc = build_dag(polling_flow()).doc_md
    assert "1. **Is it ready?** (Conditional): done → Say; otherwise → Wait" in doc
    assert "1. **Start** (Action): success → Get reply" in doc


@pytest.mark.parametrize(("on_sqlite", "told", "runs"), [(True, 5, 1), (False, 5, 5), (False, None, 16)])
def test_runs_at_a_time(monkeypatch: pytest.MonkeyPatch, on_sqlite: bool, told: int | None, runs: int) -> None:
    monkeypatch.setattr(airflow_block, "_on_sqlite", lambda: on_sqlite)
    assert build_dag(flow_with_block(**({"max_active_runs": told} if told else {}))).max_active_runs == runs


@pytest.mark.parametrize("uri", [" ", "airflow://x", "x-crm://caf\u00e9", "x-crm://a\tb", "s3://b/k/", "S3://b/k"])
def test_an_invalid_asset_is_a_fault_with_its_location(tmp_path: Path, uri: str) -> None:
    broken = flow_with_block(outlets=["s3://b/fine", uri])
    (tmp_path / f"{broken['id']}.json").write_text(json.dumps(broken, indent=1), encoding="utf-8")
    good = flow(message("M"))
    (tmp_path / f"{good['id']}.json").write_text(json.dumps(good), encoding="utf-8")
    assert set(load_dags(tmp_path)) == {good["id"], broken["id"], f"{broken['id']}__replay"}
    with pytest.raises(FlowFileError) as raised:
        raise_faults(tmp_path)
    [fault] = raised.value.faults
    assert fault.path == ("airflow", "outlets", 1)
    lines = json.dumps(broken, indent=1).splitlines()
    assert json.dumps(uri) in lines[(fault.line or 0) - 1]
    assert lines[(fault.line or 0) - 1][(fault.column or 0) - 1 :].startswith('"')


def test_refers_to_the_asset_of_another_flows_replay() -> None:
    [asset] = build_dag(flow_with_block(inlets=["whatsapp-flows://leads/replay"])).task_dict["save"].inlets
    assert asset == replay_asset("leads")


def test_a_password_in_an_asset_is_refused_and_not_shown() -> None:
    with pytest.raises(FlowFileError, match="http://host/x") as raised:
        build_dag(flow_with_block(outlets=["http://user:hunter2@host/x"]))
    assert "hunter2" not in str(raised.value)

"""A folder of flow files: every valid one has its DAG, every faulty one a placeholder, and none hides another."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import CronDataIntervalTimetable

from airflow_whatsapp_flows import FlowFileError
from airflow_whatsapp_flows.dag_factory import load_dags, raise_faults
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator
from tests.airflow_runs import run_dag
from tests.operators.flows import action, flow, message, polling_flow
from tests.operators.one_action import Failures, new_dag_id

pytestmark = pytest.mark.usefixtures("airflow")


def write(folder: Path, made: dict[str, Any], name: str | None = None) -> str:
    text = json.dumps(made, indent=1)
    (folder / (name or f"{made['id']}.json")).write_text(text, encoding="utf-8")
    return str(made["id"])


def is_stand_in(dag: Any) -> bool:
    return all(isinstance(task, FlowFaultOperator) for task in dag.tasks)


def faulty(**keys: Any) -> dict[str, Any]:
    return flow(action("Ask CRM", on_success="Nope", on_error="Bye"), message("Bye"), **keys)


def test_a_faulty_flow_keeps_id_tasks_schedule_and_tags(tmp_path: Path) -> None:
    dag_id = write(tmp_path, faulty(airflow={"tags": ["sales"]}, replay={"schedule": "@daily", "source": "x.jsonl"}))
    dags = load_dags(tmp_path)
    assert set(dags) == {dag_id, f"{dag_id}__replay"}
    walking, replaying = dags[dag_id], dags[f"{dag_id}__replay"]
    assert is_stand_in(walking)
    assert set(walking.task_dict) == {"ask_crm", "bye"}
    assert walking.task_dict["ask_crm"].downstream_task_ids == {"bye"}
    assert walking.tags == {"whatsapp", "sales"}
    assert list(replaying.task_dict) == ["plan", "approve", "replay", "report"]
    assert (walking.schedule, replaying.schedule) == (None, CronDataIntervalTimetable("@daily", timezone="UTC"))


@pytest.mark.parametrize(
    "keys", [{}, {"timezone": "America/Bogota"}, {"airflow": {"start_date": "2030-01-01"}}], ids=str
)
def test_the_stand_in_of_a_replay_has_its_schedule(tmp_path: Path, keys: dict[str, Any]) -> None:
    made = flow(message("M"), replay={"schedule": "0 3 * * *", "source": "x.jsonl"}, **keys)
    dag_id = write(tmp_path, made)
    good = load_dags(tmp_path)[f"{dag_id}__replay"]
    write(tmp_path, {**made, "unknown": 1})
    broken = load_dags(tmp_path)[f"{dag_id}__replay"]
    assert is_stand_in(broken)
    assert (broken.start_date, str(broken.timezone)) == (good.start_date, str(good.timezone))
    assert broken.schedule == good.schedule, "a failed run has the interval that it reads once the flow is fixed"


def test_its_tasks_fail_at_once_with_the_faults(tmp_path: Path) -> None:
    dag_id = write(tmp_path, faulty())
    dag, failures = load_dags(tmp_path)[dag_id], Failures()
    dag.task_dict["ask_crm"].on_failure_callback = [failures.note]
    done = run_dag(dag)
    assert done.states == {"ask_crm": "failed", "bye": "upstream_failed"}
    assert f"{dag_id}.json:" in str(failures.errors[0])
    assert "there is no step named 'Nope'" in str(failures.errors[0])


def test_a_fixed_file_heals(tmp_path: Path) -> None:
    made = faulty()
    dag_id = write(tmp_path, made)
    broken = load_dags(tmp_path)[dag_id]
    made["steps"][0]["on_success"] = "Bye"
    write(tmp_path, made)
    mended = load_dags(tmp_path)[dag_id]
    raise_faults(tmp_path)
    assert not is_stand_in(mended)
    assert set(broken.task_dict) <= set(mended.task_dict)


def test_the_stand_in_of_a_flow_with_a_loop_has_the_loops_task(tmp_path: Path) -> None:
    made = polling_flow()
    good = write(tmp_path, made)
    before = set(load_dags(tmp_path)[good].task_dict)
    write(tmp_path, {**made, "unknown": 1})
    dag = load_dags(tmp_path)[good]
    assert is_stand_in(dag)
    assert set(dag.task_dict) == before


BROKEN: list[Any] = [
    {"steps": None}, {"steps": []}, {"steps": [1, {"name": 2}, {"name": ""}, {"name": "x" * 300, "type": "nope"}]},
    {"steps": [{"name": "ﷺ㎯" * 50}]}, {"replay": {"schedule": 5}}, {"replay": {"schedule": "often"}}, {"replay": []},
    {"timezone": "Mars/Base"}, {"airflow": {"tags": "x"}}, {"airflow": {"tags": [None, "y" * 300, "ok"]}}, {"name": 5},
    {"timezone": 5}, {"timezone": "../x"}, {"airflow": {"start_date": "tomorrow"}}, {"airflow": {"start_date": 5}},
    {"steps": [{"name": "A\0b"}]}, {"airflow": {"tags": ["a\0"], "owner": "b\0"}}, {"name": "c\0", "id\0": 1},
]  # fmt: skip


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_the_stand_in_dag_always_serializes(tmp_path: Path, change: dict[str, Any]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag_id = write(tmp_path, {**flow(message("M")), "unknown": 1, **change})
    dags = load_dags(tmp_path)
    assert is_stand_in(dags[dag_id])
    for dag in dags.values():
        assert "\\u0000" not in json.dumps(DagSerialization.to_dict(dag)), "PostgreSQL would store no DAG at all"
    with pytest.raises(FlowFileError, match=rf"{dag_id}\.json:\d+:\d+: "):
        raise_faults(tmp_path)


@pytest.mark.parametrize(
    "change", [{"name": "a\0"}, {"airflow": {"tags": ["a\0"]}}, {"replay": {"source": "a\0"}}], ids=str
)
def test_a_nul_character_is_a_fault_with_its_location(tmp_path: Path, change: dict[str, Any]) -> None:
    dag_id = write(tmp_path, {**flow(message("M")), **change})
    assert is_stand_in(load_dags(tmp_path)[dag_id])
    with pytest.raises(FlowFileError, match=rf"{dag_id}\.json:\d+:\d+: .*U\+0000") as raised:
        raise_faults(tmp_path)
    assert (raised.value.faults[0].line or 0) > 1


def test_reports_a_binary_file_as_a_single_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\0")
    assert load_dags(tmp_path) == {}
    assert [record.exc_info for record in caplog.records] == [None]


def test_the_stand_in_has_no_more_tasks_than_a_flow_may_have(tmp_path: Path) -> None:
    dag_id = write(tmp_path, flow(*(message(f"S{number}") for number in range(600))))
    dag = load_dags(tmp_path)[dag_id]
    assert is_stand_in(dag)
    assert len(dag.tasks) == 500


@pytest.mark.parametrize("file_id", ["UPPER", "a b", "ñ", ".hidden", "x" * 101, "sub__replay"])
def test_an_id_invalid_for_a_dag_has_no_stand_in(tmp_path: Path, file_id: str) -> None:
    write(tmp_path, flow(message("M"), id=file_id))
    assert load_dags(tmp_path) == {}
    with pytest.raises(FlowFileError):
        raise_faults(tmp_path)


def test_a_duplicate_id_does_not_replace_the_other_flow(tmp_path: Path) -> None:
    dag_id = write(tmp_path, flow(message("M")))
    write(tmp_path, flow(message("Other"), id=dag_id), "a_copy.json")
    write(tmp_path, flow(message("Other"), id=dag_id), f"{dag_id.upper()}.json")
    dags = load_dags(tmp_path)
    assert {name: set(dag.task_dict) for name, dag in dags.items()} == {dag_id: {"m"}}
    with pytest.raises(FlowFileError) as raised:
        raise_faults(tmp_path)
    for other in ("a_copy", dag_id.upper()):
        assert f"must be in a file named {dag_id}.json; this one is {other}.json" in str(raised.value)


def test_a_flow_cannot_take_the_dag_id_of_another_flows_replay(tmp_path: Path) -> None:
    dag_id = write(tmp_path, flow(message("M"), replay={"source": "x.jsonl"}))
    write(tmp_path, flow(message("Taker"), id=f"{dag_id}__replay"))
    dags = load_dags(tmp_path)
    assert set(dags) == {dag_id, f"{dag_id}__replay"}
    assert "plan" in dags[f"{dag_id}__replay"].task_dict
    with pytest.raises(FlowFileError, match=rf"{dag_id}__replay\.json:\d+:\d+: .*{dag_id}\.json"):
        raise_faults(tmp_path)


@pytest.mark.parametrize("schedule", ["every day", "0 3 30 2 *"])
def test_an_invalid_replay_schedule_does_not_affect_the_flows_dag(tmp_path: Path, schedule: str) -> None:
    dag_id = write(tmp_path, flow(message("M"), replay={"source": "x.jsonl", "schedule": schedule}))
    dags = load_dags(tmp_path)
    assert (is_stand_in(dags[dag_id]), is_stand_in(dags[f"{dag_id}__replay"])) == (False, True)
    with pytest.raises(FlowFileError, match=rf"json:\d+:\d+: '{re.escape(schedule)}' is neither a cron expression"):
        raise_faults(tmp_path)


@pytest.mark.parametrize("suffix", ["", "__replay"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_worker_opens_only_the_file_of_its_dag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, broken: bool
) -> None:
    replay = {"source": "x.jsonl"}
    made = faulty(replay=replay) if broken else flow(message("M"), replay=replay)
    dag_id = write(tmp_path, made)
    for _ in range(3):
        write(tmp_path, flow(message("M"), replay=replay))
    opened: set[str] = set()
    real = Path.read_bytes

    def read(self: Path) -> bytes:
        opened.add(self.stem)
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", f"{dag_id}{suffix}")
    assert f"{dag_id}{suffix}" in load_dags(tmp_path)
    assert opened == {dag_id}


def test_a_worker_of_another_dag_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, flow(message("M")))
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("opened"))
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", new_dag_id())
    assert load_dags(tmp_path) == {}
    raise_faults(tmp_path)


def test_loading_restores_the_garbage_collector(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    assert gc.isenabled()

    load_dags(tmp_path)

    assert gc.isenabled()

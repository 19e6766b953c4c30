"""Slow flow files don't remove other DAGs of their folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows import FlowFileError
from airflow_whatsapp_flows.dag_factory import load as loading
from airflow_whatsapp_flows.dag_factory import load_dags, raise_faults
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator
from tests.flow.loading.test_load_limits import messages
from tests.operators.flows import flow, message

pytestmark = pytest.mark.usefixtures("airflow")

LOAD = """
import resource, sys
from airflow_whatsapp_flows.dag_factory import load_dags
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
dags = load_dags(sys.argv[1])
print(sorted(dags), [type(task).__name__ for task in dags["good"].tasks])
"""


def write(folder: Path, name: str, made: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps({**made, "id": name}), encoding="utf-8")


def stand_ins(dags: dict[str, Any]) -> set[str]:
    return {name for name, dag in dags.items() if all(isinstance(task, FlowFaultOperator) for task in dag.tasks)}


def test_large_flows_do_not_delay_a_good_one(tmp_path: Path) -> None:
    write(tmp_path, "good", flow(message("M")))
    for name in ("a", "b", "c", "d"):
        write(tmp_path, name, messages(*["{{ '%}' }}" * 6_300] * 16))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True, timeout=300, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.splitlines()[-1] == "['a', 'b', 'c', 'd', 'good'] ['FlowStepOperator']"


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file takes six of Airflow's thirty seconds."""
    ticks = count(step=6)
    monkeypatch.setattr(loading, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "30")


@pytest.mark.usefixtures("slow_clock")
def test_a_parse_timeout_turns_only_large_flows_into_stand_ins(tmp_path: Path) -> None:
    for number, size in enumerate((9_000, 10, 7_000, 500, 6_000, 100)):
        write(tmp_path, f"f{number}", messages("x" * size, "y"))

    dags = load_dags(tmp_path)
    with pytest.raises(FlowFileError) as raised:
        raise_faults(tmp_path)

    # By size: f1, f5, f3, and f4 within 18 seconds, the last one beyond; f2 gets a stand-in, f0 not even that.
    assert set(dags) == {"f1", "f5", "f3", "f4", "f2"}
    assert stand_ins(dags) == {"f2"}
    assert len(dags["f2"].tasks) == 2
    lines = str(raised.value).splitlines()
    assert [line.split(":")[0].rpartition("/")[2] for line in lines] == ["f0.json", "f2.json"]
    assert "not loaded: the other flows of the folder took 24.0 of the 30 seconds" in lines[1]
    assert "slowest: f5.json 6.0 s, f4.json 6.0 s, f3.json 6.0 s" in lines[1]
    assert "raise [core] dagbag_import_timeout" in lines[1]


@pytest.mark.usefixtures("slow_clock")
def test_a_worker_loads_a_flow_that_the_timeout_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        write(tmp_path, f"f{number}", flow(message("M")))
    assert "f7" not in load_dags(tmp_path)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "f7")

    assert stand_ins(load_dags(tmp_path)) == set()
    assert set(load_dags(tmp_path)) == {"f7"}


@pytest.mark.usefixtures("slow_clock")
def test_without_a_limit_of_airflow_every_flow_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "0")
    for number in range(8):
        write(tmp_path, f"f{number}", flow(message("M")))

    dags = load_dags(tmp_path)

    assert (len(dags), stand_ins(dags)) == (8, set())

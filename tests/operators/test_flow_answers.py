"""A task explains why an answer doesn't fit its question."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows import build_dag
from tests.airflow_runs import run_dag
from tests.operators.conftest import TaskLog
from tests.operators.flows import flow, message, question

pytestmark = pytest.mark.usefixtures("airflow")

EXPECTED = "a number is expected, such as 41 or 3.5"


def ask_age(**keys: Any) -> dict[str, Any]:
    return {**question("Ask age", **keys), "answer_type": "NUMBER"}


@pytest.mark.parametrize(
    ("sensitive", "shown"),
    [pytest.param([], "cuarenta", id="shown"), pytest.param(["step.Ask age"], "***", id="sensitive")],
)
def test_a_misfit_answer_is_explained_in_xcom_and_log(task_log: TaskLog, sensitive: list[str], shown: str) -> None:
    source = flow(ask_age(on_answer_failed="Sorry"), message("Sorry"), sensitive=sensitive)

    run = run_dag(build_dag(source), {"step": {"Ask age": "cuarenta"}})

    reason = f'the answer "{shown}" does not fit NUMBER: {EXPECTED}'
    value = run.result("ask_age")
    assert (run.state, value["exit"], value["reason"]) == ("success", "answer failed", reason)
    assert run.xcom("sorry", "end")["reason"] == f"Ask age: {reason}"
    assert any(f"Ask age: {reason}" in line for line in task_log.warnings)
    if sensitive:
        assert "cuarenta" not in f"{task_log.text}{run.xcoms}{run.other_xcoms}"


def test_without_an_exit_the_task_fails_with_the_same_reason() -> None:
    run = run_dag(build_dag(flow(ask_age())), {"step": {"Ask age": "cuarenta"}})

    reason = f'the answer "cuarenta" does not fit NUMBER: {EXPECTED}'
    assert (run.state, run.result("ask_age")["reason"]) == ("failed", reason)
    assert run.xcom("ask_age", "end")["reason"] == f"Ask age: {reason}"

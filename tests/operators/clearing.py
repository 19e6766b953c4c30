"""Tasks that run again after their worker died or a user cleared them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

import pytest
from airflow.sdk import DAG

from tests.airflow_runs import FinishedRun, _errors_in_contexts, _quiet, _read_run, _sync_to_database


class _KilledError(BaseException):
    pass


def run_killed(dag: DAG, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a DAG whose first try dies after sending, before it records the outcome; returns the run's id."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with monkeypatch.context() as patch:

        def die(*_: Any, **__: Any) -> None:
            raise _KilledError

        patch.setattr("airflow_whatsapp_flows.flow.walk.deliver.classify", die)
        with _quiet(), contextlib.suppress(_KilledError):
            _sync_to_database(dag).test()
    with create_session() as session:
        return str(session.scalar(select(DagRun.run_id).where(DagRun.dag_id == dag.dag_id)))


def run_again(dag: DAG, run_id: str, task_id: str = "act") -> dict[str, Any]:
    """Clear the task as a user does, run it again, and return its result, if any."""
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.models.xcom import XComModel
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with _quiet(), _errors_in_contexts():
        with create_session() as session:
            where = (TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
            clear_task_instances(list(session.scalars(select(TaskInstance).where(*where))), session)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with create_session() as session:
                run = session.scalar(select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.run_id == run_id))
                run.dag = SerializedDagModel.get_dag(dag.dag_id)
                decision = run.task_instance_scheduling_decisions(session=session)
                ready = [ti for ti in decision.schedulable_tis if ti.task_id == task_id]
                states = set(session.scalars(select(TaskInstance.state).where(*where)))
                if not ready and "up_for_retry" in states:
                    time.sleep(0.01)  # its retry_delay is not over
                    continue
                if not ready:
                    break
                for ti in ready:
                    ti.state = "scheduled"
                    ti.try_number += 1  # as the scheduler does
                session.commit()
            for ti in ready:
                _run_task(ti=ti, task=dag.task_dict[ti.task_id], run_triggerer=True)
        with create_session() as session:
            wanted = (XComModel.dag_id == dag.dag_id, XComModel.run_id == run_id, XComModel.task_id == task_id)
            row = session.scalar(select(XComModel).where(*wanted))
            return {} if row is None else dict(XComModel.deserialize_value(row))


def run_cleared(dag: DAG, run_id: str, tasks: Iterable[str | tuple[str, int]]) -> FinishedRun:
    """Clear tasks of a finished run as a user does, and run what Airflow then schedules to the end.

    Args:
        dag: of the run.
        run_id: of the run.
        tasks: task ids, or a task id and a map index.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session
    from sqlalchemy import select

    of_run = (TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == run_id)
    with _quiet(), _errors_in_contexts():
        with create_session() as session:
            wanted = [one if isinstance(one, tuple) else (one, None) for one in tasks]
            cleared = [
                ti
                for ti in session.scalars(select(TaskInstance).where(*of_run))
                if (ti.task_id, ti.map_index) in wanted or (ti.task_id, None) in wanted
            ]
            clear_task_instances(cleared, session)
        while True:
            with create_session() as session:
                run = session.scalar(select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.run_id == run_id))
                run.dag = SerializedDagModel.get_dag(dag.dag_id)
                ready, _ = run.update_state(session=session, execute_callbacks=False)
                for ti in ready:
                    ti.state = "scheduled"
                    ti.try_number += 1  # as the scheduler does
                session.commit()
                waiting = "up_for_retry" in session.scalars(select(TaskInstance.state).where(*of_run))
            if not ready and not waiting:
                return _read_run(dag.dag_id, run)
            if not ready:
                time.sleep(0.01)  # its retry_delay is not over
            for ti in ready:
                _run_task(ti=ti, task=dag.task_dict[ti.task_id], run_triggerer=True)

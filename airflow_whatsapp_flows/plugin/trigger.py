"""Starts and stops DAG runs for a user, by the functions that Airflow's own REST API calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.api_fastapi.core_api.datamodels.dag_run import DAGRunPatchBody, TriggerDAGRunPostBody
from airflow.api_fastapi.core_api.routes.public.dag_run import patch_dag_run, trigger_dag_run
from airflow.models.dagbag import DBDagBag
from airflow.models.log import Log
from airflow.utils.session import create_session
from fastapi import HTTPException, Request

_LONGEST_NOTE = 1000  # of Airflow's column


def start_run(request: Request, user: Any, dag_id: str, conf: Mapping[str, Any], note: str) -> str:
    """Create a run of a DAG, as ``POST /dags/{dag_id}/dagRuns`` does, and log it as that does.

    The caller checks the permission.

    Args:
        request: the request of the user.
        user: who starts the run.
        dag_id: id of the DAG.
        conf: values of its params; the DAG must have them all.
        note: of the run.

    Returns:
        The id of the run.

    Raises:
        HTTPException: Airflow refuses it, or the DAG has no such param.
    """
    bag = DBDagBag()
    body = TriggerDAGRunPostBody(logical_date=None, conf=dict(conf), note=note[:_LONGEST_NOTE])
    with create_session(scoped=False) as session:
        dag = bag.get_latest_version_of_dag(dag_id, session=session)
        if dag is None or not set(conf) <= set(dag.params):
            raise HTTPException(
                409,
                f"The DAG {dag_id} cannot do this: its flow file has faults, or Airflow has not read it since the last "
                "upgrade of the package.",
            )
        run: Any = trigger_dag_run(dag_id=dag_id, body=body, dag_bag=bag, user=user, session=session, request=request)
        run_id = str(run.run_id)
        extra = {"conf": body.conf, "note": body.note, "method": "POST"}
        session.add(_log_entry(user, "trigger_dag_run", extra, dag_id, run_id))
    return run_id


def stop_run(user: Any, dag_id: str, run_id: str) -> None:
    """Mark a run of a DAG and its unfinished tasks as failed, as ``PATCH /dags/{dag_id}/dagRuns/{run_id}`` does.

    The caller checks the permission.

    Raises:
        HTTPException: there is no such run.
    """
    body = DAGRunPatchBody.model_validate({"state": "failed"})
    with create_session(scoped=False) as session:
        patch_dag_run(
            dag_id=dag_id, dag_run_id=run_id, patch_body=body, session=session, dag_bag=DBDagBag(), user=user,
            update_mask=None,
        )  # fmt: skip
        session.add(_log_entry(user, "patch_dag_run", {"new_state": "failed", "method": "PATCH"}, dag_id, run_id))


def _log_entry(user: Any, event: str, extra: Mapping[str, Any], dag_id: str, run_id: str) -> Log:
    """Return the entry of Airflow's audit log that its REST API would make."""
    name = user.get_name()
    return Log(event, owner=name, owner_display_name=name, extra=json.dumps(extra), dag_id=dag_id, run_id=run_id)

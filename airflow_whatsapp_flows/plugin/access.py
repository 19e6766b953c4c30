"""Who may see what: Airflow's own users and permissions. A replay is seen by who may see the DAG of its flow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException

Method = Literal["GET", "PUT"]

CurrentUser = Depends(get_user)
"""The logged-in user; a request without one is answered with 401."""


def may(user: Any, dag_id: str, method: Method = "GET") -> bool:
    """Whether a user may read (``GET``) or edit (``PUT``) a DAG, whether or not it exists."""
    return _is_authorized(user, dag_id, DagModel.get_team_name(dag_id), method)


def readable(user: Any, dag_ids: Iterable[str]) -> set[str]:
    """Return the DAGs that a user may read."""
    wanted = sorted(set(dag_ids))
    teams = DagModel.get_dag_id_to_team_name_mapping(wanted)
    return {dag_id for dag_id in wanted if _is_authorized(user, dag_id, teams.get(dag_id))}


def _is_authorized(user: Any, dag_id: str, team: str | None, method: Method = "GET") -> bool:
    details = DagDetails(id=dag_id, team_name=team)
    return bool(get_auth_manager().is_authorized_dag(method=method, details=details, user=user))


def may_see_import_errors(user: Any) -> bool:
    """Whether a user may see the import errors of DAG files."""
    return bool(get_auth_manager().is_authorized_view(access_view=AccessView.IMPORT_ERRORS, user=user))


def may_trigger(user: Any, dag_id: str) -> bool:
    """Whether a user may create runs of a DAG; Airflow's REST API asks the same."""
    return _is_authorized_for_runs(user, dag_id, "POST")


def may_stop(user: Any, dag_id: str) -> bool:
    """Whether a user may mark runs of a DAG as failed; Airflow's REST API asks the same."""
    return _is_authorized_for_runs(user, dag_id, "PUT")


def _is_authorized_for_runs(user: Any, dag_id: str, method: Literal["POST", "PUT"]) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    manager = get_auth_manager()
    return bool(manager.is_authorized_dag(method=method, access_entity=DagAccessEntity.RUN, details=details, user=user))


def require_trigger(user: Any, dag_id: str) -> None:
    """Check that a user may create runs of a DAG.

    Raises:
        HTTPException: they may not: 403.
    """
    if not may_trigger(user, dag_id):
        raise HTTPException(403, f"It needs permission to trigger the DAG {dag_id}. Ask an administrator of Airflow.")


def require(user: Any, dag_id: str, method: Method = "GET") -> None:
    """Check that a user may read or edit a DAG.

    Raises:
        HTTPException: they may not: 403.
    """
    if not may(user, dag_id, method):
        raise HTTPException(403, "It needs permission for the DAG of the flow. Ask an administrator of Airflow.")


def require_task_instances(user: Any, dag_id: str) -> None:
    """Check that a user may read the task instances of a DAG.

    Raises:
        HTTPException: they may not: 403.
    """
    require(user, dag_id)
    is_allowed = get_auth_manager().is_authorized_dag(
        method="GET",
        access_entity=DagAccessEntity.TASK_INSTANCE,
        details=DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)),
        user=user,
    )
    if not is_allowed:
        raise HTTPException(
            403, "It needs permission for the task instances of the DAG. Ask an administrator of Airflow."
        )

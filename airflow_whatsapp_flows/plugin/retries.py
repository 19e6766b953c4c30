"""Retries from the pages: runs of ``<id>__replay`` that send failed contacts of a replay again."""

from __future__ import annotations

from threading import Lock
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from airflow_whatsapp_flows.plugin.access import CurrentUser, require_trigger
from airflow_whatsapp_flows.plugin.actions import LONGEST_ID, check_origin
from airflow_whatsapp_flows.plugin.addresses import encode_name
from airflow_whatsapp_flows.plugin.airflow_tables import retrying_runs_of, why_no_runs
from airflow_whatsapp_flows.plugin.ledger_access import find_running, open_ledger
from airflow_whatsapp_flows.plugin.rendering import query_of
from airflow_whatsapp_flows.plugin.replay_page import ReplayId, visible_replay
from airflow_whatsapp_flows.plugin.replay_runs import replay_dag_of
from airflow_whatsapp_flows.plugin.trigger import start_run

router = APIRouter()

_STARTS = Lock()
"""Held by a request that starts a run, so that two at once don't start two."""


class RetryRequest(BaseModel):
    """Which contacts of a replay to retry: all in a state, those with one error, or one of them."""

    state: Literal["failed", "in_doubt"]
    response_id: str = Field("", max_length=LONGEST_ID)
    fingerprint: str = Field("", max_length=40, pattern=r"^[\w-]*$")
    reason: str = Field("", max_length=500)


@router.post("/replays/{replay_id}/retry", dependencies=[Depends(check_origin)])
def retry_contacts(
    request: Request, asked: RetryRequest, replay_id: str = ReplayId, user: Any = CurrentUser
) -> JSONResponse:
    """Start a run of the replay DAG that sends contacts again.

    The run does what `replay retry` does, whoever started the replay. Airflow's queue, approval, and history apply.
    """
    with open_ledger() as reader:
        replay = visible_replay(reader, replay_id, user)
        is_running = replay.id in find_running(reader)
    dag_id = replay_dag_of(replay.flow_id)
    require_trigger(user, dag_id)
    if (asked.response_id and asked.fingerprint) or "\0" in asked.response_id + asked.reason:
        raise HTTPException(422, "Give a response_id, a fingerprint, or neither.")
    problem = why_no_runs(dag_id) or ("" if replay.sealed else "Its source has not been read completely.")
    problem = problem or ("The replay is running: let it finish, or stop it." if is_running else "")
    if problem:
        raise HTTPException(409, problem)
    chosen: dict[str, Any] = {"retry_of": replay.id, "states": [asked.state]}
    if asked.response_id:
        chosen["responses"] = [asked.response_id]
    if asked.fingerprint:
        chosen["fingerprint"] = asked.fingerprint
    note = f"{asked.reason.strip() or 'Retry'} (started by {user.get_name()} on the page of the replay)"
    with _STARTS:
        if live := retrying_runs_of(dag_id, replay.id):
            raise HTTPException(409, f"The run {live[0]} already retries contacts of this replay: let it finish.")
        run_id = start_run(request, user, dag_id, {**chosen, "note": note}, note)
    root = request.scope["root_path"].rstrip("/")
    return JSONResponse(
        {
            "message": f"Airflow has queued the run {run_id}.",
            "changed": True,
            "link": f"{root.rpartition('/')[0]}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}",
            "page": f"{root}/replays/{encode_name(replay.id)}{query_of(run=run_id)}",
        }
    )

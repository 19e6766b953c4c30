"""Retries from the pages: runs of ``<id>__replay`` that send contacts of a replay again, or resume it. And its end."""

from __future__ import annotations

from threading import Lock
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from airflow_whatsapp_flows.dag_names import run_of_replay
from airflow_whatsapp_flows.ledger.holds import last_sendable
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.plugin.access import CurrentUser, may_stop, require_trigger
from airflow_whatsapp_flows.plugin.actions import LONGEST_ID, check_origin
from airflow_whatsapp_flows.plugin.addresses import encode_name
from airflow_whatsapp_flows.plugin.airflow_tables import retrying_runs_of, why_no_runs
from airflow_whatsapp_flows.plugin.ledger_access import find_running, open_ledger
from airflow_whatsapp_flows.plugin.rendering import query_of
from airflow_whatsapp_flows.plugin.replay_page import ReplayId, visible_replay
from airflow_whatsapp_flows.plugin.replay_runs import live_runs, replay_dag_of, sending_runs
from airflow_whatsapp_flows.plugin.trigger import start_run, stop_run

router = APIRouter()

_STARTS = Lock()
"""Held by a request that starts a run, so that two at once don't start two."""


class RetryRequest(BaseModel):
    """Which contacts of a replay to retry: all of a kind, those with one error, or one of them.

    Pending contacts are sent anyway, so with ``pending`` the run resumes the replay.
    """

    state: Literal["failed", "in_doubt", "handled", "pending"]
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
    if asked.state == "pending" and (asked.response_id or asked.fingerprint):
        raise HTTPException(422, "All pending contacts are resumed together.")
    problem = why_no_runs(dag_id) or ("" if replay.sealed else "Its source has not been read completely.")
    problem = problem or ("The replay is running: let it finish, or stop it." if is_running else "")
    problem = problem or (_why_not_resumed(replay) if asked.state == "pending" else "")
    if problem:
        raise HTTPException(409, problem)
    chosen: dict[str, Any] = {"retry_of": replay.id}
    chosen |= {"handled": True} if asked.state == "handled" else {"states": [asked.state]}
    if asked.response_id:
        chosen["responses"] = [asked.response_id]
    if asked.fingerprint:
        chosen["fingerprint"] = asked.fingerprint
    what = "Resume" if asked.state == "pending" else "Retry"
    note = f"{asked.reason.strip() or what} (started by {user.get_name()} on the page of the replay)"
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


def _why_not_resumed(replay: Replay) -> str:
    """Return why a replay is not resumed by another run, as a sentence; empty if it can be."""
    if last_sendable(replay) is not None:
        return "Contacts are held after a canary, or by an approved limit: `replay run` with --release sends them."
    run_id = run_of_replay(replay.flow_id, replay.id)
    live = live_runs(replay.flow_id, [run_id] if run_id else [])
    return f"The run {live[0]} of this replay has not ended: it sends what is pending." if live else ""


@router.post("/replays/{replay_id}/stop", dependencies=[Depends(check_origin)])
def stop_replay(replay_id: str = ReplayId, user: Any = CurrentUser) -> JSONResponse:
    """Mark the runs that send contacts of a replay as failed: their tasks end as if Airflow's own button had been used.

    What is in flight is recorded, and what is pending can be resumed.
    """
    with open_ledger() as reader:
        replay = visible_replay(reader, replay_id, user)
        is_running = replay.id in find_running(reader)
    dag_id = replay_dag_of(replay.flow_id)
    if not may_stop(user, dag_id):
        raise HTTPException(
            403, f"It needs permission to edit runs of the DAG {dag_id}. Ask an administrator of Airflow."
        )
    runs = sending_runs(replay)
    if not runs:
        where = "It was started on the command line: stop it there, with Ctrl+C." if is_running else "It does not run."
        raise HTTPException(409, where)
    for run_id in runs:
        stop_run(user, dag_id, run_id)
    what = f"The run {runs[0]} is" if len(runs) == 1 else f"{len(runs)} runs are"
    message = (
        f"{what} marked as failed. Tasks end when what is in flight is recorded, at the latest after some seconds."
    )
    return JSONResponse({"message": message, "changed": True})

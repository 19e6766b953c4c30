"""The tab "Walk" of a DAG run: the steps that its contact passed, and the requests that were sent for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX, loop_name, replay_of_run
from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.model import Flow, exits_of
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.reader import MissingLedgerError
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.ledger.task_attempts import RunAttempt, read_run_attempts
from airflow_whatsapp_flows.plugin.access import CurrentUser, may, require_task_instances
from airflow_whatsapp_flows.plugin.addresses import name_in_path
from airflow_whatsapp_flows.plugin.airflow_tasks import RunFacts, RunTask, find_run
from airflow_whatsapp_flows.plugin.flow_sources import find_flows
from airflow_whatsapp_flows.plugin.ledger_access import open_ledger
from airflow_whatsapp_flows.plugin.rendering import page
from airflow_whatsapp_flows.plugin.request_tab import response_of_run

router = APIRouter()

_LOOP = "FlowLoopOperator"
_COLORS = {"success": "success", "failed": "failed", "running": "running", "up_for_retry": "doubt"}


@dataclass(frozen=True, slots=True)
class PassedStep:
    """A step that a contact passed, or a loop of steps.

    Attributes:
        task: the task that it is in Airflow.
        name: of the step, or what Airflow calls the loop.
        exit: the exit that it left by; empty if that is not known.
        requests: that were sent for it.
        color: of the task's state.
    """

    task: RunTask
    name: str
    exit: str
    requests: Sequence[RunAttempt]
    color: str


@router.get("/runs/{dag_id}/{run_id}")
def show_walk(
    request: Request,
    dag_id: str = name_in_path("dag_id"),
    run_id: str = name_in_path("run_id"),
    user: Any = CurrentUser,
) -> Response:
    """Show the walk of the contact of a flow's DAG run, or lead to the replay of a replay DAG's run."""
    require_task_instances(user, dag_id)
    facts = find_run(dag_id, run_id)
    if facts is None:
        raise HTTPException(404, f"Airflow has no run {run_id!r} of the DAG {dag_id!r}.")
    replay: Replay | None = None
    steps: list[PassedStep] = []
    try:
        with open_ledger() as ledger:
            if dag_id.endswith(REPLAY_SUFFIX):
                replay = _find_replay(ledger, dag_id, run_id, facts, user)
            else:
                steps = _find_steps(ledger, dag_id, run_id, facts)
    except MissingLedgerError:
        steps = _find_steps(None, dag_id, run_id, facts)
    is_of_flow = facts.is_flow and not dag_id.endswith(REPLAY_SUFFIX)
    return page(
        request,
        "walk.html",
        dag_id=dag_id,
        run_id=run_id,
        facts=facts,
        color=_COLORS.get(facts.state, "pending"),
        replay=replay,
        steps=steps if is_of_flow else [],
        is_of_flow=is_of_flow,
    )


def _find_replay(ledger: Ledger, dag_id: str, run_id: str, facts: RunFacts, user: Any) -> Replay | None:
    """Return the replay that a run sends, or whose contacts it retries, if the user may see it."""
    asked = facts.conf.get("retry_of")
    flow_id = dag_id.removesuffix(REPLAY_SUFFIX)
    name = asked if isinstance(asked, str) and asked else replay_of_run(flow_id, run_id)
    found = None if "\0" in name else find_replay(ledger, name)
    return found if found is not None and may(user, found.flow_id) else None


def _find_steps(ledger: Ledger | None, dag_id: str, run_id: str, facts: RunFacts) -> list[PassedStep]:
    flows = find_flows(ledger, dag_id)
    flow = flows[0].flow if flows else None
    response = response_of_run(run_id, facts.conf, flow, strict=facts.is_flow)
    ids = {run_id, *([response.identity] if response is not None else [])}
    sent = [] if ledger is None else read_run_attempts(ledger, dag_id, ids)
    passed = [task for task in facts.tasks if task.state != "skipped" and _is_shown(task, flow)]
    names = [task.label for task in passed]
    return [
        PassedStep(
            task,
            mask_secrets(task.label),
            _find_exit(flow, task.label, names) if task.state == "success" else "",
            [one for one in sent if _is_of(one, task, flow)],
            _COLORS.get(task.state, "pending"),
        )
        for task in passed
    ]


def _is_shown(task: RunTask, flow: Flow | None) -> bool:
    """Whether a task is a step or a loop; others are shown if they failed, such as one for a request in doubt."""
    return flow is None or task.label in flow.steps or task.operator == _LOOP or task.state == "failed"


def _is_of(one: RunAttempt, task: RunTask, flow: Flow | None) -> bool:
    if task.operator != _LOOP or flow is None:
        return one.step == task.label
    # Airflow shows the names of its steps, which may be cut off.
    return any(one.step in loop for loop in flow.loops if loop_name(loop).startswith(task.label.rstrip("…")))


def _find_exit(flow: Flow | None, name: str, passed: Collection[str]) -> str:
    """Return the exit that a walk took from a step: the only one that leads to another step that it passed."""
    step = None if flow is None else flow.steps.get(name)
    if step is None:
        return ""
    taken = [way.label for way in exits_of(step) if way.target is not None and way.target in passed]
    ends = [way.label for way in exits_of(step) if way.target is None]
    found = taken or ends
    return mask_secrets(found[0]) if len(found) == 1 else ""

"""The tab "Request" of a task instance: what it sent, what came back, and for whom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.response_content import response_json
from airflow_whatsapp_flows.ledger.contact_walk import MOST_BYTES, AttemptDetail
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.reader import MissingLedgerError
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.ledger.replies import Replies
from airflow_whatsapp_flows.ledger.task_attempts import TaskPlace, TaskStep, read_task_attempts
from airflow_whatsapp_flows.operators.run_input import response_of
from airflow_whatsapp_flows.plugin.access import CurrentUser, may, require_task_instances
from airflow_whatsapp_flows.plugin.addresses import name_in_path
from airflow_whatsapp_flows.plugin.airflow_tasks import TaskFacts, find_task
from airflow_whatsapp_flows.plugin.flow_sources import FoundFlow, find_flows
from airflow_whatsapp_flows.plugin.ledger_access import open_ledger
from airflow_whatsapp_flows.plugin.rendering import page, text_block
from airflow_whatsapp_flows.plugin.request_view import ShownRequest, show_requests
from airflow_whatsapp_flows.replay.report import mask_answers

router = APIRouter()

OWN_DAG = (
    "It cannot be shown: this task is not of a flow file. Its request is built from the DAG file by the worker, and "
    "its content is not kept."
)
_NOT_MAPPED = ("-1", "{MAP_INDEX}", "%7BMAP_INDEX%7D")
"""What Airflow has in the address of a task that is not mapped: it leaves a name in braces there."""
_ATTEMPTS = 20
_ANSWERS = 20_000  # characters


@dataclass(frozen=True, slots=True)
class Sent:
    """What a task sent.

    Attributes:
        attempts: a page of its attempts.
        next: number after which the next page starts; ``None`` at the end.
        requests: of these attempts, in the same order.
        answers: of the contact, masked; ``None`` if they are not known.
        flow: where the flow was found; empty if it was not.
        replay: that the task works for, if the user may see it.
    """

    attempts: list[AttemptDetail]
    next: int | None
    requests: list[ShownRequest]
    answers: str | None
    flow: str
    replay: Replay | None


def _read_place(
    map_index: str,
    dag_id: str = name_in_path("dag_id"),
    run_id: str = name_in_path("run_id"),
    task_id: str = name_in_path("task_id"),
) -> TaskPlace:
    if map_index in _NOT_MAPPED:
        return TaskPlace(dag_id, run_id, task_id)
    if not (map_index.isascii() and map_index.isdigit() and len(map_index) < 10):
        raise HTTPException(404, f"The map index {map_index[:20]!r} is not a number.")
    return TaskPlace(dag_id, run_id, task_id, int(map_index))


@router.get("/tasks/{dag_id}/{run_id}/{task_id}/{map_index}")
def show_task(
    request: Request,
    place: TaskPlace = Depends(_read_place),  # noqa: B008  # FastAPI's way
    after: int = Query(0, ge=0, lt=2**63),
    user: Any = CurrentUser,
) -> Response:
    """Show the requests of a task instance; those after a number, on a later page."""
    require_task_instances(user, place.dag_id)
    facts = find_task(place)
    if facts is None:
        where = f"the run {place.run_id!r} of the DAG {place.dag_id!r}"
        raise HTTPException(404, f"Airflow has no task {place.task_id!r} in {where}.")
    no_ledger = ""
    try:
        with open_ledger() as ledger:
            sent = _read(ledger, facts, after, user)
    except MissingLedgerError as error:
        no_ledger = str(error)
        sent = Sent([], None, [], None, "", None)
    return page(
        request,
        "request.html",
        facts=facts,
        sent=sent,
        after=after,
        no_ledger=no_ledger,
        pairs=list(zip(sent.attempts, sent.requests, strict=True)),
        sends=_sends(facts) or bool(sent.attempts),
    )


def _sends(facts: TaskFacts) -> bool:
    """Whether a task is of a class of ours that sends."""
    return facts.operator in ("FlowActionOperator", "FlowLoopOperator", "WhatsAppActionOperator")


def _read(ledger: Ledger, facts: TaskFacts, after: int, user: Any) -> Sent:
    if facts.replay_id is not None:
        replay = find_replay(ledger, facts.replay_id)
        return Sent([], None, [], None, "", replay if replay is not None and may(user, replay.flow_id) else None)
    flows = find_flows(ledger, facts.place.dag_id) if facts.is_flow else []
    flow = flows[0] if flows else None
    response = _response(facts, flow.flow if flow else None)
    text = None if response is None else response_json(response)
    if text is not None and len(text) > MOST_BYTES:
        text = None
    sends = TaskStep(facts.place, response.identity if response else None, _step(facts, flow))
    replies = Replies(flow.text if flow else None)
    attempts, later = read_task_attempts(ledger, sends, replies, text, after, _ATTEMPTS)
    if facts.is_flow and flow is None:
        attempts = [replace(one, reply=None) for one in attempts]  # what the flow calls sensitive is unknown
    known = response if text is not None else None
    may_copy = bool(attempts) and may(user, facts.place.dag_id, "PUT")
    requests = [ShownRequest(why_not=OWN_DAG)] * len(attempts)
    if facts.is_flow:
        requests = show_requests(ledger, flows, known, [one.id for one in attempts], may_copy=may_copy)
    return Sent(
        attempts,
        later,
        requests,
        _answers(text, flow, facts),
        flow.where if flow else "",
        None,
    )


def _response(facts: TaskFacts, flow: Flow | None) -> ContactResponse | None:
    return response_of_run(facts.place.run_id, facts.conf, flow, strict=facts.is_flow)


def response_of_run(run_id: str, conf: Mapping[str, Any], flow: Flow | None, *, strict: bool) -> ContactResponse | None:
    """Return the response of a run, as its tasks read it; ``None`` if they could not.

    Args:
        run_id: id of the run.
        conf: of the run.
        flow: the flow, if it is known.
        strict: whether unknown keys of the conf are an error, as in the DAG of a flow.
    """
    run = SimpleNamespace(conf=conf, run_id=run_id)
    variables = None if flow is None else flow.variables
    try:
        return response_of({"dag_run": run}, strict=strict, variables=variables)
    except (ResponseError, msgspec.ValidationError):
        return None


def _step(facts: TaskFacts, found: FoundFlow | None) -> str | None:
    """Return the name of the step of a task; it is what Airflow shows as the name of the task."""
    return facts.label if found is not None and facts.label in found.flow.steps else None


def _answers(text: str | None, found: FoundFlow | None, facts: TaskFacts) -> str | None:
    # Without the flow it is unknown which answers it calls sensitive.
    if text is None or (facts.is_flow and found is None):
        return None
    shown = {key: value for key, value in mask_answers(text, found.flow if found else None).items() if value}
    return text_block(json.dumps(shown, ensure_ascii=False, indent=2), _ANSWERS) if shown else None

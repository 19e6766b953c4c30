"""The page of one contact of a replay: its walk, and each attempt with what came back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.response_content import read_stored_response
from airflow_whatsapp_flows.ledger.contact_walk import Contact, read_attempts, read_contacts
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.plugin.access import CurrentUser, may
from airflow_whatsapp_flows.plugin.addresses import name_in_path
from airflow_whatsapp_flows.plugin.flow_sources import FoundFlow, find_flows
from airflow_whatsapp_flows.plugin.ledger_access import open_ledger
from airflow_whatsapp_flows.plugin.rendering import page, text_block
from airflow_whatsapp_flows.plugin.replay_page import ReplayId, visible_replay
from airflow_whatsapp_flows.plugin.replay_runs import retry_access
from airflow_whatsapp_flows.plugin.request_view import show_requests
from airflow_whatsapp_flows.replay.commands import replay_command, why_not_copyable
from airflow_whatsapp_flows.replay.next_steps import may_repeat
from airflow_whatsapp_flows.replay.report import deliveries_of, flow_of_replay, mask_answers

router = APIRouter()

_ATTEMPTS = 20
_STEPS = 200  # of a path
_ANSWERS = 20_000  # characters
ResponseId = name_in_path("response_id")


@router.get("/replays/{replay_id}/contacts/{response_id}")
def show_contact(
    request: Request,
    replay_id: str = ReplayId,
    response_id: str = ResponseId,
    row: int | None = Query(None, ge=1, lt=2**63),
    after: int = Query(0, ge=0, lt=2**63),
    user: Any = CurrentUser,
) -> Response:
    """Show the contacts of a replay with a response id, usually one.

    Args:
        request: the request.
        replay_id: name of the replay.
        response_id: id of the response.
        row: number of its row, for a row that repeats another.
        after: number of the last attempt of the page before.
        user: the logged-in user.
    """
    with open_ledger() as ledger:
        replay = visible_replay(ledger, replay_id, user)
        contacts = read_contacts(ledger, replay, response_id, row)
        if not contacts:
            raise HTTPException(404, f"The replay {replay.id!r} has no contact with the response id {response_id!r}.")
        attempts, later = read_attempts(ledger, replay, contacts[-1], after, _ATTEMPTS)
        flow, may_edit = flow_of_replay(replay), may(user, replay.flow_id, "PUT")
        numbers = [one.id for one in attempts]
        flows, response = _flows(ledger, replay, flow), _response(contacts[-1])
        requests = show_requests(ledger, flows, response, numbers, may_copy=may_edit)
    return page(
        request,
        "contact.html",
        replay=replay,
        contacts=[(contact, _answers(contact, flow)) for contact in contacts],
        steps=_STEPS,
        attempts=list(zip(attempts, requests, strict=True)),
        row=row,
        after=after,
        later=later,
        may_edit=may_edit,
        is_in_doubt=contacts[-1].state is ContactState.IN_DOUBT,
        retries=_retries(contacts[-1], deliveries_of(flow)),
        access=retry_access(user, replay.flow_id),
        commands=_commands(replay, contacts[-1]),
        no_commands=why_not_copyable(replay.id, contacts[-1].response_id),
    )


def _flows(ledger: Ledger, replay: Replay, flow: Flow | None) -> list[FoundFlow]:
    """Return the flow of the replay, and the versions that other attempts may have been made with."""
    own = [] if flow is None else [FoundFlow(flow, f"the flow of the replay {replay.id}")]
    return [*own, *find_flows(ledger, replay.flow_id, known=replay.flow if own else "")]


def _response(contact: Contact) -> ContactResponse | None:
    try:
        return None if contact.response is None else read_stored_response(contact.response)
    except ResponseError:
        return None


def _answers(contact: Contact, flow: Flow | None) -> str | None:
    """Return the contact and answers of a response, masked and indented; ``None`` if they cannot be shown."""
    if contact.response is None:
        return None
    return text_block(json.dumps(mask_answers(contact.response, flow), ensure_ascii=False, indent=2), _ANSWERS)


def _retries(contact: Contact, delivery: Mapping[str, Delivery]) -> list[str]:
    """Return how a contact can be retried: by its state, or as ``handled``."""
    is_open = contact.state is ContactState.IN_DOUBT and may_repeat(contact.error, delivery)
    if contact.state is ContactState.FAILED or is_open:
        return [contact.state.value]
    return ["handled"] if contact.state is ContactState.COMPLETED and contact.handled_errors else []


def _commands(replay: Replay, contact: Contact) -> list[tuple[str, str]]:
    if contact.state is not ContactState.IN_DOUBT or why_not_copyable(replay.id, contact.response_id):
        return []
    found = []
    for what, options in (("The CRM has it", "--as sent"), ("The CRM does not have it", "--as not_sent")):
        command = replay_command("resolve", replay.id, contact.response_id, options=options)
        found.append((what, f"whatsapp-flows {command}"))
    return found

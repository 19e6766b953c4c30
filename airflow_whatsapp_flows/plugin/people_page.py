"""The page of one person: everything that was sent for them, over all flows, replays, and DAG runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from airflow_whatsapp_flows.ledger.person_history import Person
from airflow_whatsapp_flows.ledger.person_pages import (
    SentPage,
    SentTo,
    find_recipient,
    find_sending_flows,
    find_sent_page,
)
from airflow_whatsapp_flows.ledger.purge import find_flows_of
from airflow_whatsapp_flows.plugin.access import CurrentUser, may, readable
from airflow_whatsapp_flows.plugin.addresses import SearchText
from airflow_whatsapp_flows.plugin.ledger_access import open_ledger
from airflow_whatsapp_flows.plugin.rendering import page

router = APIRouter()

_SENT = 50
_MOST_RESPONSES = 50  # in an address


@router.get("/people")
def show_person(
    request: Request,
    q: SearchText = "",
    of: list[str] = Query([], max_length=_MOST_RESPONSES),  # noqa: B008  # FastAPI's way
    before: str = Query("", pattern=r"^([0-9]{1,12}(\.[0-9]{1,12})?_[0-9]{1,19})?$"),
    user: Any = CurrentUser,
) -> Response:
    """Show what was sent for whoever has an identifier, newest first: only by flows whose DAG the user may read.

    Args:
        request: the request.
        q: the identifier.
        of: ids of responses, instead of an identifier: of a person whose data was erased.
        before: place of the page before.
        user: the logged-in user.
    """
    place = _place(before)
    found, may_erase = SentPage((), None), False
    of = [] if q else [one for one in of if one and "\0" not in one]
    with open_ledger() as ledger:
        if q or of:
            to = SentTo(Person(), of) if of else _leave_out_others(user, find_recipient(ledger, q))
            found = find_sent_page(ledger, to, readable(user, find_sending_flows(ledger, to)), place, _SENT)
            if to.person and not before:
                may_erase = any(may(user, flow, "PUT") for flow in sorted(find_flows_of(ledger, to.person)))
    following = f"{found.next[0]!r}_{found.next[1]}" if found.next else None
    return page(request, "people.html", q=q, of=of, before=before, sent=found.sent, next=following, may_erase=may_erase)


def _leave_out_others(user: Any, to: SentTo) -> SentTo:
    """Leave out what flows that the user may not read know of a person: the time to look for it tells of it."""
    known = to.person.identifiers
    allowed = readable(user, {flow for _, _, flow in known}) if known else set()
    return replace(to, person=replace(to.person, identifiers=[one for one in known if one[2] in allowed]))


def _place(before: str) -> tuple[float, int] | None:
    if not before:
        return None
    begun_at, _, number = before.partition("_")
    if int(number) >= 2**63:
        raise HTTPException(422, "A number in this address is too large.")
    return float(begun_at), int(number)

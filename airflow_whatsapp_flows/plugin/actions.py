"""What a user can change on the pages: record whether requests in doubt arrived."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Body, Depends, Header, HTTPException
from fastapi.responses import JSONResponse

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveResult, ResolveSelection, resolve
from airflow_whatsapp_flows.plugin.access import CurrentUser, require
from airflow_whatsapp_flows.plugin.ledger_access import ledger_url, open_ledger
from airflow_whatsapp_flows.plugin.rendering import masked_line
from airflow_whatsapp_flows.plugin.replay_page import ReplayId, visible_replay
from airflow_whatsapp_flows.quantities import plural

router = APIRouter()

LONGEST_ID = 10_000  # characters of an id
_ARRIVED = {"sent": "arrived", "not_sent": "did not arrive"}


def check_origin(
    content_type: str = Header(""),
    x_whatsapp_flows: str = Header(""),
    sec_fetch_site: str = Header("same-origin"),
) -> None:
    """Refuse what a page of another site can send with the user's cookie.

    Such a page can send forms. It cannot set this header or this content type without asking first, and the answer is
    always no.

    Raises:
        HTTPException: it may be such a request: 403.
    """
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    if not is_json or x_whatsapp_flows != "1" or sec_fetch_site != "same-origin":
        raise HTTPException(403, "This request does not come from a page of WhatsApp flows.")


@router.post("/replays/{replay_id}/resolve", dependencies=[Depends(check_origin)])
def resolve_requests(
    decision: Literal["sent", "not_sent"] = Body(),
    response_id: str = Body("", max_length=LONGEST_ID),
    fingerprint: str = Body("", max_length=LONGEST_ID),
    replay_id: str = ReplayId,
    user: Any = CurrentUser,
) -> JSONResponse:
    """Record whether requests in doubt arrived: those of one response, or of all contacts with one error.

    Their contacts are pending then, and a retry resumes them. The ledger keeps who decided, when, and the outcome
    before.
    """
    with open_ledger() as reader:
        replay = visible_replay(reader, replay_id, user)
    require(user, replay.flow_id, "PUT")
    if bool(response_id) == bool(fingerprint) or "\0" in response_id + fingerprint:
        raise HTTPException(422, "Give either a response_id or a fingerprint.")
    which = ResolveSelection(response_id=response_id or None, fingerprint=fingerprint or None)
    with Ledger(ledger_url()) as ledger:
        try:
            done = resolve(ledger, replay, which, Resolution(decision == "sent", str(user.get_name())))
        except ReplayError as error:
            return JSONResponse({"message": masked_line(error)}, 409)
    return JSONResponse({"message": _message(done, decision), "changed": done.contacts > 0})


def _message(done: ResolveResult, decision: str) -> str:
    parts = []
    if done.contacts:
        what = (
            f"{plural(done.attempts, 'request')} of {plural(done.contacts, 'contact')} recorded: {_ARRIVED[decision]}."
        )
        parts.append(f"{what} The next retry of the replay resumes from there.")
    if done.elsewhere:
        reasons = "; ".join(map(masked_line, done.reasons)) or "nothing is in doubt in this replay"
        parts.append(f"{plural(done.elsewhere, 'contact')} not changed: {reasons}.")
    if done.purged:
        parts.append(f"{plural(done.purged, 'contact')} not changed: the response has been purged.")
    return " ".join(parts) or "Nothing is in doubt any more, so nothing was changed."

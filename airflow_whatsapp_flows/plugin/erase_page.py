"""Erases what is stored about a person: the page says what that is, and asks; it does what ``ledger purge`` does."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow.models.log import Log
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.person_history import Person, get_person
from airflow_whatsapp_flows.ledger.purge import (
    DataSelection,
    StoredData,
    find_data,
    find_flows_of,
    find_pending_replays,
    find_remains,
    purge,
)
from airflow_whatsapp_flows.plugin.access import CurrentUser, may, readable
from airflow_whatsapp_flows.plugin.actions import check_origin
from airflow_whatsapp_flows.plugin.addresses import SearchText
from airflow_whatsapp_flows.plugin.ledger_access import find_running, ledger_url, open_ledger
from airflow_whatsapp_flows.plugin.rendering import masked_line, page, query_of
from airflow_whatsapp_flows.replay.erasure import copies_text, erased_text, kept_text

router = APIRouter()

Kind = Literal["phone", "email", "user_id", "id"]
KINDS: dict[Kind, str] = {
    "phone": "a phone number",
    "email": "an e-mail address",
    "user_id": "a user id of WhatsApp",
    "id": "the id of a contact",
}
"""What an identifier may be, as the options of ``ledger purge``, and for people."""
_REMAINS = 20  # responses in the address of the page that shows what remains
_LONGEST_REMAIN = 80  # characters of an id there


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """A person whose data can be erased.

    Attributes:
        kind: what identifies them.
        person: their identifiers.
        flows: the flows, and other DAGs, that have their data.
    """

    kind: Kind
    person: Person
    flows: Sequence[str]

    @property
    def data(self) -> DataSelection:
        """What is erased."""
        return DataSelection(person=self.person)


class ErasureRequest(BaseModel):
    """Whose data to erase: whoever has an identifier of one kind."""

    q: str = Field(min_length=1, max_length=200)
    kind: Kind


@router.get("/people/erase")
def show_erasure(request: Request, q: SearchText = "", kind: Kind | None = None, user: Any = CurrentUser) -> Response:
    """Show what would be erased for whoever has an identifier, and ask for a confirmation."""
    with open_ledger() as ledger:
        people = _find_people(ledger, user, q, kind)
        chosen = people[0] if len(people) == 1 else None
        held, running = StoredData(0, 0, 0, ()), set[str]()
        if chosen is not None:
            _require_all(user, chosen.flows)
            held, running = find_data(ledger, chosen.data), _find_running(ledger, chosen.person)
    return page(
        request,
        "erase.html",
        q=q,
        people=people,
        chosen=chosen,
        kinds=KINDS,
        held=held,
        kept=_kept_text(held) if held.pending else "",
        running=running_text(running) if running else "",
    )


@router.post("/people/erase", dependencies=[Depends(check_origin)])
def erase_person(request: Request, asked: ErasureRequest, user: Any = CurrentUser) -> JSONResponse:
    """Erase the data of whoever has an identifier, as ``ledger purge`` does; Airflow's audit log has it too."""
    with open_ledger() as reader:
        [found] = _find_people(reader, user, asked.q.replace("\0", "").strip(), asked.kind)
        _require_all(user, found.flows)
        if running := _find_running(reader, found.person):
            raise HTTPException(409, running_text(running))
        remains = [one for one in find_remains(reader, found.person) if len(one) <= _LONGEST_REMAIN][:_REMAINS]
    with Ledger(ledger_url()) as ledger:
        held, gone = purge(ledger, found.data, str(user.get_name()))
        copies = copies_text(ledger, gone=gone)
    message = f"Erased: {erased_text(held)}. Keys, states, and times remain. Note that {copies}."
    _log(user, found.flows, held)
    if held.pending:
        message = f"{message} {_kept_text(held)}"
    root = request.scope["root_path"].rstrip("/")
    link = f"{root}/people{query_of(of=remains)}" if remains else f"{root}/"
    return JSONResponse({"message": message, "changed": True, "link": link, "label": "Show what remains"})


def running_text(running: Collection[str]) -> str:
    """Return why nothing is erased while replays run, and what to do."""
    names = ", ".join(masked_line(name, 200) for name in sorted(running)[:5])
    return f"Contacts of this person are pending in a replay that is running: {names}. Let it finish, or stop it."


def _kept_text(held: StoredData) -> str:
    return kept_text(held, lambda name: masked_line(name, 200), "let it be sent there, then erase again.")


def _find_people(ledger: Ledger, user: Any, text: str, kind: Kind | None) -> list[FoundPerson]:
    """Find who has an identifier, of one kind or of any.

    Raises:
        HTTPException: nobody whose data is in a flow that the user may read: 404.
    """
    found = []
    for one in KINDS if kind is None else (kind,):
        try:
            person = get_person(ledger, one, text)
        except ReplayError:
            continue
        flows = sorted(find_flows_of(ledger, person)) if person else []
        if flows and readable(user, flows):
            found.append(FoundPerson(one, person, flows))
    if not found:
        raise HTTPException(404, f"No flow whose DAG you may read has data of {text!r} that can be erased.")
    return found


def _require_all(user: Any, flows: Sequence[str]) -> None:
    """Check that a user may edit the DAGs of all flows.

    Raises:
        HTTPException: they may not: 403, which names those that they may read.
    """
    missing = [flow for flow in flows if not may(user, flow, "PUT")]
    if not missing:
        return
    named = sorted(readable(user, missing))
    texts = [masked_line(flow, 200) for flow in named[:20]]
    texts += [] if len(named) <= 20 else [f"{len(named) - 20} more"]
    texts += [] if len(named) == len(missing) else ["DAGs that you may not read"]
    raise HTTPException(
        403,
        "Erasing a person needs permission to edit the DAG of every flow that has their data. You may not edit: "
        f"{', '.join(texts)}. Ask an administrator of Airflow, or run `whatsapp-flows ledger purge`.",
    )


def _find_running(ledger: Ledger, person: Person) -> set[str]:
    pending = find_pending_replays(ledger, person)
    return pending & find_running(ledger) if pending else set()


def _log(user: Any, flows: Sequence[str], held: StoredData) -> None:
    """Note in Airflow's audit log who has erased data, in the log of each DAG; not whose data it was."""
    name = str(user.get_name())
    extra = json.dumps({"contacts": held.contacts, "requests": held.attempts, "method": "POST"})
    with create_session(scoped=False) as session:
        for flow in flows:
            session.add(Log("erase_person", owner=name, owner_display_name=name, extra=extra, dag_id=flow))

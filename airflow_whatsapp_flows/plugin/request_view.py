"""The request of an attempt as pages show it: masked, and as a program that sends it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.inspect.rebuild import RebuiltRequest, RecordedAttempt, rebuild_requests
from airflow_whatsapp_flows.flow.inspect.request_code import curl_command, python_code, why_not_copied
from airflow_whatsapp_flows.flow.inspect.request_parts import split_request
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.task_attempts import read_recorded_attempts, read_renames
from airflow_whatsapp_flows.plugin.flow_sources import FoundFlow
from airflow_whatsapp_flows.plugin.rendering import json_block, name
from airflow_whatsapp_flows.replay.samples import sample_of

NO_FLOW = (
    "It cannot be shown: this API server has neither the flow file nor a replay of the flow, and the content of "
    "requests is not kept."
)
NO_RESPONSE = "It cannot be shown: the response that it was made of is not kept here, was purged, or is too long."
TOO_MANY = "It cannot be shown: too many requests were sent for this response before."
MAY_NOT_COPY = (
    "A request can be copied by a user who may edit the DAG of the flow: the copy has the contact's values unmasked."
)
NO_ROOM = "It cannot be copied: with the other requests, the page would be too long."
_COPIES = 80_000  # characters of the programs of one page


@dataclass(frozen=True, slots=True)
class ShownRequest:
    """The request of an attempt, or why it is not shown.

    Attributes:
        why_not: one sentence; empty if it is shown.
        line: method and URL, masked.
        headers: names and values, masked.
        body: masked, and indented if its type allows it; empty if there is none.
        curl: a curl command that sends it again; empty if it is not to be copied.
        python: Python code that does.
        not_copied: why it is not to be copied, one sentence.
    """

    why_not: str = ""
    line: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: str = ""
    curl: str = ""
    python: str = ""
    not_copied: str = ""


def show_requests(
    ledger: Ledger,
    flows: Sequence[FoundFlow],
    response: ContactResponse | None,
    numbers: Sequence[int],
    *,
    may_copy: bool,
) -> list[ShownRequest]:
    """Render the requests of some attempts for a response again.

    Args:
        ledger: with the attempts.
        flows: versions of the flow; the one that gives the bytes that were sent is used.
        response: the contact's response; ``None`` if it is not kept.
        numbers: row numbers of the attempts.
        may_copy: whether the user may see the contact's values unmasked.

    Returns:
        The request of each, in their order.
    """
    if not numbers or not flows or response is None:
        return [ShownRequest(why_not=NO_FLOW if not flows else NO_RESPONSE)] * len(numbers)
    flow_id = flows[0].flow.id
    recorded = read_recorded_attempts(ledger, flow_id, response.identity)
    found = _rebuild(flows, response, recorded, read_renames(ledger, flow_id))
    shown: list[ShownRequest] = []
    left = _COPIES if may_copy else None
    for number in numbers:
        one = _show(found.get(number, TOO_MANY), left)
        left = None if left is None else left - len(one.curl) - len(one.python)
        shown.append(one)
    return shown


def _rebuild(
    flows: Sequence[FoundFlow],
    response: ContactResponse,
    recorded: Sequence[RecordedAttempt],
    renames: Mapping[str, str | None],
) -> dict[int, RebuiltRequest | str]:
    """Render requests again, each with the first version of the flow that proves it."""
    found: dict[int, RebuiltRequest | str] = {}
    for one in flows:
        again = rebuild_requests(one.flow, response, recorded, StepIdentities.of(one.flow, renames))
        found = {**again, **{number: shown for number, shown in found.items() if not isinstance(shown, str)}}
        if not any(isinstance(shown, str) for shown in found.values()):
            break
    return found


def _show(rebuilt: RebuiltRequest | str, left: int | None) -> ShownRequest:
    """Return a request as a page shows it.

    Args:
        rebuilt: the request, or why it cannot be shown.
        left: characters of programs for which the page has room; ``None`` if the user may not have them.
    """
    if isinstance(rebuilt, str):
        return ShownRequest(why_not=rebuilt)
    sample = sample_of(rebuilt.action, rebuilt.request, rebuilt.hidden)
    curl = python = ""
    not_copied: str | None = MAY_NOT_COPY
    if left is not None:
        parts = split_request(rebuilt.request, rebuilt.hidden, rebuilt.action.idempotency_header)
        not_copied = why_not_copied(parts)
        if not_copied is None:
            curl, python = curl_command(parts), python_code(parts)
            if len(curl) + len(python) > left:
                curl, python, not_copied = "", "", NO_ROOM
    return ShownRequest(
        line=name(f"{sample.method} {sample.url}", 2000),
        headers=[(name(header, 200), name(value, 1000)) for header, value in sample.headers],
        body=json_block(sample.body),
        curl=curl,
        python=python,
        not_copied=not_copied or "",
    )

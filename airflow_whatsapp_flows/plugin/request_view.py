"""The request of an attempt as pages show it: masked, and as a program that sends it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from airflow_whatsapp_flows.flow.inspect.rebuild import RebuiltRequest, RecordedAttempt, rebuild_requests
from airflow_whatsapp_flows.flow.inspect.request_code import curl_command, python_code, why_not_copied
from airflow_whatsapp_flows.flow.inspect.request_parts import shows_hidden, split_request
from airflow_whatsapp_flows.flow.model import Flow
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
UNKNOWN_FORM = (
    "It cannot be shown: it has a value that the flow calls sensitive, escaped in a way that cannot be hidden here."
)
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
        variables: names of the variables in these programs, with what each holds.
        connection: id of the connection that the flow here names; empty if there is none.
        not_copied: why it is not to be copied, one sentence.
    """

    why_not: str = ""
    line: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: str = ""
    curl: str = ""
    python: str = ""
    variables: Sequence[tuple[str, str]] = ()
    connection: str = ""
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
    found = _rebuild(_hide_alike(flows), response, recorded, read_renames(ledger, flow_id), numbers)
    shown: list[ShownRequest] = []
    left = _COPIES if may_copy else None
    for number in numbers:
        one = _show(found.get(number, TOO_MANY), left)
        left = None if left is None else left - len(one.curl) - len(one.python)
        shown.append(one)
    return shown


def _hide_alike(flows: Sequence[FoundFlow]) -> list[Flow]:
    """Return versions of a flow, each hiding what any of them hides; equal ones once."""
    known = {one.text: one.flow for one in reversed(flows)}
    versions = list(reversed(known.values()))
    sensitive = [reference for flow in versions for reference in flow.sensitive]
    literals = [literal for flow in versions for literal in flow.literals]
    return [
        # Its own first: values are named in recorded results in this order.
        replace(
            flow,
            sensitive=tuple(dict.fromkeys([*flow.sensitive, *sensitive])),
            literals=tuple(dict.fromkeys([*flow.literals, *literals])),
        )
        for flow in versions
    ]


def _rebuild(
    flows: Sequence[Flow],
    response: ContactResponse,
    recorded: Sequence[RecordedAttempt],
    renames: Mapping[str, str | None],
    numbers: Sequence[int],
) -> dict[int, RebuiltRequest | str]:
    """Render requests again, each with the first version of the flow that proves it."""
    found: dict[int, RebuiltRequest | str] = {}
    for flow in flows:
        wanted = [number for number in numbers if not isinstance(found.get(number), RebuiltRequest)]
        again = rebuild_requests(flow, response, recorded, StepIdentities.of(flow, renames), wanted)
        proved = {number: shown for number, shown in again.items() if isinstance(shown, RebuiltRequest)}
        found = {**again, **found, **proved}
        if len(proved) == len(wanted):
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
    request, hidden = rebuilt.request, rebuilt.hidden
    sample = sample_of(rebuilt.action, request, hidden)
    shown = ShownRequest(
        line=name(f"{sample.method} {sample.url}", 2000),
        headers=[(name(header, 200), name(value, 1000)) for header, value in sample.headers],
        body=json_block(sample.body),
        connection=request.connection or "",
        not_copied=why_not_copied(request) or "",
    )
    if shown.not_copied:
        return shown
    parts = split_request(request, hidden, rebuilt.action.idempotency_header)
    if shows_hidden(parts, hidden):
        return ShownRequest(why_not=UNKNOWN_FORM)
    if left is None:
        return replace(shown, not_copied=MAY_NOT_COPY)
    if 2 * len(request.content) > left:
        return replace(shown, not_copied=NO_ROOM)
    curl, python = curl_command(parts), python_code(parts)
    if len(curl) + len(python) > left:
        return replace(shown, not_copied=NO_ROOM)
    variables = [(variable, name(about, 300)) for variable, about in parts.variables.items()]
    return replace(shown, curl=curl, python=python, variables=variables)

"""Formats the error groups of a replay, as text and plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.masking import mask_value
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.request.messages import ErrorKind
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.ledger.groups import ErrorGroup
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.replay.fingerprints import fingerprint, suggestion

_AGAIN, _HANDLED_AGAIN = "`replay retry`", "`replay retry --handled`"


def flow_of_replay(replay: Replay) -> Flow | None:
    """Load the flow of a replay; ``None`` if it was written by a release with a different format."""
    try:
        return load_flow(replay.flow, f"the flow of the replay {replay.id}")
    except FlowFileError:
        return None


def deliveries_of(flow: Flow | None) -> dict[str, Delivery]:
    """Return the delivery of each action, by name."""
    steps = flow.steps.items() if flow is not None else ()
    return {name: step.retry.delivery for name, step in steps if isinstance(step, Action)}


def label_of(group: ErrorGroup) -> str:
    """Return the label of a group, one line; contains no data of a contact that is recognizable by its format."""
    error, sample = group.sample.error, group.sample
    if error is None:
        return fingerprint("flow", None, "", sample.path[-1] if sample.path else "", sample.reason or "").label
    return fingerprint(error["kind"], error["status_code"], error["host"], error["step"], error["message"] or "").label


def suggestion_of(group: ErrorGroup, delivery: Mapping[str, Delivery]) -> str:
    """Return the suggested next step for a group."""
    error = group.sample.error
    if error is None:
        return "check one sample, fix the flow, then `replay retry --flow FILE`"
    mode = delivery.get(error["step"])
    advice = suggestion(ErrorKind(error["kind"]), error["status_code"], in_doubt=group.in_doubt > 0, delivery=mode)
    return advice.replace(_AGAIN, _HANDLED_AGAIN) if group.handled == group.count else advice


def mask_response(group: ErrorGroup, flow: Flow | None) -> Any:
    """Return the masked answers of a group's sample; ``None`` if they were purged."""
    return None if group.response is None else mask_answers(group.response, flow)


def mask_answers(text: str, flow: Flow | None) -> dict[str, Any]:
    """Return the contact and the answers of a response, masked.

    Args:
        text: the response, JSON.
        flow: its flow, which says what is sensitive; ``None`` if unknown.
    """
    response: Mapping[str, Any] = msgspec.json.decode(text)
    shown = {key: value for key, value in response.items() if key in ("contact", "step")}
    if flow is not None and flow.sensitive:
        hidden = Hidden(flow.sensitive)
        hidden.note(Variables(contact=shown.get("contact"), step=shown.get("step")))
        shown = hidden.conceal(shown)
    return {key: mask_value(value) for key, value in shown.items()}


def counts_of(group: ErrorGroup) -> str:
    """Format the number of contacts in a group, and their states."""
    parts = [f"{group.count:,} contact{'' if group.count == 1 else 's'}"]
    if group.handled:
        parts.append(f"{group.handled:,} handled by an error exit")
    if group.in_doubt:
        parts.append(f"{group.in_doubt:,} in doubt")
    return ", ".join(parts)


def error_lines(group: ErrorGroup) -> list[str]:
    """Format a group for a log: counts, label, and the server's reply."""
    lines = [f"error {group.fingerprint}: {counts_of(group)}: {label_of(group)}"]
    return lines if group.reply is None else [*lines, f"  reply: {group.reply}"]


def errors_value(groups: Sequence[ErrorGroup], delivery: Mapping[str, Delivery]) -> list[dict[str, Any]]:
    """Convert groups to plain data: small, and without personal data."""
    return [
        {
            "fingerprint": group.fingerprint,
            "label": label_of(group),
            "count": group.count,
            "handled": group.handled,
            "in_doubt": group.in_doubt,
            "sample": group.sample.id,
            "reply": group.reply,
            "suggestion": suggestion_of(group, delivery),
        }
        for group in groups
    ]

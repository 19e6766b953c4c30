"""What came of a canary as text, for the task log and for the page where a person decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_whatsapp_flows.operators.markdown import escape, table


def canary_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Format what came of a canary for the log.

    Args:
        told: its XCom.
    """
    yield f"canary: {told['size']:,} contacts; {told['held']:,} of {told['total']:,} are held"
    for one in told["exits"]:
        yield f"{one['step']} → {one['exit']}: {one['visits']:,}"
    for step, status, media_type, keys, count in _replies(told):
        yield f"{step}: {status} {media_type} {keys}: {count:,}"


def canary_markdown(told: Mapping[str, Any]) -> str:
    """Format what came of a canary as Markdown.

    Args:
        told: its XCom; empty if there is none.
    """
    return "\n\n".join(part for part in _parts(told) if part) if told else "The canary has left no report."


def _parts(told: Mapping[str, Any]) -> Iterator[str]:
    left = told["held"] - told["others"]
    others = f"{told['others']:,} more, the limit; {left:,} stay pending" if left else f"the other {told['held']:,}"
    yield (
        f"**The first {told['size']:,} of {told['total']:,} contacts were sent.** Approve to send {others}; reject to "
        "stop."
    )
    states = [(name.replace("_", " "), count) for name, count in told["states"].items()]
    yield table(("State", "Contacts"), states)
    yield table(("Step", "Exit", "Visits"), [(one["step"], one["exit"], one["visits"]) for one in told["exits"]])
    yield table(("Step", "Status", "Content type", "Top-level keys", "Replies"), _replies(told))
    errors = [
        (one["label"], one["fingerprint"], one["reply"] or "", one["suggestion"], one["count"])
        for one in told["errors"]
    ]
    yield table(("Error", "Fingerprint", "Reply, for example", "What to do", "Contacts"), errors)
    yield escape("No errors.") if not errors else ""


def _replies(told: Mapping[str, Any]) -> Sequence[tuple[str, str, str, str, int]]:
    return [
        (
            one["step"],
            "no reply" if one["status"] is None else str(one["status"]),
            one["content_type"] or "",
            ", ".join(one["keys"]),
            one["count"],
        )
        for one in told["replies"]
    ]

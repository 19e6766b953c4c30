"""Whether and how the DAG of a replay asks a person, from the block ``replay.approve`` of its flow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.durations import parse_duration
from airflow_whatsapp_flows.flow.format.replay import ApprovalFormat, ReplayFormat
from airflow_whatsapp_flows.flow.model import Flow

_ASKED_AGAIN = dt.timedelta(seconds=5)
_DEFAULTS = {"approve": "Approve", "reject": "Reject"}
_SUBJECT = "{{ dag.dag_id }} waits for your answer"
_MESSAGE = """<p>The task <b>{{ task.task_id }}</b> of the DAG <b>{{ dag.dag_id }}</b> waits for an answer, run
{{ run_id }}.</p>
<p><a href="{{ task.generate_link_to_ui_from_context(context={'task': task, 'task_instance': ti}) }}">Open it</a></p>
"""
"""Contains nothing from the flow's file: Airflow renders it as a template."""


def asks(block: ReplayFormat) -> bool:
    """Whether a replay of a flow may need approval."""
    return bool(block.approve) or block.approve_above is not None


def approve_above(block: ReplayFormat) -> int | None:
    """Return the number of contacts above which a person must approve; ``None`` for never."""
    return 0 if block.approve and block.approve_above is None else block.approve_above


def proposed_canary(block: ReplayFormat) -> int | None:
    """Return the number of contacts that the form proposes to send first."""
    return block.approve.canary if isinstance(block.approve, ApprovalFormat) else None


def highest_rate(block: ReplayFormat) -> float | None:
    """Return the highest rate that may be chosen; rates by host are limits of their own."""
    return block.rate if isinstance(block.rate, (int, float)) else None


def approval_args(flow: Flow, block: ReplayFormat, notifiers: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of the tasks that ask.

    Args:
        flow: the flow.
        block: its ``replay``.
        notifiers: from a DAG file, besides those of the block.

    Raises:
        FlowFileError: it has e-mail addresses, and the provider that sends e-mail is not installed.
    """
    given = block.approve if isinstance(block.approve, ApprovalFormat) else ApprovalFormat()
    told = [*notifiers, *([_email(flow, given)] if given.emails else [])]
    timeout = None if given.timeout is None else parse_duration(given.timeout)
    optional = {
        "notifiers": told,
        "assigned_users": [{"id": user, "name": user} for user in given.users],
        "response_timeout": timeout,
        "defaults": _DEFAULTS.get(given.on_timeout) if timeout else None,
    }
    return {
        # Airflow fails a task that is answered within a second or two; it asks again then.
        "retries": 2,
        "retry_delay": _ASKED_AGAIN,
        **{name: value for name, value in optional.items() if value},
    }


def _email(flow: Flow, given: ApprovalFormat) -> Any:
    try:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    except ImportError:
        message = "e-mail needs the package apache-airflow-providers-smtp: install it, or remove the addresses"
        raise FlowFileError(flow.id, [Fault(message, ("replay", "approve", "emails"))]) from None
    return SmtpNotifier(
        to=list(given.emails), smtp_conn_id=given.smtp_connection, subject=_SUBJECT, html_content=_MESSAGE
    )

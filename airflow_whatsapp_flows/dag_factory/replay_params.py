"""The form that triggers the DAG of a replay: what it replays, or which contacts of an earlier replay it retries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Param

from airflow_whatsapp_flows.flow.format import ReplayFormat
from airflow_whatsapp_flows.flow.model import Action, Flow

STATES = ("failed", "in_doubt", "completed", "skipped", "pending")
"""States that a retry can select; a process that only parses DAG files doesn't import the ledger, which knows them."""

RETRY = (
    "{{ {'retry_of': params.retry_of, 'states': params.states, 'steps': params.steps, "
    "'fingerprint': params.fingerprint, 'responses': params.responses, 'handled': params.handled} | tojson }}"
)
"""Template of what a run retries."""


def build_replay_params(flow: Flow, block: ReplayFormat) -> dict[str, Param]:
    """Build the fields of the form; those of a retry are empty by default.

    Args:
        flow: the flow of the DAG.
        block: its ``replay``.
    """
    return {
        "source": Param(
            block.source,
            type=["string", "null"],
            title="Source of the responses",
            description="a path, a glob, or an object storage URL; with a query, a database URL or a connection id",
        ),
        "dry_run": Param(
            False, type="boolean", title="Dry run", description="plan and count, without sending or storing anything"
        ),
        "note": Param(None, type=["string", "null"], title="Note", description="reason, stored with the replay"),
        **_retry_params(flow),
    }


def _retry_params(flow: Flow) -> dict[str, Param]:
    actions = [name for name, step in flow.steps.items() if isinstance(step, Action)]
    return {
        "retry_of": _text(
            "Retry: id of the replay",
            "instead of the source, send selected contacts of this replay again; requests that succeeded, or may have "
            "been applied, are not sent again",
        ),
        "states": _texts(
            "Retry: states",
            "only contacts in these states; default: failed, or with steps any; `pending` alone resumes the replay",
            STATES,
        ),
        "steps": _texts("Retry: steps", "only contacts whose last attempt of one of these was an error", actions),
        "fingerprint": _text("Retry: fingerprint", "only contacts with this error, as shown on the replay's page"),
        "responses": _texts("Retry: responses", "only contacts with these response ids, one per line"),
        "handled": Param(
            False,
            type="boolean",
            title="Retry: handled errors",
            description="only contacts with an error that an error exit handled, in any ended state",
        ),
    }


def _text(title: str, description: str) -> Param:
    return Param(None, type=["string", "null"], title=title, description=description)


def _texts(title: str, description: str, options: Sequence[str] = ()) -> Param:
    schema: dict[str, Any] = {"examples": list(options)} if options else {}  # a list to choose from
    return Param(None, type=["array", "null"], items={"type": "string"}, title=title, description=description, **schema)

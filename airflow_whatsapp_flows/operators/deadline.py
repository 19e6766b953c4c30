"""What happens when a run of a replay's DAG takes longer than its flow allows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)


async def report_missed_deadline(flow_id: str, allowed: str, context: Mapping[str, Any] | None = None) -> str:
    """Log that a run has missed its deadline; the run continues. Airflow calls it in the triggerer.

    Args:
        flow_id: id of the flow.
        allowed: the duration, as written in the flow.
        context: Airflow's, of the run.

    Returns:
        The message.
    """
    run = (context or {}).get("dag_run") or {}
    run_id = run.get("dag_run_id") or run.get("run_id") or ""
    message = f"the replay of {flow_id} has not ended within {allowed} of its start: run {run_id}; it continues"
    log.warning("%s", message)
    return message

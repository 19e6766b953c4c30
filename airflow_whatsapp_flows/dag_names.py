"""How the DAGs of flows are named and tagged, and where the pages are: both link to each other."""

from __future__ import annotations

from collections.abc import Sequence

TAG = "whatsapp"
"""Tag of every DAG of a flow."""
REPLAY_SUFFIX = "__replay"
"""A flow's replay DAG has the flow's id with this suffix."""
PAGES = "/whatsapp-flows"
"""Path of the pages, below that of Airflow."""


def loop_name(steps: Sequence[str]) -> str:
    """Return the name of the task of a loop, which Airflow may show cut off."""
    return f"Loop: {' → '.join(steps)}"


def replay_of_run(flow_id: str, run_id: str) -> str:
    """Return the name of the replay of a run of a flow's replay DAG."""
    return f"{flow_id}__{run_id}"


def run_of_replay(flow_id: str, replay_id: str) -> str | None:
    """Return the id of the run that a replay's name may come from; ``None`` if it comes from none."""
    prefix = replay_of_run(flow_id, "")
    return replay_id.removeprefix(prefix) if replay_id.startswith(prefix) and replay_id != prefix else None

"""The status of a replay, or of some of its chunks, as plain data; the same for CLI and DAG."""

from __future__ import annotations

import time
from typing import Any

from airflow_whatsapp_flows.ledger.replays import Replay, Tally
from airflow_whatsapp_flows.ledger.rows import ContactState

STATES = (
    ContactState.PENDING,
    ContactState.COMPLETED,
    ContactState.FAILED,
    ContactState.REJECTED,
    ContactState.IN_DOUBT,
    ContactState.SKIPPED,
)
"""All states, in the order in which a status lists them."""


def replay_status(replay: Replay, tally: Tally, elapsed: float | None = None) -> dict[str, Any]:
    """Return the states of contacts, the other counts, and the elapsed time.

    Args:
        replay: the replay.
        tally: counts of the replay, or of some chunks.
        elapsed: seconds; by default the replay's running time.
    """
    if elapsed is None:
        elapsed = replay.run_seconds(time.time())
    return {
        "replay_id": replay.id,
        "flow_id": replay.flow_id,
        "total": tally.total,
        **{state.value: tally.states[state] for state in STATES},
        "handled_errors": tally.handled_errors,
        "unanswered": tally.unanswered,
        "requests": tally.requests,
        "elapsed_s": round(max(0.0, elapsed), 3),
        "handled": tally.handled,
    }

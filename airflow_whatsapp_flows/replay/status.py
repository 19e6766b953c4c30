"""How far a replay, or some chunks of it, has come, as programs read it: one value on every road."""

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
        replay: which one.
        tally: of it, or of some chunks.
        elapsed: seconds; by default those for which the replay ran.
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

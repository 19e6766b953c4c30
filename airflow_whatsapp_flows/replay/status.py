"""Finds a replay by its name, and gives its status, or that of some of its chunks, as plain data: for CLI and DAG."""

from __future__ import annotations

import time
from typing import Any

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, Tally, find_replay, list_replays
from airflow_whatsapp_flows.ledger.rows import ContactState


def get_replay(ledger: Ledger, replay_id: str) -> Replay:
    """Return the replay with a name.

    Raises:
        ReplayError: it does not exist.
        LedgerError: the ledger cannot be read.
    """
    found = find_replay(ledger, replay_id)
    if found is None:
        hint = did_you_mean(replay_id, [replay.id for replay in list_replays(ledger)])
        raise ReplayError(f"there is no replay {replay_id!r} in the ledger {ledger.display_url}{hint}")
    return found


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
        **{state.value: tally.states[state] for state in ContactState},
        "handled_errors": tally.handled_errors,
        "unanswered": tally.unanswered,
        "requests": tally.requests,
        "elapsed_s": round(max(0.0, elapsed), 3),
        "handled": tally.handled,
    }

"""``whatsapp-flows replay list``: all replays in a ledger."""

from __future__ import annotations

import argparse
import json
from typing import Any

from airflow_whatsapp_flows.cli.ledger_access import open_ledger
from airflow_whatsapp_flows.cli.tables import moment, table
from airflow_whatsapp_flows.ledger.replays import Replay, list_replays, states_of_replays
from airflow_whatsapp_flows.ledger.rows import ContactState

_HEAD = ("id", "flow", "state", "created (UTC)", "total", "pending", "failed", "rejected", "in doubt", "note")


def list(options: argparse.Namespace) -> int:  # noqa: A001  # named after its command
    """Print all replays, newest first; return 0."""
    with open_ledger(options) as ledger:
        states = states_of_replays(ledger)
        found = [_as_json(replay, states.get(replay.no, {})) for replay in list_replays(ledger)]
        shown = ledger.display_url
    if options.format == "json":
        print(json.dumps(found, ensure_ascii=False, indent=2))
    elif not found:
        print(f"the ledger {shown} has no replays")
    else:
        print(f"ledger {shown}")
        print(table(_HEAD, [_cells(one) for one in found]))
    return 0


def _as_json(replay: Replay, states: dict[ContactState, int]) -> dict[str, Any]:
    return {
        "replay_id": replay.id,
        "flow_id": replay.flow_id,
        "created_at": moment(replay.created_at).replace(" ", "T") + "Z",
        "source": replay.source,
        "note": replay.note,
        "sealed": replay.sealed,
        "total": sum(states.values()),
        **{state.value: states.get(state, 0) for state in ContactState},
    }


def _cells(one: dict[str, Any]) -> tuple[object, ...]:
    return (
        one["replay_id"], one["flow_id"], _state(one), one["created_at"].rstrip("Z").replace("T", " "),
        one["total"], one["pending"], one["failed"], one["rejected"], one["in_doubt"], one["note"],
    )  # fmt: skip


def _state(one: dict[str, Any]) -> str:
    if not one["sealed"]:
        return "reading"
    return "pending" if one["pending"] else "ended"

"""Results of contacts, made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.results import ActionRecord, ContactResult
from airflow_whatsapp_flows.ledger.rows import ContactState

REPLAY = Replay(1, "r'1", "leads", "{}", "leads.jsonl", None, {}, None, 0.0, None, None, True)
SENT = ActionRecord("Create", 1, 2, "POST", 200, "success", None, "k", 1_700_000_000.25, None, 1_700_000_001.0)
REFUSED = replace(SENT, status_code=422, outcome="error", error_kind="status", reply='{"error":"no list"}')
ERROR = {"step": "Create", "kind": "status", "status_code": 422, "message": "status 422", "reply": REFUSED.reply}


def contact(number: int, *actions: ActionRecord, **more: Any) -> ContactResult:
    """A contact that completed, unless it was refused."""
    failed = any(action.outcome == "error" for action in actions)
    values: dict[str, Any] = {
        "id": f"c-{number}", "place": f"leads.jsonl:{number}", "handled_errors": 0, "path": ["Ask", "Create"],
        "state": ContactState.FAILED if failed else ContactState.COMPLETED, "reason": None,
        "error": ERROR if failed else None, "fingerprint": "f" * 12 if failed else None, "ended_at": 1_700_000_002.0,
    }  # fmt: skip
    return ContactResult(**{**values, "actions": list(actions), "number": number, **more})

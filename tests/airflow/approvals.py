"""Approvals of replays in a real Airflow, answered through its API; takes two or three minutes.

Airflow runs with a scheduler, an API server, and a DAG processor. The receiving server counts the requests:

- a canary of two contacts, which is approved, and then the others;
- a canary whose others are rejected, and released when the task is cleared and asks again;
- a replay that is rejected;
- an approval that nobody answers, and that rejects by itself.

::

    python -m tests.airflow.approvals
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
from pathlib import Path
from typing import Any

from tests.airflow.clear_and_resend import Api, Crm, check_parts, dag_ids, difference
from tests.airflow.replay_with_killed_worker import wait_until

DAG_FILE = """from airflow_whatsapp_flows import load_dags

globals().update(load_dags("flows"))  # airflow dag
"""
RUN = "by-hand"
FLOWS: dict[str, Any] = {
    "approved": {"canary": 2},
    "stopped": {"canary": 2},
    "rejected": True,
    "unanswered": {"timeout": "5s", "on_timeout": "reject"},
}
ROWS = 6


def main() -> int:
    """Run all checks; returns 0 if every promise was kept."""
    return check_parts(
        write_files, "approved__replay", [approve_canary, stop_after_canary, reject_plan, leave_unanswered]
    )


def write_files(folder: Path) -> None:
    """Write the DAG file, the flows, and their responses."""
    flows = folder / "dags" / "flows"
    flows.mkdir(parents=True)
    (folder / "dags" / "dags_of_this_test.py").write_text(DAG_FILE, encoding="utf-8")
    rows = [{"id": f"r-{row}", "contact": {"phone": phone(row)}} for row in range(ROWS)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    step = {"name": "Create", "type": "action", "connection": "crm", "body": {"phone": "{{ contact.phone }}"}}
    for name, approve in FLOWS.items():
        replay = {"source": str(folder / "rows.jsonl"), "chunk_size": 4, "approve": approve}
        flow = {"flow_format": 1, "id": name, "replay": replay, "steps": [{**step, "url": f"/{name}"}]}
        (flows / f"{name}.json").write_text(json.dumps(flow), encoding="utf-8")


def phone(row: int) -> str:
    """The phone number of a row."""
    return f"+525550000{row:03}"


def rows(*numbers: int) -> dict[str, int]:
    """Some rows, each sent once."""
    return {phone(number): 1 for number in numbers}


def approve_canary(api: Api, crm: Crm) -> list[str]:
    """A canary of another size than proposed is sent, and after its approval the others."""
    trigger(api, "approved")
    page = answer(api, "approved", "approve", "Approve", canary=3, limit=None, rate=100)
    wrong = difference("fields", sorted(page["params"]), ["canary", "limit", "rate"])
    wrong += difference("proposal", page["params"]["canary"]["value"], 2)
    wrong += difference("a table of the plan", "| to be sent | 6 |" in page["body"], True)
    decision = ask(api, "approved", "approve_canary")
    wrong += difference("sent first", crm.count_sent("/approved"), rows(0, 1, 2))
    wrong += difference("a table of replies", "| Create | 201 | application/json | id | 3 |" in decision["body"], True)
    answer(api, "approved", "approve_canary", "Approve")
    wrong += difference("state", final_state(api, "approved"), "success")
    return wrong + difference("sent", crm.count_sent("/approved"), rows(*range(ROWS)))


def stop_after_canary(api: Api, crm: Crm) -> list[str]:
    """Rejecting after the canary stops; clearing the task asks again."""
    trigger(api, "stopped")
    answer(api, "stopped", "approve", "Approve")
    answer(api, "stopped", "approve_canary", "Reject")
    wrong = difference("state", final_state(api, "stopped"), "failed")
    wrong += difference("sent", crm.count_sent("/stopped"), rows(0, 1))
    clear = {"dag_run_id": RUN, "dry_run": False, "only_failed": False, "task_ids": ["approve_canary"]}
    api("POST", "/dags/stopped__replay/clearTaskInstances", {**clear, "include_downstream": True})
    answer(api, "stopped", "approve_canary", "Approve")
    wrong += difference("state after the clear", final_state(api, "stopped"), "success")
    return wrong + difference("sent after the clear", crm.count_sent("/stopped"), rows(*range(ROWS)))


def reject_plan(api: Api, crm: Crm) -> list[str]:
    """Nothing is sent."""
    trigger(api, "rejected")
    answer(api, "rejected", "approve", "Reject")
    return difference("state", final_state(api, "rejected"), "failed") + difference(
        "sent", crm.count_sent("/rejected"), {}
    )


def leave_unanswered(api: Api, crm: Crm) -> list[str]:
    """The timeout rejects, and nothing is sent."""
    trigger(api, "unanswered")
    return difference("state", final_state(api, "unanswered"), "failed") + difference(
        "sent", crm.count_sent("/unanswered"), {}
    )


def trigger(api: Api, flow: str) -> None:
    """Trigger the DAG of a flow's replay."""
    wait_until(f"{flow}__replay is there", lambda: f"{flow}__replay" in dag_ids(api))
    api("POST", f"/dags/{flow}__replay/dagRuns", {"dag_run_id": RUN, "logical_date": None, "conf": {}})


def ask(api: Api, flow: str, task: str) -> Any:
    """The question of a task, once it waits for its answer."""
    place = f"/dags/{flow}__replay/dagRuns/{RUN}/taskInstances/{task}"

    def find_question() -> Any:
        try:
            state = api("GET", place)["state"]
            question = api("GET", f"{place}/-1/hitlDetails")
        except urllib.error.HTTPError:  # it has not asked yet
            return None
        is_waiting = state in ("awaiting_input", "deferred")
        return question if is_waiting and not question["response_received"] else None

    return wait_until(f"{task} of {flow} asks", find_question)


def answer(api: Api, flow: str, task: str, option: str, **fields: Any) -> Any:
    """Answer the question of a task; returns the question."""
    question = ask(api, flow, task)
    time.sleep(10)  # Airflow may fail a task that is answered before its scheduler knows that it waits
    place = f"/dags/{flow}__replay/dagRuns/{RUN}/taskInstances/{task}/-1/hitlDetails"
    api("PATCH", place, {"chosen_options": [option], "params_input": fields})
    return question


def final_state(api: Api, flow: str) -> str:
    """The state of a run, once it has ended."""

    def find_state() -> str | None:
        state = api("GET", f"/dags/{flow}__replay/dagRuns/{RUN}")["state"]
        return state if state in ("success", "failed") else None

    state: str = wait_until(f"{flow} has ended", find_state)
    print(f"{flow}: {state}", flush=True)
    return state


if __name__ == "__main__":
    sys.exit(main())

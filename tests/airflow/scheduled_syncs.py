"""Scheduled replays in a real Airflow; takes two or three minutes.

Airflow runs with a scheduler, an API server, and a DAG processor. The receiving server counts the requests:

- a daily replay of a database catches up over three days;
- another one runs for the last day, is backfilled through Airflow's API for two days before, and retries a refused
  contact by the params of a run;
- a replay that an asset starts.

::

    python -m tests.airflow.scheduled_syncs
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tests.airflow.clear_and_resend import Crm, check_parts, dag_ids, difference
from tests.airflow.replay_with_killed_worker import Api, run_one, wait_until

TODAY = dt.datetime.now(dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
DAG_FILE = """from airflow_whatsapp_flows import load_dags

globals().update(load_dags("flows"))  # airflow dag
"""
QUERY = (
    'SELECT id, phone AS "contact.phone" FROM leads '
    "WHERE updated_at >= :data_interval_start AND updated_at < :data_interval_end"
)
LAST_DAY, HOURS = 9, (0, 6, 12, 18)


def main() -> int:
    """Run all checks; returns 0 if every promise was kept."""
    return check_parts(write_files, "recent__replay", [catch_up, backfill, retry_contact, start_by_asset])


def write_files(folder: Path) -> None:
    """Write the DAG file, the flows, and their sources: four leads on each of the last days, the first at midnight."""
    flows = folder / "dags" / "flows"
    flows.mkdir(parents=True)
    (folder / "dags" / "dags_of_this_test.py").write_text(DAG_FILE, encoding="utf-8")
    with sqlite3.connect(folder / "leads.db") as connection:
        connection.execute("CREATE TABLE leads (id TEXT, phone TEXT, updated_at TEXT)")
        rows = [
            (phone(days, hour), phone(days, hour), str((TODAY - dt.timedelta(days, hours=-hour)).replace(tzinfo=None)))
            for days in range(LAST_DAY + 1)
            for hour in HOURS
        ]
        connection.executemany("INSERT INTO leads VALUES (?, ?, ?)", rows)
    connection.close()
    (folder / "leads.jsonl").write_text(json.dumps({"id": "a", "contact": {"phone": phone(99, 0)}}), encoding="utf-8")
    step = {"name": "Create", "type": "action", "connection": "crm", "body": {"phone": "{{ contact.phone }}"}}
    replay = {"schedule": "@daily", "source": f"sqlite:///{folder / 'leads.db'}", "query": QUERY}
    by_asset = {"schedule": {"assets": ["x-crm://leads"]}, "source": str(folder / "leads.jsonl")}
    start = f"{TODAY - dt.timedelta(days=3):%Y-%m-%d}"
    for flow in (
        {"id": "caught_up", "replay": replay, "airflow": {"start_date": start}},
        {"id": "recent", "replay": replay, "airflow": {"start_date": "2026-01-01", "catchup": False}},
        {"id": "by_asset", "replay": by_asset},
    ):
        whole = {"flow_format": 1, **flow, "steps": [{**step, "url": f"/{flow['id']}"}]}
        (flows / f"{flow['id']}.json").write_text(json.dumps(whole), encoding="utf-8")


def phone(days: int, hour: int) -> str:
    """The phone number of the lead of an hour, some days ago."""
    return f"+52555{days:03}{hour:04}"


def leads_of(*days: int) -> dict[str, int]:
    """Every lead of some days, once."""
    return {phone(ago, hour): 1 for ago in days for hour in HOURS}


def catch_up(api: Api, crm: Crm) -> list[str]:
    """Three runs, one for each complete day since the start."""
    states = final_states(api, "caught_up__replay", 3)
    return difference("states", states, ["success"] * 3) + difference(
        "sent", crm.count_sent("/caught_up"), leads_of(1, 2, 3)
    )


def backfill(api: Api, crm: Crm) -> list[str]:
    """A backfill reads the days that it is for; a lead is refused."""
    wrong = difference("states", final_states(api, "recent__replay", 1), ["success"])
    wrong += difference("sent", crm.count_sent("/recent"), leads_of(1))
    crm.refused = {phone(6, 12)}
    days = {name: (TODAY - dt.timedelta(ago)).isoformat() for name, ago in (("from_date", 6), ("to_date", 5))}
    api("POST", "/backfills", {"dag_id": "recent__replay", **days, "max_active_runs": 1})
    states = final_states(api, "recent__replay", 3)
    return [
        *wrong,
        *difference("states after the backfill", sorted(states), ["failed", "success", "success"]),
        *difference("sent after the backfill", crm.count_sent("/recent"), leads_of(1, 5, 6)),
    ]


def retry_contact(api: Api, crm: Crm) -> list[str]:
    """A run with the id of a replay sends its failed contact again."""
    crm.refused = set()
    runs = api("GET", "/dags/recent__replay/dagRuns")["dag_runs"]
    failed = next(run["dag_run_id"] for run in runs if run["state"] == "failed")
    conf = {"retry_of": f"recent__{failed}", "states": ["failed"], "steps": ["Create"]}
    return difference("state", run_one(api, "recent__replay", "retry", conf), "success") + difference(
        "sent", crm.count_sent("/recent"), {**leads_of(1, 5, 6), phone(6, 12): 2}
    )


def start_by_asset(api: Api, crm: Crm) -> list[str]:
    """An event of its asset starts a replay."""
    wait_until("by_asset__replay is there", lambda: "by_asset__replay" in dag_ids(api))
    (asset,) = api("GET", "/assets?uri_pattern=x-crm")["assets"]
    api("POST", "/assets/events", {"asset_id": asset["id"], "extra": {}})
    states = final_states(api, "by_asset__replay", 1)
    return difference("states", states, ["success"]) + difference(
        "sent", crm.count_sent("/by_asset"), {phone(99, 0): 1}
    )


def final_states(api: Api, dag_id: str, number: int) -> list[Any]:
    """The states of the runs of a DAG, once there are so many, and all have ended."""

    def find_states() -> Any:
        runs = api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"] if dag_id in dag_ids(api) else []
        found = [run["state"] for run in runs]
        return found if len(found) >= number and not {"queued", "running"} & set(found) else None

    states: list[Any] = wait_until(f"{number} runs of {dag_id} have ended", find_states)
    print(f"{dag_id}: {', '.join(states)}", flush=True)
    return states


if __name__ == "__main__":
    sys.exit(main())

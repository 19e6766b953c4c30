"""``make demo``: two contacts through a real Airflow DAG run, then 1,000 recorded responses through a replay.

Both go to a demo CRM that fails. Everything it makes is in ``.demo/`` of the checkout; everything it starts is stopped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from airflow_environment import drop_inherited_airflow
from demo_crm.process import running
from demo_desk import call, say
from demo_replay import REPLAY, replay_batch

REPOSITORY = Path(__file__).resolve().parent.parent
STATE = REPOSITORY / ".demo"
FLOW = "lead_to_crm"
CONTACTS: tuple[dict[str, Any], ...] = (
    {
        "id": "r-001",
        "contact": {"phone": "+525512345678", "first_name": "Ana"},
        "step": {"Ask name": "Ana María", "Ask age": 41},
    },
    {
        "id": "r-002",
        "contact": {"phone": "+525587654321", "first_name": "Luis"},
        "step": {"Ask name": "Luis {{ 7*7 }}", "Ask age": 35},
    },
)
UNLUCKY = CONTACTS[1]["contact"]["phone"]


def main() -> int:
    """Run the demo; returns the exit status."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, interrupt)
    shutil.rmtree(STATE, ignore_errors=True)
    (STATE / "airflow").mkdir(parents=True)
    with running(STATE / "crm.db") as crm:
        say(f"The demo CRM listens on {crm}.")
        configure(crm)
        say("Making Airflow's database …")
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        say(f"From now on the CRM answers 500 to every request about {UNLUCKY}, leads excepted.\n")
        call("PUT", f"{crm}/_switches", {"path": "/v1/contacts", "phones": [UNLUCKY], "status": 500})
        succeeded = [run_contact(contact) for contact in CONTACTS]
        show_crm(crm)
        succeeded.append(replay_batch(crm, STATE, REPOSITORY))
    say("Everything is stopped. `make ui` shows the same flows in Airflow's pages. The ledger is still there:")
    say(f"  AIRFLOW_HOME=.demo/airflow .venv/bin/whatsapp-flows replay status {REPLAY}")
    return 0 if all(succeeded) else 1


def configure(crm: str) -> None:
    """Set up Airflow for this process and those it starts."""
    drop_inherited_airflow(os.environ)
    os.environ.update(
        {
            "AIRFLOW_HOME": str(STATE / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_CRM": crm,
        }
    )


def run_contact(contact: dict[str, Any]) -> bool:
    """Run the flow's DAG for one contact and print what happened; returns whether the run succeeded."""
    say(f"Contact {contact['id']}, {contact['contact']['phone']}, answered {contact['step']}")
    with quiet():
        from airflow.dag_processing.dagbag import DagBag

        dag = DagBag(dag_folder=str(REPOSITORY / "dags")).dags[FLOW]
        run = dag.test(run_conf=contact)
        results = results_of(run)
        order = {task_id: place for place, task_id in enumerate(task.task_id for task in dag.topological_sort())}
    for ti in sorted(run.get_task_instances(), key=lambda found: order[found.task_id]):
        name, result = dag.get_task(ti.task_id).task_display_name, result_text(results.get(ti.task_id))
        say(f"  {name:<36} {ti.state or '-':<8} {result}")
    say(f"  DAG run {run.run_id}: {run.state}\n")
    return str(run.state) == "success"


def results_of(run: Any) -> dict[str, Any]:
    """What each task of a run returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = (XComModel.dag_id == run.dag_id, XComModel.run_id == run.run_id, XComModel.key == "return_value")
    with create_session() as session:
        return {
            row.task_id: XComModel.deserialize_value(row) for row in session.scalars(select(XComModel).where(*wanted))
        }


def result_text(result: Any) -> str:
    """Format what a task returned as one line."""
    if not isinstance(result, dict):
        return ""
    if "outcome" in result:
        error = result["error"]
        reply = json.dumps(result["response"], ensure_ascii=False)
        more = f" ({error['kind']}: {error['message']})" if error else ""
        return f"{result['outcome']} exit: {result['method']} → {result['status_code']} {reply[:70]}{more}"
    text = f' says "{result["text"]}"' if result.get("text") else ""
    return f"{result.get('exit') or 'ends'} → {result.get('next') or 'end'}{text}"


def show_crm(crm: str) -> None:
    """Print what the CRM now holds."""
    say("What the CRM now holds:")
    for contact in call("GET", f"{crm}/v1/contacts"):
        say(f"  contact {json.dumps(contact, ensure_ascii=False)}")
    for request in call("GET", f"{crm}/_requests"):
        applied = "applied" if request["applied"] else "not applied"
        say(f"  request {request['method']} {request['path']} → {request['status']}, {applied}: {request['body_text']}")
    say("")


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End as after Ctrl-C, so that what was started is stopped."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Airflow's own log lines and warnings off the terminal."""
    logging.disable(logging.WARNING)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

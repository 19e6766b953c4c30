"""A replay DAG of 5,000 contacts in a real Airflow, whose worker is killed midway; takes some minutes.

Airflow runs with a scheduler, an API server, a DAG processor, and LocalExecutor. The replay waits for approval, gets it
through the API, and starts to send; then the process that owns a chunk is killed. Airflow's retry resumes the replay,
and the checker compares the CRM's log with the ledger::

    python -m tests.airflow.replay_with_killed_worker [--delivery keyed|at_most_once] [--contacts 5000]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.airflow.promises import report
from tests.replay.checker import History, violations
from tests.replay.ledger_history import read_attempts, read_contacts, read_states
from tests.servers.crm_log import REPOSITORY, running_crm

sys.path.insert(0, str(REPOSITORY / "docker"))

from airflow_environment import drop_inherited_airflow
from ui import free_port, stop_group, wait_until_up

FLOW = "leads"
DAG_ID = f"{FLOW}__replay"
RUN_ID = "by-hand"
REPLAY_ID = f"{FLOW}__{RUN_ID}"
CONCURRENCY = 64
PATIENCE = 420.0
DAG_FILE = """from airflow_whatsapp_flows import load_dags  # airflow dag
globals().update(load_dags("flows"))
"""


def main() -> int:
    """Run all checks; returns 0 if every promise was kept."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--delivery", choices=("keyed", "at_most_once"), default="keyed")
    options.add_argument("--contacts", type=int, default=5000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-airflow-") as folder:
        return run(Path(folder), chosen.delivery, chosen.contacts)


def run(folder: Path, delivery: str, contacts: int) -> int:
    """Run it in a folder."""
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    with running_crm(folder / "crm.log", latency_ms=100, dedupe=delivery == "keyed") as crm:
        write_dags(folder, delivery, contacts)
        with running_airflow(folder, crm.url, ledger) as api:
            api("POST", f"/dags/{DAG_ID}/dagRuns", {"dag_run_id": RUN_ID, "logical_date": None})
            approve(api)
            wait_until("a third is sent", lambda: crm.counts()["requests"] >= contacts / 3 or final_state(api))
            if final_state(api):
                raise RuntimeError("the DAG run ended before its time")
            victim = owner_of_a_chunk(ledger)
            os.kill(victim, signal.SIGKILL)
            print(f"killed {victim} after {crm.counts()['requests']:.0f} requests", flush=True)
            state = wait_until("the DAG run has ended", lambda: final_state(api))
            tries = api("GET", f"/dags/{DAG_ID}/dagRuns/{RUN_ID}/taskInstances")["task_instances"]
        history = History(
            contacts=read_contacts(ledger, REPLAY_ID),
            attempts=read_attempts(ledger),
            log=crm.requests(),
            steps={"/contacts": "Create"},
            delivery={"Create": delivery},
            total=contacts,
            kills=1,
            concurrency=CONCURRENCY,
        )
    for one in tries:
        print(f"  {one['task_id']}[{one['map_index']}]: {one['state']} at try {one['try_number']}")
    print(f"DAG run: {state}; {dict(read_states(ledger, REPLAY_ID))}; {len(history.log)} requests at the CRM")
    broken = violations(history)
    if state != "success":
        broken.append(f"the DAG run ended as {state}")
    if max(one["try_number"] for one in tries) < 2:
        broken.append("no task was tried again: the kill missed")
    return report(broken)


def write_dags(folder: Path, delivery: str, contacts: int) -> None:
    """Write the DAG file, the flow, and its responses."""
    flows = folder / "dags" / "flows"
    flows.mkdir(parents=True)
    (folder / "dags" / "flows_of_this_test.py").write_text(DAG_FILE, encoding="utf-8")
    source = folder / "responses.jsonl"
    rows = ({"id": f"r-{number}", "contact": {"phone": f"+52555{number:07}"}} for number in range(contacts))
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    step = {"name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "delivery": delivery}
    flow = {
        "flow_format": 1,
        "id": FLOW,
        "replay": {
            "source": str(source),
            "chunk_size": contacts // 2,
            "concurrency": CONCURRENCY,
            "approve_above": contacts // 10,
            # Under at_most_once, requests in flight when the worker died stay in doubt, and are named.
            "fail_when": "any" if delivery == "keyed" else "never",
        },
        "steps": [{**step, "body": {"phone": "{{ contact.phone }}"}}],
    }
    (flows / f"{FLOW}.json").write_text(json.dumps(flow), encoding="utf-8")


@dataclass(frozen=True)
class Api:
    """Airflow's API, as a callable.

    Attributes:
        address: of its pages too.
        token: of an administrator.
    """

    address: str
    token: str

    def __call__(self, method: str, path: str, value: Any = None) -> Any:
        """Call it."""
        return call(f"{self.address}/api/v2{path}", method, value, self.token)


@contextmanager
def running_airflow(
    folder: Path, url: str, ledger: str, dag_id: str = DAG_ID, settings: Mapping[str, str] | None = None
) -> Iterator[Api]:
    """Airflow with a connection ``crm``; yields its API, once the DAG is there."""
    port = free_port(0)
    inherited = dict(os.environ)
    drop_inherited_airflow(inherited)
    environment = {
        **inherited,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", ""))),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port(0)),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port(0)),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__WHATSAPP_FLOWS__LEDGER": ledger,
        "AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS": url.partition("://")[2].rstrip("/"),
        "AIRFLOW_CONN_CRM": url,
        **(settings or {}),
    }
    with open(folder / "airflow.log", "ab") as log:
        airflow = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        if not wait_until_up(airflow, f"{address}/api/v2/monitor/health"):
            raise RuntimeError((folder / "airflow.log").read_text(encoding="utf-8")[-5000:])
        api = Api(address, call(f"{address}/auth/token")["access_token"])
        wait_until("the DAG is there", lambda: none_if_unreachable(lambda: api("GET", f"/dags/{dag_id}")))
        yield api
    except BaseException:
        print((folder / "airflow.log").read_text(encoding="utf-8", errors="replace")[-8000:], file=sys.stderr)
        raise
    finally:
        stop_group(airflow)


def call(url: str, method: str = "GET", value: Any = None, token: str | None = None) -> Any:
    """A call of Airflow's API."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    content = None if value is None else json.dumps(value).encode()
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method=method), timeout=60) as reply:
        return json.load(reply)


def approve(api: Callable[..., Any]) -> None:
    """Wait for the question, check that nothing was sent before the answer, and approve."""
    task = f"/dags/{DAG_ID}/dagRuns/{RUN_ID}/taskInstances/approve/-1/hitlDetails"
    question = wait_until("the question is asked", lambda: none_if_unreachable(lambda: api("GET", task)))
    asked = time.time()
    print(question["body"], flush=True)
    # Airflow fails a task that is answered before its scheduler knows that it waits.
    wait_until("the scheduler has heard of it", lambda: time.time() > asked + 10)
    api("PATCH", task, {"chosen_options": ["Approve"], "params_input": {}})


def owner_of_a_chunk(ledger: str) -> int:
    """The process that owns a chunk with contacts to send."""
    import sqlite3

    with sqlite3.connect(ledger.removeprefix("sqlite:///")) as connection:
        query = (
            "SELECT owner FROM whatsapp_flows_chunks k WHERE owner IS NOT NULL AND EXISTS (SELECT 1 FROM "
            "whatsapp_flows_contacts c WHERE c.replay_no = k.replay_no AND c.chunk = k.chunk AND c.state = 'pending')"
        )
        [owner, *_] = connection.execute(query).fetchall()
    return int(owner[0].rpartition(":")[2])


def final_state(api: Callable[..., Any]) -> str | None:
    """The state of the DAG run, once it has ended."""
    state = api("GET", f"/dags/{DAG_ID}/dagRuns/{RUN_ID}")["state"]
    return state if state in ("success", "failed") else None


def none_if_unreachable(ask: Callable[[], Any]) -> Any:
    """The result of a call, or None while the API is unreachable."""
    try:
        return ask()
    except (urllib.error.URLError, OSError):
        return None


def run_one(api: Api, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> str:
    """Run a DAG once; returns its final state."""
    api("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}})

    def final_state() -> str | None:
        state = api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state if state in ("success", "failed") else None

    state: str = wait_until(f"the run {run_id} of {dag_id} has ended", final_state)
    return state


def wait_until(what: str, ask: Callable[[], Any]) -> Any:
    """Poll until the answer is true, and return it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.5)
    raise TimeoutError(f"waited {PATIENCE:.0f} s in vain until {what}")


if __name__ == "__main__":
    sys.exit(main())

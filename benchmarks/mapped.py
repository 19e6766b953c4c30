"""CPU of one contact of a replay against CPU of one mapped ``HttpOperator`` task, one after the other.

The mapped tasks run in a real Airflow: API server, scheduler and DAG processor as processes, LocalExecutor, SQLite.
Counted is the CPU of all of its processes during the run, less what they take while idle. The contacts go through a
whole replay, its start included.

    python benchmarks/mapped.py [--tasks 60] [--contacts 20000]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.replay import replay, write_responses
from benchmarks.server import running_server
from tests.airflow.replay_with_killed_worker import running_airflow, wait_until

DAG = """
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG

with DAG("mapped", schedule=None):
    HttpOperator.partial(
        task_id="post", http_conn_id="crm", endpoint="/", method="POST", headers={{"Content-Type": "application/json"}}
    ).expand(data=['{{"number": %d}}' % number for number in range({tasks})])
"""
_TICKS = os.sysconf("SC_CLK_TCK")


def mapped(url: str, tasks: int, folder: Path) -> float:
    """Seconds of CPU that Airflow takes for one mapped task."""
    (folder / "dags").mkdir()
    (folder / "dags" / "mapped.py").write_text(DAG.format(tasks=tasks), encoding="utf-8")
    with running_airflow(folder, url, f"sqlite:///{folder / 'unused.db'}", "mapped") as api:
        time.sleep(10)  # until it has settled
        begun, before = time.monotonic(), _cpu_of_children()
        time.sleep(15)
        idle = (_cpu_of_children() - before) / (time.monotonic() - begun)
        begun, before = time.monotonic(), _cpu_of_children()
        api("POST", "/dags/mapped/dagRuns", {"dag_run_id": "r", "logical_date": None})
        state = wait_until("the tasks have run", lambda: _ended(api("GET", "/dags/mapped/dagRuns/r")["state"]))
        took = time.monotonic() - begun
        cpu = _cpu_of_children() - before - idle * took
    if state != "success":
        raise RuntimeError(f"the DAG run ended as {state}")
    print(f"  mapped: {tasks} tasks in {took:.0f} s, {cpu / tasks:.3f} s CPU each (idle: {idle:.3f} s CPU a second)")
    return cpu / tasks


def _ended(state: str) -> str | None:
    return state if state in ("success", "failed") else None


def _cpu_of_children() -> float:
    """Seconds of CPU of the processes that descend from this one, those that have ended and been reaped included."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS
    ours, found = {os.getpid()}, set()
    while ours:
        ours = {pid for pid, parent in parents.items() if parent in ours} - found
        found |= ours
    return sum(used[pid] for pid in found)


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tasks", type=int, default=60)
    options.add_argument("--contacts", type=int, default=20_000)
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as name,
        running_server() as url,
    ):
        folder = Path(name)
        print("CPU of one contact against one mapped HttpOperator task")
        task = mapped(url, chosen.tasks, folder)
        write_responses(folder / "responses.jsonl", chosen.contacts)
        figures = replay(url, folder / "responses.jsonl", f"sqlite:///{folder / 'ledger.db'}")
        print(f"  replay: {chosen.contacts} contacts, {figures.cpu_us:.0f} us CPU each")
        print(f"  one contact is 1/{task / figures.cpu_us * 1e6:.0f} of a mapped task (asked: at most 1/1000)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

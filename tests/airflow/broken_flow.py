"""Fifty flows in a real Airflow, one of them broken; it needs a minute.

Airflow's DAG processor repeatedly reads a folder of 50 flow files. One file has a fault: 49 flows are live, one import
error gives line and column, and the placeholder of the broken flow's DAG fails with the fault. Then the file is fixed,
and its DAG is restored::

    python -m tests.airflow.broken_flow
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.airflow.promises import report
from tests.airflow.replay_with_killed_worker import DAG_FILE, Api, run_one, running_airflow, wait_until
from tests.servers.recording import RecordingServer

FLOWS = 50
BROKEN = "flow_07"
HEALTH_FILE = """from airflow_whatsapp_flows.dag_factory import raise_faults  # airflow dag
raise_faults("flows")
"""


def main() -> int:
    """Run all checks; returns 0 if every promise was kept."""
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-airflow-") as folder:
        broken = run(Path(folder))
    return report(broken)


def run(folder: Path) -> list[str]:
    """Run the checks in a folder; returns broken promises."""
    file = write_dags(folder)
    server = RecordingServer()
    wrong: list[str] = []
    environment = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2"}
    try:
        ledger = f"sqlite:///{folder / 'ledger.db'}"
        with running_airflow(folder, server.url, ledger, "flow_00", environment) as api:
            wait_until("the faults are shown", lambda: import_errors(api))
            wait_until("every flow has its DAG", lambda: len(dags(api)) == FLOWS)
            errors = import_errors(api)
            print(errors[0]["stack_trace"], flush=True)
            line, column = find_text("Nope", file)
            expected = f"{BROKEN}.json:{line}:{column}: there is no step named 'Nope'"
            if len(errors) != 1 or expected not in errors[0]["stack_trace"]:
                wrong.append(f"the import errors are not one with {expected!r}: {errors}")
            live = {dag_id for dag_id in dags(api) if not is_stand_in(api, dag_id)}
            if live != {name(number) for number in range(FLOWS)} - {BROKEN}:
                wrong.append(
                    f"{len(live)} flows are live, and {BROKEN} is {'' if BROKEN in live else 'not '}among them"
                )
            if (state := run_one(api, BROKEN, "while_broken")) != "failed":
                wrong.append(f"a run of the broken flow ended as {state}")
            file.write_text(file.read_text(encoding="utf-8").replace("Nope", "Bye"), encoding="utf-8")
            wait_until("the import error is gone", lambda: not import_errors(api))
            wait_until("the flow is live again", lambda: not is_stand_in(api, BROKEN))
            if (state := run_one(api, BROKEN, "when_mended")) != "success":
                wrong.append(f"a run of the mended flow ended as {state}")
            runs = [one["dag_run_id"] for one in api("GET", f"/dags/{BROKEN}/dagRuns")["dag_runs"]]
            if set(runs) != {"while_broken", "when_mended"}:
                wrong.append(f"its history is {runs}")
    finally:
        server.close()
    return wrong


def name(number: int) -> str:
    """The id of one flow."""
    return f"flow_{number:02}"


def write_dags(folder: Path) -> Path:
    """Write the DAG files and the flows; returns the broken file."""
    flows = folder / "dags" / "flows"
    flows.mkdir(parents=True)
    (folder / "dags" / "whatsapp_flows.py").write_text(DAG_FILE, encoding="utf-8")
    (folder / "dags" / "whatsapp_flows_health.py").write_text(HEALTH_FILE, encoding="utf-8")
    for number in range(FLOWS):
        target = "Nope" if name(number) == BROKEN else "Bye"
        flow = {
            "flow_format": 1,
            "id": name(number),
            "steps": [
                {"name": "Hi", "type": "message", "body": "Hi", "next": target},
                {"name": "Bye", "type": "message", "body": "Bye"},
            ],
        }
        (flows / f"{name(number)}.json").write_text(json.dumps(flow, indent=1), encoding="utf-8")
    return flows / f"{BROKEN}.json"


def find_text(word: str, file: Path) -> tuple[int, int]:
    """Line and column of a text value in a file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    number = next(at for at, line in enumerate(lines) if f'"{word}"' in line)
    return number + 1, lines[number].index(f'"{word}"') + 1


def import_errors(api: Api) -> list[dict[str, Any]]:
    """The import errors that Airflow shows."""
    found: list[dict[str, Any]] = api("GET", "/importErrors")["import_errors"]
    return found


def dags(api: Api) -> list[str]:
    """Ids of the DAGs that Airflow shows."""
    return [dag["dag_id"] for dag in api("GET", "/dags?limit=100")["dags"]]


def is_stand_in(api: Api, dag_id: str) -> bool:
    """Whether the DAG is the placeholder of a broken flow."""
    tasks = api("GET", f"/dags/{dag_id}/tasks")["tasks"]
    return any(task["class_ref"]["class_name"] == "FlowFaultOperator" for task in tasks)


if __name__ == "__main__":
    sys.exit(main())

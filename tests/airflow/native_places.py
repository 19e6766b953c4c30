"""What Airflow's own pages show of flows and replays, in a real Airflow; takes one or two minutes.

Airflow runs with a scheduler, an API server, and a DAG processor. A DAG run of a flow succeeds, another one is refused
by the server, and a replay has two chunks. Its API then shows the link to the record, each task's documentation, the
labels of the chunks, the progress in the task state store, and a log of the refused action without a stack trace; and a
StatsD listener has received the metrics::

    python -m tests.airflow.native_places
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.airflow.promises import report
from tests.airflow.replay_with_killed_worker import DAG_FILE, Api, run_one, running_airflow
from tests.servers.recording import Answer, Received, RecordingServer
from tests.servers.statsd import DURATION, StatsdListener

FLOW = "leads"
REFUSED = "+525550000001"


def main() -> int:
    """Run all checks; returns 0 if every promise was kept."""
    server, listener = RecordingServer(answer), StatsdListener()
    try:
        with tempfile.TemporaryDirectory(prefix="whatsapp-flows-airflow-") as name:
            folder = Path(name)
            write_dags(folder)
            ledger = f"sqlite:///{folder / 'ledger.db'}"
            with running_airflow(folder, server.url, ledger, FLOW, listener.settings()) as api:
                return report([*flow_runs(api), *replay_run(api), *received_metrics(listener)])
    finally:
        server.close()
        listener.close()


def answer(request: Received) -> Answer:
    """The server's reply; it refuses one person."""
    if REFUSED.encode() in request.content:
        return Answer.json({"error": "no such list"}, 422)
    return Answer.json({"id": "c/7"}, 201)


def write_dags(folder: Path) -> None:
    """Write the DAG file, the flow, and its responses."""
    (folder / "dags" / "flows").mkdir(parents=True)
    (folder / "dags" / "flows_of_this_test.py").write_text(DAG_FILE, encoding="utf-8")
    source = folder / "responses.jsonl"
    rows = [{"id": f"r-{number}", "contact": {"phone": f"+52555000000{number}"}} for number in range(4)]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    step = {"name": "Save lead", "type": "action", "connection": "crm", "url": "/contacts"}
    flow = {
        "flow_format": 1,
        "id": FLOW,
        "replay": {"source": str(source), "chunk_size": 2, "fail_when": "never"},
        "steps": [
            {
                **step,
                "body": {"phone": "{{ contact.phone }}"},
                "record_url": "https://crm.example.com/contacts/{{ response.id }}",
            }
        ],
    }
    (folder / "dags" / "flows" / f"{FLOW}.json").write_text(json.dumps(flow), encoding="utf-8")


def flow_runs(api: Api) -> list[str]:
    """The promises that two runs of the flow break."""
    broken = []
    run_one(api, FLOW, "good", {"contact": {"phone": "+525550000009"}})
    links = api("GET", f"/dags/{FLOW}/dagRuns/good/taskInstances/save_lead/links")["extra_links"]
    if links.get("CRM record") != "https://crm.example.com/contacts/c%2F7":
        broken.append(f"the link to the record is {links}")
    about = api("GET", f"/dags/{FLOW}/tasks/save_lead")["doc_md"] or ""
    if "POST /contacts" not in about:
        broken.append(f"the task's documentation is {about!r}")
    if run_one(api, FLOW, "refused", {"contact": {"phone": REFUSED}}) != "failed":
        broken.append("a refused action did not fail its run")
    log = api("GET", f"/dags/{FLOW}/dagRuns/refused/taskInstances/save_lead/logs/1?full_content=true")["content"]
    failures = [line for line in log if "Task failed" in line["event"]]
    print(json.dumps(failures, indent=1), flush=True)
    if len(failures) != 1 or "no such list" not in failures[0]["event"]:
        broken.append("the log does not say once why the task failed")
    if any(len(line) > 110 for failure in failures for line in failure["event"].splitlines()):
        broken.append("a line of the log is cut off on Airflow's page")
    if any("error_detail" in line for line in log):
        broken.append("the log has a stack trace")
    return broken


def replay_run(api: Api) -> list[str]:
    """The promises that the replay breaks."""
    broken = []
    dag_id = f"{FLOW}__replay"
    if run_one(api, dag_id, "by-hand") != "success":
        broken.append("the replay failed")
    run = f"/dags/{dag_id}/dagRuns/by-hand/taskInstances"
    tasks = [one for one in api("GET", run)["task_instances"] if one["task_id"] == "replay"]
    labels = [one["rendered_map_index"] for one in sorted(tasks, key=lambda one: one["map_index"])]
    if labels != ["chunk 0: 1 done, 1 failed", "chunk 1: 2 done"]:
        broken.append(f"the chunks are shown as {labels}")
    if any(not one["doc_md"] for one in api("GET", f"/dags/{dag_id}/tasks")["tasks"]):
        broken.append("a task of the replay has no documentation")
    if tuple(map(int, api("GET", "/version")["version"].split(".")[:2])) >= (3, 3):
        stored = api("GET", f"{run}/replay/state-store/progress?map_index=1")
        print(json.dumps(stored), flush=True)
        if '"done": 2' not in json.dumps(stored).replace("\\", ""):
            broken.append(f"the task state store has {stored}")
    return broken


def received_metrics(listener: StatsdListener) -> list[str]:
    """The promises that the metrics break."""
    counted, durations = listener.read()
    counts = {**counted, DURATION: len(durations)}
    print(json.dumps(counts, indent=1), flush=True)
    expected = {
        "requests": 6,
        "requests.2xx": 4,
        "requests.4xx": 2,
        DURATION: 6,
        "contacts.completed": 3,
        "contacts.failed": 1,
    }
    return [] if counts == expected else [f"the metrics are {counts}"]


if __name__ == "__main__":
    sys.exit(main())

"""Clearing failed tasks in a real Airflow; takes two or three minutes.

Airflow runs with a scheduler, an API server, and a DAG processor. Failed tasks are cleared through Airflow's API, as
the button does, and the receiving server counts the requests:

- two replay tasks of one flow in one DAG, of which one has a refused contact;
- the DAG of a replay, first with a refused contact, then with a server that refuses everything behind an error exit;
- a DAG run whose request is dropped without an answer;
- two mapped actions with a label made of their own body.

::

    python -m tests.airflow.clear_and_resend
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.airflow.promises import report
from tests.airflow.replay_with_killed_worker import running_airflow, wait_until
from tests.servers.recording import Answer, Received, RecordingServer

DAG_FILE = """from airflow.sdk import DAG
from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppReplayOperator, load_dags

globals().update(load_dags("flows"))

with DAG("two_regions", schedule=None):
    for region in ("north", "south"):
        WhatsAppReplayOperator(task_id=region, flow="flows/leads.json", source=f"FOLDER/{region}.jsonl", retries=1)

with DAG("labeled", schedule=None):
    WhatsAppActionOperator.partial(
        task_id="act", http_conn_id="crm", url="/labeled", on_error="fail",
        map_index_template="{{ task.body['phone'] }}",
    ).expand(body=[{"phone": "+525550000901"}, {"phone": "+525550000902"}])
"""
RUN = "by-hand"
Api = Callable[..., Any]


class Crm:
    """A server that refuses some phones, or everything below a path."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.server = RecordingServer(self._answer)

    def _answer(self, request: Received) -> Answer:
        if request.target == "/dropped":
            return Answer(drop=True)
        if request.target == "/forbidden":
            return Answer.json({"error": "the key has expired"}, 401)
        phone = json.loads(request.content)["phone"]
        if phone in self.refused:
            return Answer.json({"error": "email is taken"}, 422)
        return Answer.json({"id": phone}, 201)

    def count_sent(self, target: str) -> Counter[str]:
        """The number of requests to a path, by phone."""
        return Counter(json.loads(one.content)["phone"] for one in self.server.received if one.target == target)


def main() -> int:
    """Run all checks; returns 0 if every promise was kept."""
    return check_parts(
        write_dags, "two_regions", [two_replay_tasks, a_replays_dag, an_outage, an_outcome_unknown, labels]
    )


def check_parts(write: Callable[[Path], object], dag_id: str, parts: Sequence[Callable[[Any, Crm], list[str]]]) -> int:
    """Run an Airflow with a server that receives, and the parts of a script in it, one after the other.

    Args:
        write: writes the DAG files and all they need into a folder.
        dag_id: of a DAG that must be there before the first part.
        parts: return broken promises.

    Returns:
        The exit status: 0 if every promise was kept.
    """
    crm = Crm()
    broken: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="whatsapp-flows-airflow-") as made:
            folder = Path(made)
            write(folder)
            with running_airflow(folder, crm.server.url, f"sqlite:///{folder / 'ledger.db'}", dag_id) as api:
                for part in parts:
                    broken += [f"{part.__name__}: {what}" for what in part(api, crm)]
    finally:
        crm.server.close()
    return report(broken)


def write_dags(folder: Path) -> None:
    """Write the DAG file, the flows, and their responses."""
    flows = folder / "dags" / "flows"
    flows.mkdir(parents=True)
    text = DAG_FILE.replace("FOLDER", str(folder))
    (folder / "dags" / "dags_of_this_test.py").write_text(text, encoding="utf-8")
    for number, name in enumerate(("north", "south", "batch", "outage")):
        rows = [{"id": f"{name}-{row}", "contact": {"phone": phone(number, row)}} for row in range(6)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    step = {"name": "Create", "type": "action", "connection": "crm", "body": {"phone": "{{ contact.phone }}"}}
    sorry = {"name": "Sorry", "type": "message", "body": "sorry"}
    replay = {"source": str(folder / "batch.jsonl"), "chunk_size": 2}
    for flow in (
        {"id": "leads", "steps": [{**step, "url": "/leads"}]},
        {"id": "batch", "steps": [{**step, "url": "/batch"}], "replay": replay},
        {
            "id": "outage",
            "steps": [{**step, "url": "/forbidden", "on_error": "Sorry"}, sorry],
            "replay": {**replay, "source": str(folder / "outage.jsonl")},
        },
        {"id": "dropped", "steps": [{**step, "url": "/dropped", "on_error": "Sorry"}, sorry]},
    ):
        (flows / f"{flow['id']}.json").write_text(json.dumps({"flow_format": 1, **flow}), encoding="utf-8")


def phone(batch: int, row: int) -> str:
    """The phone number of a row of a batch."""
    return f"+5255500{batch:02}{row:03}"


def two_replay_tasks(api: Api, crm: Crm) -> list[str]:
    """Both send their own rows; the refused one is sent again when the failed task is cleared."""
    refused = phone(0, 3)
    everybody = dict.fromkeys([phone(batch, row) for batch in (0, 1) for row in range(6)], 1)
    crm.refused = {refused}
    first = run_dag(api, "two_regions")
    wrong = difference("states", first, {"north": "failed", "south": "success"}) + difference(
        "sent", crm.count_sent("/leads"), everybody
    )
    crm.refused = set()
    again = clear_failed(api, "two_regions")
    wrong += difference("states after the clear", again, {"north": "success", "south": "success"})
    return wrong + difference("sent after the clear", crm.count_sent("/leads"), {**everybody, refused: 2})


def a_replays_dag(api: Api, crm: Crm) -> list[str]:
    """The chunk of the refused contact and the report are red; clearing the failed tasks makes the run green."""
    refused = phone(2, 3)
    everybody = dict.fromkeys([phone(2, row) for row in range(6)], 1)
    crm.refused = {refused}
    first = run_dag(api, "batch__replay")
    red = sorted(task for task, state in first.items() if state == "failed")
    wrong = difference("red tasks", red, ["replay[1]", "report"]) + difference(
        "sent", crm.count_sent("/batch"), everybody
    )
    crm.refused = set()
    again = clear_failed(api, "batch__replay")
    wrong += difference("states after the clear", set(again.values()), {"success"})
    return wrong + difference("sent after the clear", crm.count_sent("/batch"), {**everybody, refused: 2})


def an_outage(api: Api, crm: Crm) -> list[str]:
    """An outage is not green, although an error exit handles it."""
    states = run_dag(api, "outage__replay")
    return difference("report", states["report"], "failed")


def an_outcome_unknown(api: Api, crm: Crm) -> list[str]:
    """The run fails at a task that reports the unknown outcome; clearing it does not resend."""
    conf = {"contact": {"phone": phone(9, 0)}}
    states = run_dag(api, "dropped", conf)
    red = [task for task, state in states.items() if state == "failed"]
    wrong = difference("red tasks", red, ["create__in_doubt"])
    clear_failed(api, "dropped")
    return wrong + difference("sent", crm.count_sent("/dropped"), {phone(9, 0): 1})


def labels(api: Api, crm: Crm) -> list[str]:
    """Each mapped task is labeled with the phone of its own body."""
    run_dag(api, "labeled")
    found = api("GET", f"/dags/labeled/dagRuns/{RUN}/taskInstances/act/listMapped")["task_instances"]
    return difference("labels", {one["rendered_map_index"] for one in found}, {"+525550000901", "+525550000902"})


def run_dag(api: Api, dag_id: str, conf: dict[str, Any] | None = None) -> dict[str, str]:
    """Trigger a DAG; returns the states of its tasks, and prints what a user sees."""
    wait_until(f"{dag_id} is there", lambda: dag_id in dag_ids(api))
    api("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": RUN, "logical_date": None, "conf": conf or {}})
    return final_task_states(api, dag_id, "triggered")


def clear_failed(api: Api, dag_id: str) -> dict[str, str]:
    """Clear the failed tasks of a run, as Airflow's button does."""
    api("POST", f"/dags/{dag_id}/clearTaskInstances", {"dag_run_id": RUN, "dry_run": False, "only_failed": True})
    return final_task_states(api, dag_id, "failed tasks cleared")


def final_task_states(api: Api, dag_id: str, what: str) -> dict[str, str]:
    """The states of a run's tasks after it has ended."""
    place = f"/dags/{dag_id}/dagRuns/{RUN}"
    state = wait_until(f"{dag_id} has ended", lambda: final_state(api("GET", place)["state"]))
    print(f"\n{dag_id}, {what}: {state}")
    found = {}
    for one in api("GET", f"{place}/taskInstances?limit=100")["task_instances"]:
        index = one["map_index"]
        name = one["task_id"] if index < 0 else f"{one['task_id']}[{index}]"
        found[name] = str(one["state"])
        print(f"  {name}: {one['state']}, try {one['try_number']}; {last_line(api, place, one)}")
    return found


def last_line(api: Api, place: str, one: dict[str, Any]) -> str:
    """The last relevant line of a task's log: its error, or else its last own message."""
    if not one["try_number"]:
        return "never started"
    path = f"{place}/taskInstances/{one['task_id']}/logs/{one['try_number']}?map_index={one['map_index']}"
    lines = []
    for line in api("GET", path)["content"]:
        if not isinstance(line, dict):
            continue
        errors = [error["exc_value"] for error in line.get("error_detail") or ()]
        if errors or "airflow_whatsapp_flows" in str(line.get("logger")):
            lines.append(errors[0] if errors else f"{line.get('level')}: {line['event']}")
    return lines[-1] if lines else "nothing of its own in the log"


def final_state(state: str) -> str | None:
    """The state, if it is final."""
    return state if state in ("success", "failed") else None


def dag_ids(api: Api) -> set[str]:
    """The DAGs that Airflow has."""
    return {dag["dag_id"] for dag in api("GET", "/dags?limit=100")["dags"]}


def difference(what: str, found: Any, expected: Any) -> list[str]:
    """A broken promise if a value is not as expected."""
    return [] if found == expected else [f"{what}: {found!r}, not {expected!r}"]


if __name__ == "__main__":
    sys.exit(main())

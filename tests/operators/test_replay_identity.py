"""A task resumes its own replay, whatever other tasks, DAGs, and runs exist."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator
from airflow_whatsapp_flows.operators.replay_setup import MAX_REPLAY_ID, default_replay_id
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_again
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

FLOW = {
    "flow_format": 1,
    "id": "replayed",
    "steps": [{"name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "body": "{{ contact }}"}],
}


def _file(folder: Path, name: str) -> str:
    file = folder / f"{name}.jsonl"
    rows = [{"id": f"{name}-{number}", "contact": {"phone": f"+5255500{ord(name):03}{number}"}} for number in range(3)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(file)


def _sent_phones(server: RecordingServer) -> list[str]:
    return sorted(json.loads(request.content)["phone"] for request in server.received)


def _phones(*names: str) -> list[str]:
    return sorted(f"+5255500{ord(name):03}{number}" for name in names for number in range(3))


def _run(tasks: Sequence[dict[str, Any]], failures: Failures | None = None) -> tuple[DAG, FinishedRun]:
    callbacks = (failures or Failures()).callbacks
    with DAG(new_dag_id()) as dag:
        for number, arguments in enumerate(tasks):
            WhatsAppReplayOperator(**{"task_id": f"replay_{number}", "flow": FLOW, **callbacks, **arguments})
    return dag, run_dag(dag)


def test_replay_tasks_of_one_dag_have_separate_rows(server: RecordingServer, tmp_path: Path) -> None:
    _, run = _run([{"source": _file(tmp_path, "a")}, {"source": _file(tmp_path, "b")}])

    assert set(run.states.values()) == {"success"}
    assert _sent_phones(server) == _phones("a", "b")
    assert run.result("replay_0")["replay_id"] != run.result("replay_1")["replay_id"]


def test_mapped_replay_tasks_have_separate_rows(server: RecordingServer, tmp_path: Path) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator.partial(task_id="replay", flow=FLOW).expand(
            source=[_file(tmp_path, "a"), _file(tmp_path, "b")]
        )
    run = run_dag(dag)

    assert set(run.states.values()) == {"success"}
    assert _sent_phones(server) == _phones("a", "b")
    ids = [run.result("replay", index)["replay_id"] for index in range(2)]
    assert ids == [f"replayed:{dag.dag_id}:replay+{index}:{run.run_id}" for index in range(2)]


def test_a_cleared_task_continues_with_its_own_replay(server: RecordingServer, tmp_path: Path) -> None:
    dag, run = _run([{"source": _file(tmp_path, "a")}, {"source": _file(tmp_path, "b")}])
    again = run_again(dag, run.run_id, "replay_1")

    assert again["replay_id"] == run.result("replay_1")["replay_id"]
    assert again["total"] == 3
    assert len(server.received) == 6


def test_refuses_two_sources_with_one_replay_id(server: RecordingServer, tmp_path: Path) -> None:
    failures = Failures()
    a, b = _file(tmp_path, "a"), _file(tmp_path, "b")
    _, first = _run([{"source": a, "replay_id": "shared"}])
    _, second = _run([{"source": b, "replay_id": "shared"}], failures)

    assert (first.state, second.state) == ("success", "failed")
    assert "'shared' was started with another source" in str(failures.errors[0])
    assert a in str(failures.errors[0])
    assert b in str(failures.errors[0])
    assert "use another replay id" in str(failures.errors[0])
    assert _sent_phones(server) == _phones("a")


def test_refuses_another_source_even_if_it_is_gone(server: RecordingServer, tmp_path: Path) -> None:
    failures = Failures()
    _run([{"source": _file(tmp_path, "a"), "replay_id": "shared"}])
    _, run = _run([{"source": "/nowhere/b.jsonl", "replay_id": "shared"}], failures)

    assert run.state == "failed"
    assert "was started with another source" in str(failures.errors[0])


def test_resumes_with_the_same_source_even_if_it_is_gone(server: RecordingServer, tmp_path: Path) -> None:
    source = _file(tmp_path, "a")
    _run([{"source": source, "replay_id": "shared"}])
    Path(source).unlink()
    _, run = _run([{"source": source, "replay_id": "shared"}])

    assert run.state == "success"
    assert run.result("replay_0")["completed"] == 3


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param({"query": "SELECT id, other AS \"contact.phone\" FROM people"}, "another query", id="query"),
        pytest.param({"columns": {"contact.phone": "other"}}, "another mapping of columns", id="columns"),
        pytest.param({"id_column": "other"}, "another id column", id="id-column"),
        pytest.param({"limit": 1}, "another limit", id="limit"),
        pytest.param({"source": "other"}, "another source", id="connection"),
    ],
)  # fmt: skip
def test_refuses_to_resume_with_other_column_options(
    server: RecordingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    named: str,
) -> None:
    pytest.importorskip("airflow.providers.sqlite", reason="apache-airflow-providers-sqlite is not installed")
    file = tmp_path / "people.db"
    with sqlite3.connect(file) as people:
        people.execute("CREATE TABLE people (id TEXT, phone TEXT, other TEXT)")
        people.execute("INSERT INTO people VALUES ('a', '+525550000001', '+525550000002')")
    people.close()
    for name in ("WAREHOUSE", "OTHER"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    given = {"source": "warehouse", "query": 'SELECT id, phone AS "contact.phone" FROM people', "replay_id": "shared"}
    failures = Failures()
    _, first = _run([given])
    _, second = _run([{**given, **changed}], failures)

    assert (first.state, second.state) == ("success", "failed")
    assert f"was started with {named}" in str(failures.errors[0])
    assert len(server.received) == 1


def test_another_flow_is_refused(server: RecordingServer, tmp_path: Path) -> None:
    failures, source = Failures(), _file(tmp_path, "a")
    _run([{"source": source, "replay_id": "shared"}])
    _run([{"source": source, "replay_id": "shared", "flow": {**FLOW, "id": "other"}}], failures)
    _run([{"source": source, "replay_id": "shared", "flow": {**FLOW, "name": "Changed"}}], failures)

    assert "is of the flow 'replayed'" in str(failures.errors[0])
    assert "the flow has changed" in str(failures.errors[1])


def test_compares_an_older_replay_by_the_name_of_its_source(
    server: RecordingServer, tmp_path: Path, ledger_file: Path
) -> None:
    failures = Failures()
    a, b = _file(tmp_path, "a"), _file(tmp_path, "b")
    _run([{"source": a, "replay_id": "shared"}])
    with sqlite3.connect(ledger_file) as ledger:  # it did not keep where the source was looked for
        ledger.execute("UPDATE whatsapp_flows_replays SET options = json_remove(options, '$.reading.source')")
    ledger.close()
    _, same = _run([{"source": a, "replay_id": "shared"}])
    _run([{"source": b, "replay_id": "shared"}], failures)

    assert same.state == "success"
    assert "was started with another source" in str(failures.errors[0])


class _Place:
    dag_id, task_id, map_index, run_id = "nightly", "replay", -1, "manual__2026-11-22T00:00:00+00:00"


def test_default_replay_ids_are_short_and_unique() -> None:
    long, longer = _Place(), _Place()
    long.task_id, longer.task_id = "t" * 250, "t" * 249 + "u"
    long.dag_id = longer.dag_id = "d" * 250
    contexts = [{"ti": place, "run_id": place.run_id} for place in (_Place(), long, longer)]
    ids = [default_replay_id("leads", context) for context in contexts]

    assert ids[0] == "leads:nightly:replay:manual__2026-11-22T00:00:00+00:00"
    assert max(map(len, ids)) <= MAX_REPLAY_ID
    assert len(set(ids)) == 3
    assert ids[1].startswith(f"leads:{'d' * 250}:t")

"""Scheduled replays read the interval of their run, and hand-written ones fill their template fields."""

from __future__ import annotations

import datetime as dt
import json
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import list_replays
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_cleared
from tests.operators.flows import action, flow
from tests.operators.one_action import Failures, new_dag_id
from tests.operators.starting import start_runs
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

START = dt.datetime(2026, 11, 20, 6, tzinfo=dt.timezone.utc)
QUERY = (
    'SELECT id, phone AS "contact.phone" FROM leads '
    "WHERE updated_at >= :data_interval_start AND updated_at < :data_interval_end ORDER BY id"
)


@pytest.fixture
def leads(tmp_path: Path) -> Path:
    """A database of 12 leads, one every 15 minutes from the start: the first of each hour on the hour."""
    file = tmp_path / "leads.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE leads (id TEXT, phone TEXT, updated_at TEXT)")
        rows = [(n, START.replace(tzinfo=None) + n * dt.timedelta(minutes=15)) for n in range(12)]
        connection.executemany(
            "INSERT INTO leads VALUES (?, ?, ?)", [(f"r-{n}", f"+52555000{n:04}", str(at)) for n, at in rows]
        )
    connection.close()
    return file


def dag_of(source: str, **replay: Any) -> tuple[DAG, Failures]:
    keys = {"airflow": {"start_date": "2026-11-20"}, **replay.pop("keys", {})}
    written = flow(action("Create", body="{{ contact }}"), replay={"source": source, **replay}, **keys)
    dag, failures = build_replay_dag(load_flow(written)), Failures()
    dag.task_dict["plan"].on_failure_callback = [failures.note]
    return dag, failures


def run_to_end(dag: DAG, run_id: str) -> FinishedRun:
    return run_cleared(dag, run_id, [])


def count_sent(server: RecordingServer) -> Counter[int]:
    return Counter(int(json.loads(request.content)["phone"][-4:]) for request in server.received)


def test_each_run_sends_the_rows_of_its_interval_once(server: RecordingServer, leads: Path, url: str) -> None:
    """Three hours: the source is gone in the second one, and a contact is refused in the third."""
    dag, failures = dag_of(f"sqlite:///{leads}", query=QUERY, schedule="@hourly")
    first, second, third = start_runs(dag, START, dt.timedelta(hours=1), 3)
    assert run_to_end(dag, first).state == "success"
    assert count_sent(server) == dict.fromkeys(range(4), 1)

    leads.rename(leads.with_suffix(".away"))
    assert run_to_end(dag, second).states["plan"] == "failed"
    assert "the file does not exist" in str(failures.errors[0])
    leads.with_suffix(".away").rename(leads)
    server._script = lambda request: Answer(422 if b"0009" in request.content else 200)
    assert run_to_end(dag, third).state == "failed"
    assert count_sent(server) == dict.fromkeys([*range(4), *range(8, 12)], 1)

    server._script = lambda _: Answer()
    for run_id in (second, third, first):  # cleared later, each reads or resends its own
        assert run_cleared(dag, run_id, dag.task_ids).state in ("success", "running")
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 9: 2}
    with Ledger(url) as ledger:
        assert [replay.options["reading"]["parameters"] for replay in reversed(list_replays(ledger))] == [
            {
                "data_interval_start": (START + hour * dt.timedelta(hours=1)).isoformat(),
                "data_interval_end": (START + (hour + 1) * dt.timedelta(hours=1)).isoformat(),
            }
            for hour in (0, 2, 1)
        ]


def test_the_path_of_a_source_has_the_local_date(server: RecordingServer, tmp_path: Path) -> None:
    for day in (19, 20, 21):
        line = json.dumps({"id": f"d-{day}", "contact": {"phone": f"+525550000{day:03}"}})
        (tmp_path / f"2026-11-{day}.jsonl").write_text(line, encoding="utf-8")
    source = f"{tmp_path}/{{{{ run.data_interval_start | date('%Y-%m-%d') }}}}.jsonl"
    dag, _ = dag_of(source, schedule="@daily", keys={"timezone": "Asia/Tokyo"})
    run = run_dag(dag, {}, logical_date=dt.datetime(2026, 11, 21, 1, tzinfo=dt.timezone.utc))  # 10:00 in Tokyo
    assert run.state == "success"
    assert count_sent(server) == {20: 1}, "the last complete day in Tokyo, whose date in UTC is the 19th"
    assert run.xcom("plan", "plan")["source"] == f"{tmp_path}/2026-11-20.jsonl"


def test_a_run_without_an_interval_fails_clearly(server: RecordingServer, leads: Path) -> None:
    schedule = {"cron": "@hourly", "assets": ["x-crm://leads"]}
    dag, failures = dag_of(f"sqlite:///{leads}", query=QUERY, schedule=schedule)
    assert run_dag(dag, {}, logical_date=None).states["plan"] == "failed"
    assert str(failures.errors[0]).startswith(
        "plan: the query uses :data_interval_start, and the run has none, because it was triggered without a logical "
        "date or by an asset"
    )
    assert server.received == []


def test_fields_of_a_hand_written_task_are_templates(server: RecordingServer, leads: Path) -> None:
    source = flow(action("Create", body="{{ contact }}"))
    with DAG(new_dag_id(), params={"limit": 2, "rate": 500, "table": "leads"}) as dag:
        task = WhatsAppReplayOperator(
            task_id="replay",
            flow=source,
            source=f"sqlite:///{leads}",
            query='SELECT id, phone AS "contact.phone" FROM {{ params.table }} WHERE id >= :first AND id <> :run_id '
            "AND updated_at <= :logical_date ORDER BY id",
            parameters={"first": "r-{{ logical_date.day }}"},
            limit="{{ params.limit }}",
            rate={"{{ no key }}": "{{ params.rate }}"},
            replay_id="leads_{{ ds }}",
        )
    run = run_dag(dag, logical_date=dt.datetime(2026, 11, 5, tzinfo=dt.timezone.utc) + dt.timedelta(days=30))
    assert run.result("replay")["replay_id"] == "leads_2026-12-05"
    assert count_sent(server) == {5: 1, 6: 1}
    assert set(WhatsAppReplayOperator.template_fields) >= {
        "source", "query", "parameters", "limit", "rate", "replay_id", "note",
    }  # fmt: skip
    task.limit = "many"
    with pytest.raises(Exception, match="replay: limit must be a whole number of at least 1, not 'many'"):
        task.current_options()
    for name, value, message in (
        ("limit", 10**30, "limit must be a whole number"),
        ("query", 5, "query must be a text, not 5"),
        ("parameters", "x", "parameters must be values by name, such as {'since': '2026-11-22'}, not 'x'"),
        ("parameters", ["x"], "parameters must be values by name"),
    ):
        kept = getattr(task, name)
        task.limit = 1
        setattr(task, name, value)
        with pytest.raises(Exception, match=re.escape(f"replay: {message}")):
            task.current_options()
        setattr(task, name, kept)
    task.limit, task.rate = 1, "fast"
    with pytest.raises(Exception, match="replay: rate must be a number of requests per second, not 'fast'"):
        task.current_options()


@pytest.mark.parametrize("schedule", [None, "@continuous"])
def test_an_interval_without_length_is_none(server: RecordingServer, leads: Path, schedule: str | None) -> None:
    """Airflow gives it to a run by hand, with a logical date, if the schedule has no intervals."""
    keys = {} if schedule is None else {"schedule": schedule}
    dag, failures = dag_of(f"sqlite:///{leads}", query=QUERY, **keys)
    assert run_dag(dag, {}, logical_date=START).states["plan"] == "failed"
    assert "or the schedule of its DAG has no data intervals" in str(failures.errors[0])


@pytest.mark.parametrize("name", ["{{ params.none }}", " {{ params.none }}", "{{ '  ' }}"])
def test_a_name_without_a_value_is_refused(server: RecordingServer, tmp_path: Path, name: str) -> None:
    """Each run would resume the replay ``None`` of the first one, and send nothing."""
    file, failures = tmp_path / "one.jsonl", Failures()
    file.write_text(json.dumps({"id": "a", "contact": {"phone": "+525550000001"}}), encoding="utf-8")
    with DAG(new_dag_id(), params={"none": None}) as dag:
        WhatsAppReplayOperator(
            task_id="replay",
            flow=flow(action("Create", body="{{ contact }}")),
            source=str(file),
            replay_id=name,
            on_failure_callback=[failures.note],
        )
    assert run_dag(dag).state == "failed"
    assert "its template has no value for this run" in str(failures.errors[0])
    assert server.received == []

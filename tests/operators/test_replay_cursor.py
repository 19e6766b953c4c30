"""Scheduled replays with a cursor read on from where the last one stopped, whatever happened to it."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.watermarks import list_watermarks
from airflow_whatsapp_flows.operators.plan_text import plan_text
from tests.operators.clearing import run_cleared
from tests.operators.one_action import Failures
from tests.operators.starting import start_runs
from tests.operators.test_replay_intervals import START, count_sent, dag_of, run_to_end
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

QUERY = (
    'SELECT id, phone AS "contact.phone", updated_at FROM leads WHERE updated_at >= :watermark OR :watermark IS NULL '
    "ORDER BY id"
)


@pytest.fixture
def leads(tmp_path: Path) -> Path:
    file = tmp_path / "leads.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE leads (id TEXT PRIMARY KEY, phone TEXT, updated_at TEXT)")
    return file


def put(leads: Path, *numbers: int, hour: int) -> None:
    """Insert leads, or change them."""
    with closing(sqlite3.connect(leads)) as connection, connection:
        rows = [(f"r-{number}", f"+52555000{number:04}", f"2026-11-20 {hour:02}:00:00") for number in numbers]
        connection.executemany("INSERT OR REPLACE INTO leads VALUES (?, ?, ?)", rows)


def cursor_dag(leads: Path) -> tuple[DAG, Failures]:
    return dag_of(f"sqlite:///{leads}", query=QUERY, schedule="@hourly", cursor="updated_at", on_changed="update")


def watermark(url: str, dag: DAG) -> str | None:
    with Ledger(url) as ledger:
        found = list_watermarks(ledger, dag.dag_id.removesuffix("__replay"))
    return found[0].watermark.text if found and found[0].watermark else None


def test_each_run_reads_on_and_a_clear_moves_nothing(server: RecordingServer, leads: Path, url: str) -> None:
    """Three runs: the source is gone in the second one; a row is late, and a contact is refused in the third."""
    dag, _ = cursor_dag(leads)
    first, second, third = start_runs(dag, START, dt.timedelta(hours=1), 3)
    put(leads, 1, 2, hour=6)
    done = run_to_end(dag, first)
    assert done.state == "success"
    assert (count_sent(server), watermark(url, dag)) == ({1: 1, 2: 1}, "2026-11-20 06:00:00")
    shown = plan_text(done.xcom("plan", "plan"))
    assert "read       by the cursor updated_at: read from the first row; the watermark is at 2026-11-20 06" in shown

    put(leads, 3, hour=7)
    leads.rename(leads.with_suffix(".away"))
    assert run_to_end(dag, second).states["plan"] == "failed"
    leads.with_suffix(".away").rename(leads)
    put(leads, 4, hour=8)
    put(leads, 5, hour=6)
    server._script = lambda request: Answer(422 if b"0004" in request.content else 200)
    done = run_to_end(dag, third)
    assert done.state == "failed"
    assert (count_sent(server), watermark(url, dag)) == (dict.fromkeys(range(1, 6), 1), "2026-11-20 08:00:00")
    shown = plan_text(done.xcom("plan", "plan"))
    assert "cursor updated_at: read from 2026-11-20 06:00:00, and 300 before it again; the watermark" in shown

    server._script = lambda _: Answer()
    for run_id in (second, third, first):
        assert run_cleared(dag, run_id, dag.task_ids).state in ("success", "running")
    assert count_sent(server) == {1: 1, 2: 1, 3: 1, 4: 2, 5: 1}
    assert watermark(url, dag) == "2026-11-20 08:00:00"


def test_a_run_without_new_rows_succeeds_and_sends_nothing(server: RecordingServer, leads: Path, url: str) -> None:
    dag, _ = cursor_dag(leads)
    first, second = start_runs(dag, START, dt.timedelta(hours=1), 2)
    assert run_to_end(dag, first).states["plan"] == "success"
    assert (count_sent(server), watermark(url, dag)) == ({}, None)
    put(leads, 1, hour=6)
    assert run_to_end(dag, second).state == "success"
    assert (count_sent(server), watermark(url, dag)) == ({1: 1}, "2026-11-20 06:00:00")


def test_does_not_catch_up(leads: Path) -> None:
    """The first run after a pause reads everything since."""
    dag, _ = cursor_dag(leads)
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_another_source_is_read_in_full(server: RecordingServer, leads: Path, tmp_path: Path, url: str) -> None:
    from tests.airflow_runs import run_dag

    dag, _ = cursor_dag(leads)
    file = tmp_path / "more.jsonl"
    file.write_text('{"id": "x", "contact": {"phone": "+525550000009"}}')
    assert run_dag(dag, {"source": str(file)}).state == "success"
    assert (count_sent(server), watermark(url, dag)) == ({9: 1}, None)

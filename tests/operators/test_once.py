"""``only_once`` applies to DAG runs, and between them and replays."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows import build_dag
from tests.airflow_runs import run_dag
from tests.operators.flows import action, flow, message
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def ana(response_id: str, **contact: Any) -> dict[str, Any]:
    return {"id": response_id, "contact": {"email": "ana@example.com", **contact}}


def claims(file: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(file)) as ledger:
        return ledger.execute("SELECT identifier, response_id FROM whatsapp_flows_once ORDER BY identifier").fetchall()


def test_a_second_dag_run_for_the_same_person_sends_nothing(server: RecordingServer, ledger_file: Path) -> None:
    dag = build_dag(flow(action("Create", on_success="Thanks"), message("Thanks"), replay={"only_once": True}))

    first = run_dag(dag, ana("r-1", phone="+525512345678"))
    second = run_dag(dag, ana("r-2", phone="+525587654321"))
    again = run_dag(dag, ana("r-1", phone="+525512345678"))

    assert (first.state, second.state, again.state) == ("success", "success", "success")
    assert (first.states["create"], second.states["create"], again.states["create"]) == (
        "success",
        "skipped",
        "success",
    )
    assert second.states["thanks"] == "skipped"
    assert len(server.received) == 1
    assert claims(ledger_file) == [("email:ana@example.com", "r-1"), ("phone:+525512345678", "r-1")]


def test_a_refusal_frees_the_person(server: RecordingServer, ledger_file: Path) -> None:
    dag = build_dag(flow(action("Create"), replay={"only_once": True}))
    server._script = lambda _: Answer(422)
    assert run_dag(dag, ana("r-1")).state == "failed"
    assert claims(ledger_file) == []

    server._script = lambda _: Answer()
    assert run_dag(dag, ana("r-2")).state == "success"
    assert claims(ledger_file) == [("email:ana@example.com", "r-2")]


def test_recognizes_a_person_after_the_step_is_renamed(server: RecordingServer, ledger_file: Path) -> None:
    keys: dict[str, Any] = {"id": "once", "replay": {"only_once": True}}
    run_dag(build_dag(flow(action("Create"), **keys)), ana("r-1"))

    with_id = run_dag(build_dag(flow(action("Create", id="c-1"), **keys)), ana("r-2"))
    with contextlib.closing(sqlite3.connect(ledger_file)) as ledger:
        ledger.execute("INSERT INTO whatsapp_flows_renames VALUES ('once', 'Create', 'Make', 0, 'me')")
        ledger.commit()
    renamed = run_dag(build_dag(flow(action("Make"), **keys)), ana("r-3"))

    assert (with_id.states, renamed.states) == ({"create": "skipped"}, {"make": "skipped"})
    assert len(server.received) == 1


def test_without_only_once_nothing_is_claimed(server: RecordingServer, ledger_file: Path) -> None:
    dag = build_dag(flow(action("Create")))

    assert [run_dag(dag, ana(name)).state for name in ("r-1", "r-2")] == ["success", "success"]

    assert (len(server.received), claims(ledger_file)) == (2, [])

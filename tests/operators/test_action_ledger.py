"""What an action records in the ledger, and what it does when the ledger fails."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator, build_dag
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.claims import exclusive
from airflow_whatsapp_flows.ledger.task_store import Transaction, _open
from tests.airflow_runs import run_dag
from tests.ledger.old_ledgers import make_ledger
from tests.operators.clearing import run_again
from tests.operators.flows import action, flow
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, Received, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def rows(file: Path) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(file)) as ledger:
        ledger.row_factory = sqlite3.Row
        return [dict(row) for row in ledger.execute("SELECT * FROM whatsapp_flows_attempts ORDER BY id")]


def test_an_attempt_records_its_contact_and_origin(server: RecordingServer, ledger_file: Path) -> None:
    done = run_action({"contact": {"phone": "+525551234567"}}, body={"a": 1})
    [row] = rows(ledger_file)
    assert (row["flow_id"], row["response_id"], row["step"], row["visit"]) == (
        done.dag.dag_id, done.run.run_id, "act", 1,
    )  # fmt: skip
    assert (row["method"], row["host"], row["phone"]) == ("POST", server.host, "+525551234567")
    assert (row["fate"], row["status_code"], row["number"]) == ("succeeded", 200, 1)
    assert row["key"] == done.result["idempotency_key"]
    assert json.loads(row["origin"]) == {
        "dag_id": done.dag.dag_id,
        "run_id": done.run.run_id,
        "task_id": "act",
        "map_index": -1,
        "try_number": 1,
    }


def test_nothing_is_sent_before_its_intent_is_durable(server: RecordingServer, ledger_file: Path) -> None:
    recorded: list[Any] = []

    def answer(_: Received) -> Answer:
        recorded.append([(row["step"], row["fate"]) for row in rows(ledger_file)])
        return Answer.json({})

    server._script = answer
    run_action(body={"a": 1})

    assert recorded == [[("act", None)]]


@pytest.mark.parametrize("phone", ["+5215551234567", "52 555 123 4567", 525551234567])
def test_records_phones_in_canonical_form(server: RecordingServer, ledger_file: Path, phone: object) -> None:
    run_action({"contact": {"phone": phone}}, body={"a": 1})
    run_dag(build_dag(flow(action("A"))), {"id": "r", "contact": {"phone": phone}})
    assert [row["phone"] for row in rows(ledger_file)] == ["+525551234567"] * 2


def test_tries_and_clears_are_distinguished(server: RecordingServer, ledger_file: Path) -> None:
    server.queued = [Answer(503)] * 3
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(
            task_id="act", url="/x", method="GET", http_conn_id="crm", on_error="fail",
            retry={"attempts": 2, "wait": 0.01},
        )  # fmt: skip
    run = run_dag(dag)
    assert run_again(dag, run.run_id)["outcome"] == "success"
    found = rows(ledger_file)
    assert [row["number"] for row in found] == [1, 2, 3, 4]
    assert [row["round"] for row in found] == [1, 1, 3, 3]


def test_mapped_tasks_are_separate_subjects(server: RecordingServer, ledger_file: Path) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator.partial(task_id="act", url="/x", http_conn_id="crm", on_error="fail").expand(body=[1, 2])
    run = run_dag(dag)
    assert sorted(row["response_id"] for row in rows(ledger_file)) == [f"{run.run_id}[0]", f"{run.run_id}[1]"]


def test_does_not_send_what_another_worker_is_sending(
    server: RecordingServer, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(task_id="act", url="/x", method="PUT", http_conn_id="crm", on_error="fail")
    run = run_dag(dag)
    # On a database server, the other worker's intent may come between reading and writing.
    monkeypatch.setattr(Transaction, "attempts_of_visit", lambda *_: [])
    assert run_again(dag, run.run_id) == {}, "it failed, and so left no result"
    assert len(server.received) == len(rows(ledger_file)) == 1


def test_an_unwritable_ledger_sends_nothing_and_retries_the_task(
    server: RecordingServer, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{ledger_file.parent}")

    def restore_ledger(_: Any) -> None:
        assert server.received == []
        monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{ledger_file}")

    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator(
            task_id="act", url="/x", http_conn_id="crm", on_error="fail",
            retries=1, retry_delay=0.01, on_retry_callback=restore_ledger,
        )  # fmt: skip
    assert run_dag(dag).states["act"] == "success"
    assert len(server.received) == 1


def test_returns_a_reply_that_cannot_be_recorded(server: RecordingServer, ledger_file: Path) -> None:
    def lock(_: Any) -> Answer:
        with contextlib.closing(sqlite3.connect(ledger_file)) as ledger:
            ledger.execute(
                "CREATE TRIGGER no BEFORE UPDATE ON whatsapp_flows_attempts BEGIN SELECT RAISE(ABORT, 'x'); END"
            )
        return Answer.json({"id": 7})

    server._script = lock
    assert run_action(body={"a": 1}).result["response"] == {"id": 7}
    assert [row["fate"] for row in rows(ledger_file)] == [None]


def test_a_test_run_of_a_dag_may_use_a_file_with_any_executor(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    assert run_action(body={"a": 1}).state == "success"


def test_a_contact_keeps_the_time_of_its_first_walk(server: RecordingServer, ledger_file: Path) -> None:
    made = flow(action("A", body="{{ global.Datetime }}"))
    server.queued = [Answer(422)]
    run_dag(build_dag(made), {"id": "r"})
    with contextlib.closing(sqlite3.connect(ledger_file)) as ledger:
        first = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc).timestamp()
        ledger.execute("UPDATE whatsapp_flows_attempts SET moment = ?", (first,))
        ledger.commit()
    run_dag(build_dag(made), {"id": "r"})
    assert b"2026-01-02" in server.received[1].content


def test_a_task_upgrades_a_ledger_of_an_earlier_release(server: RecordingServer, ledger_file: Path) -> None:
    make_ledger(f"sqlite:///{ledger_file}")
    run_action(body={"a": 1})
    assert len(rows(ledger_file)) == 28
    assert ledger_file.with_name("ledger.db.v1-backup").exists()


def test_links_to_a_ledger_share_one_file_and_its_locks(
    server: RecordingServer, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ledger_file.with_name("link.db")
    link.symlink_to(ledger_file)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{link}")
    run_action(body={"a": 1})
    with Ledger(f"sqlite:///{link}") as ledger:
        assert ledger.file == ledger_file.resolve()
        with exclusive(ledger, "test"):
            assert not link.with_name("link.db-locks").exists()
            assert link.with_name("ledger.db-locks").exists()
    assert len(rows(ledger_file)) == 1


def test_reports_a_ledger_deleted_during_a_task_and_does_not_recreate_it(
    server: RecordingServer, ledger_file: Path
) -> None:
    run_action(body={"a": 1})
    server.queued = [Answer(200)]
    ledger_file.unlink()

    done = run_action(body={"a": 2})

    assert (done.state, len(server.received)) == ("failed", 1)
    assert "was deleted or moved while it was in use; nothing more is sent. All of it was saved." in done.message
    [saved] = ledger_file.parent.glob("ledger.db-rescued-*")
    assert f"`mv {saved} {ledger_file}` restores the saved copy" in done.message
    task_ledger(provider_settings()).close()
    _open.clear()  # as in another process
    again = run_action(body={"a": 3})
    assert (again.state, len(server.received), ledger_file.exists()) == ("failed", 1, False)
    assert "is missing: it was deleted or moved, with 2 commits that record what was sent" in again.message

    saved.rename(ledger_file)
    assert run_action(body={"a": 4}).state == "success"
    assert len(rows(ledger_file)) == 2

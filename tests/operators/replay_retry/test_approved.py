"""A retry sends the contacts that its plan found and nobody else, and fails if it sends nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.counts import refresh_counts
from airflow_whatsapp_flows.ledger.retry import RetrySelection
from airflow_whatsapp_flows.ledger.schema import contacts
from airflow_whatsapp_flows.operators import replay_retry, replay_run
from airflow_whatsapp_flows.operators.failures import TaskFailureError
from airflow_whatsapp_flows.operators.replay_approval import ReplayApprovalOperator
from airflow_whatsapp_flows.replay.retry import selection_text
from tests.operators.clearing import run_cleared
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow
from tests.operators.replay_retry.retries import (
    answer,
    count_sent,
    dag_of,
    fingerprint,
    flow_source,
    replay_by_command,
    retry,
    states,
    the_replay,
)
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

FAILED = {"completed": 9, "failed": 3}


def during_approval(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something once, while a run waits for its approval."""
    left = [act]
    monkeypatch.setattr(ReplayApprovalOperator, "execute", lambda *_, **__: left.pop()() if left else None)


def refuse() -> None:
    raise TaskFailureError("rejected")


@on_sqlite
def test_a_run_that_is_not_approved_is_not_green(
    server: RecordingServer, source: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_approval(monkeypatch, refuse)
    dag, failures = dag_of(source)
    run = retry(dag)
    assert (run.states["approve"], run.states["report"], run.state) == ("failed", "failed", "failed")
    assert str(failures.errors[-1]).startswith("report: nothing was sent: the selected contacts keep their state; ")
    assert (server.received, states(url)) == ([], FAILED)
    run = run_cleared(dag, run.run_id, ["approve", "replay", "report"])
    assert (run.state, count_sent(server)) == ("success", {3: 1, 7: 1, 8: 1}), "approved now"


@on_sqlite
def test_a_run_whose_tasks_die_before_they_select_is_not_green(
    server: RecordingServer, source: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender_of, calls = replay_run.request_sender_of, []

    def break_first(flow: Any) -> Any:
        calls.append(flow)
        if len(calls) == 1:
            raise ConnectionConfigError("the connection crm is missing")
        return sender_of(flow)

    monkeypatch.setattr(replay_run, "request_sender_of", break_first)
    dag, failures = dag_of({**source, "replay": {**source["replay"], "fail_when": "never"}})
    run = retry(dag)
    assert (run.states["report"], run.state) == ("failed", "failed")
    assert " kept " in str(failures.errors[-1])
    assert len(server.received) == states(url)["completed"] - 9 in (1, 2)


def test_nobody_is_sent_who_was_not_in_the_approved_plan(
    server: RecordingServer, source: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run waits, more contacts come to match its conditions, and one comes to match no more."""

    def others_fail() -> None:
        answer(server, {0: 422, 7: 422})
        assert main(["replay", "retry", "spring", "--state", "failed", "--response", "r-7"]) == 3
        assert main(["replay", "retry", "spring", "--state", "failed", "--response", "r-8"]) == 3
        server.received.clear()
        answer(server, {})

    during_approval(monkeypatch, others_fail)
    dag, _ = dag_of(source)
    run = retry(dag, states=["failed"], responses=["r-3", "r-8"])
    assert run.xcom("plan", "plan")["walked"] == 2
    assert count_sent(server) == {3: 1}, "7 failed since, and 8 is completed"
    assert (run.state, states(url)) == ("success", {"completed": 11, "failed": 1})


@on_sqlite
def test_a_run_whose_contacts_all_ended_elsewhere_is_not_green(
    server: RecordingServer, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    during_approval(monkeypatch, lambda: None if main(["replay", "retry", "spring"]) == 0 else pytest.fail("failed"))
    dag, failures = dag_of(source)
    run = retry(dag)
    assert (run.state, count_sent(server)) == ("failed", {3: 1, 7: 1, 8: 1})
    assert "report: nothing was sent" in str(failures.errors[-1])


@on_sqlite
def test_a_contact_that_fails_in_another_chunk_is_not_left_pending(
    server: RecordingServer, source: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = fingerprint(url, 422)

    def fail_elsewhere() -> None:
        answer(server, {8: 422, 3: 403})
        assert main(["replay", "retry", "spring", "--response", "r-8"]) == 3

    during_approval(monkeypatch, fail_elsewhere)
    run = retry(dag_of(source)[0], fingerprint=group, responses=["r-3", "r-8"])
    assert (run.result("plan"), run.state) == ([[0]], "failed"), "3 failed again"
    assert states(url) == {"completed": 9, "failed": 3}


@on_sqlite
def test_clearing_the_plan_and_one_task_leaves_nobody_pending(
    server: RecordingServer, source: dict[str, Any], url: str
) -> None:
    dag, failures = dag_of(source)
    answer(server, {3: 422, 7: 422})
    run = retry(dag)
    assert (run.state, run.result("plan")) == ("failed", [[0], [1]])
    answer(server, {})
    run = run_cleared(dag, run.run_id, ["plan"])
    run = run_cleared(dag, run.run_id, [("replay", 0), "report"])
    assert (run.state, states(url)) == ("failed", {"completed": 11, "failed": 1})
    assert str(failures.errors[-1]).startswith("report: 1 selected contact kept its state: clear `plan`")
    run = run_cleared(dag, run.run_id, [("replay", 1), "report"])
    assert (run.state, states(url)) == ("success", {"completed": 12})
    assert count_sent(server) == {3: 2, 7: 2, 8: 1}


def test_clearing_an_earlier_retry_sends_nothing_of_a_later_one(
    server: RecordingServer, source: dict[str, Any], url: str
) -> None:
    first, _ = dag_of(source)
    run = retry(first, fingerprint=fingerprint(url, 422))
    answer(server, {8: 403})
    assert retry(dag_of(source)[0], responses=["r-8"]).state == "failed"
    server.received.clear()
    assert run_cleared(first, run.run_id, ["report"]).state == "success", "judged by its own contacts"
    assert run_cleared(first, run.run_id, first.task_ids).result("plan") == []
    assert (server.received, states(url)) == ([], {"completed": 11, "failed": 1})


@on_sqlite
def test_clocks_that_differ_hide_no_failure(
    server: RecordingServer, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(server, {3: 422, 7: 422, 8: 403})
    monkeypatch.setattr(replay_retry.time, "time", lambda clock=time.time: clock() + 60)
    run = retry(dag_of(source)[0])
    assert (run.states["report"], run.state) == ("failed", "failed")


@on_sqlite
def test_selected_contacts_that_stay_in_doubt_count(
    server: RecordingServer, responses: Path, url: str, task_log: TaskLog
) -> None:
    server._script = lambda request: (
        Answer(422) if b"0004" in request.content else Answer(drop=b"0003" in request.content)
    )
    source = flow_source(responses)
    replay_by_command(source, responses)
    answer(server, {})
    run = retry(dag_of(source)[0], states=["failed", "in_doubt"])
    assert (run.state, states(url)) == ("failed", {"completed": 11, "in_doubt": 1}), "as replay retry exits with 3"
    assert "this run retried 2 contacts: 1 completed, 1 in doubt" in task_log.text


@on_sqlite
def test_the_plan_tells_purged_and_pending_contacts(source: dict[str, Any], url: str) -> None:
    number = the_replay(url).no
    with Ledger(url) as ledger, ledger.write() as connection:
        purge = update(contacts).where(contacts.c.response_id == "r-7")
        connection.execute(purge.values(response=None))
        connection.execute(update(contacts).where(contacts.c.response_id == "r-1").values(state="pending"))
        refresh_counts(connection, number)
    run = retry(dag_of(source)[0], responses=["r-3", "r-7"], states=["failed"], dry_run=True)
    assert run.xcom("plan", "plan")["retry"] == (
        "of spring: failed; response r-3 or r-7; and 1 contact that is pending; "
        "the response of 1 contact has been purged"
    )
    dag, failures = dag_of(source)
    retry(dag, responses=["r-7"])
    assert str(failures.errors[0]).endswith("; the response of 1 contact has been purged")


@on_sqlite
def test_the_budget_counts_the_contacts_of_the_retry(server: RecordingServer, source: dict[str, Any]) -> None:
    limited = {**source, "replay": {**source["replay"], "fail_when": "budget", "max_failures": 1}}
    run = retry(dag_of(limited)[0], responses=["r-3"])
    assert (run.state, count_sent(server)) == ("success", {3: 1}), "7 and 8 are failed, and not retried"


@on_sqlite
def test_a_retry_may_end_with_handled_errors_alone(server: RecordingServer, responses: Path, url: str) -> None:
    ends = [{"name": name, "type": "end"} for name in ("Bad", "Good")]
    create = action("Create", body="{{ contact }}", on_success="Good", on_error="Bad")
    source = flow(create, *ends, replay={"source": str(responses), "chunk_size": 5})
    answer(server, {3: 422})
    file = responses.with_name("flow.json")
    file.write_text(json.dumps(source), encoding="utf-8")
    assert main(["replay", "run", str(file), "--responses", str(responses), "--replay-id", "spring"]) == 0
    run = retry(dag_of(source)[0], steps=["Create"])
    assert (run.state, count_sent(server)[3]) == ("success", 2)


def test_long_and_unprintable_ids_are_shortened_and_escaped() -> None:
    text = selection_text(RetrySelection(responses=["a\nb\u202e", "x" * 5000]))
    assert text == f"failed; response a\\nb\\u202e or {'x' * 100}…"

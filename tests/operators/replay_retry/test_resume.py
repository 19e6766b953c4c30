"""A run of ``<id>__replay`` resumes a replay in which contacts are pending, or retries errors that an exit handled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.retry import RetrySelection, walk_again
from tests.operators.flows import action, flow
from tests.operators.replay_retry.retries import answer, count_sent, dag_of, retry, states, the_replay
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def leave_pending(url: str, *responses: str) -> None:
    """Leave contacts pending, as a replay that was stopped does."""
    with Ledger(url) as ledger:
        walk_again(ledger, the_replay(url), RetrySelection(responses=responses))


def test_a_run_resumes_what_is_pending_and_nothing_else(
    server: RecordingServer, source: dict[str, Any], url: str
) -> None:
    leave_pending(url, "r-3", "r-7")
    fixed = {**source, "steps": [{**source["steps"][0], "url": "/fixed"}]}
    run = retry(dag_of(fixed)[0], states=["pending"])
    assert run.state == "success"
    assert run.xcom("plan", "plan")["retry"] == "of spring: pending; and 2 contacts that are pending"
    assert count_sent(server) == {3: 1, 7: 1}
    assert {request.target for request in server.received} == {"/fixed"}
    assert states(url) == {"completed": 11, "failed": 1}
    assert "/fixed" in the_replay(url).flow


def test_without_pending_contacts_nothing_is_resumed(server: RecordingServer, source: dict[str, Any], url: str) -> None:
    dag, failures = dag_of(source)
    assert retry(dag, states=["pending"]).states["plan"] == "failed"
    assert str(failures.errors[0]) == "plan: nothing to resume: no contact of the replay 'spring' is pending"
    assert server.received == []


def test_a_resumed_contact_that_fails_makes_the_run_red(
    server: RecordingServer, source: dict[str, Any], url: str
) -> None:
    leave_pending(url, "r-3")
    answer(server, {3: 422})
    dag, failures = dag_of(source)
    run = retry(dag, states=["pending"])
    assert (run.state, states(url)) == ("failed", {"completed": 9, "failed": 3})
    assert "1 failed" in str(failures.errors[0])


def test_a_run_retries_handled_errors_and_nothing_else(server: RecordingServer, responses: Path, url: str) -> None:
    answer(server, {3: 422, 8: 422})
    create = action("Create", body="{{ contact }}", on_error="Noted")
    source = flow(create, {"name": "Noted", "type": "end"}, replay={"source": str(responses), "chunk_size": 5})
    file = responses.with_name("flow.json")
    file.write_text(json.dumps(source), encoding="utf-8")
    main(["replay", "run", str(file), "--responses", str(responses), "--replay-id", "spring"])
    assert states(url) == {"completed": 12}
    server.received.clear()
    answer(server, {})
    run = retry(dag_of(source)[0], handled=True)
    assert run.state == "success"
    assert run.xcom("plan", "plan")["retry"] == "of spring: any state; handled errors"
    assert count_sent(server) == {3: 1, 8: 1}
    assert states(url) == {"completed": 12}

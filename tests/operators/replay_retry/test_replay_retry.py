"""A run of ``<id>__replay`` retries selected contacts of an earlier replay, as ``replay retry`` does."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_whatsapp_flows import build_replay_dag
from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.dag_factory.replay_params import STATES
from airflow_whatsapp_flows.errors import LedgerError, ReplayError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.operators import replay_run
from airflow_whatsapp_flows.operators.failures import TaskFailureError
from airflow_whatsapp_flows.operators.replay_approval import ReplayApprovalOperator
from airflow_whatsapp_flows.operators.replay_retry import (
    PlannedSelection,
    find_retry,
    plan_retry,
    read_retry,
    resume_retry,
)
from airflow_whatsapp_flows.replay.retry import RETRIABLE
from tests.airflow_runs import run_dag
from tests.operators.clearing import run_cleared
from tests.operators.conftest import TaskLog
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


def test_a_run_retries_one_group_of_errors_and_clearing_it_only_what_failed_again(
    server: RecordingServer, source: dict[str, Any], url: str, task_log: TaskLog
) -> None:
    dag, failures = dag_of(source)
    group = fingerprint(url, 422)
    answer(server, {7: 400})  # fails in another way than before
    run = retry(dag, fingerprint=group)

    assert run.result("plan") == [[0], [1]]
    plan = run.xcom("plan", "plan")
    assert (plan["replay_id"], plan["rows"], plan["walked"], plan["done"]) == ("spring", 12, 2, 10)
    assert plan["retry"] == f"of spring: failed; fingerprint {group}"
    assert f"retry      of spring: failed; fingerprint {group}" in task_log.text
    assert (run.states["replay[0]"], run.states["replay[1]"], run.state) == ("success", "failed", "failed")
    assert "1 failed" in str(failures.errors[0])
    assert "this run retried 2 contacts: 1 completed, 1 failed" in task_log.text
    answer(server, {})
    run = run_cleared(dag, run.run_id, [("replay", 1), "report"])
    assert run.state == "success", "8 is still failed, but this run didn't retry it"
    assert count_sent(server) == {3: 1, 7: 2}
    assert states(url) == {"completed": 11, "failed": 1}
    assert run.result("report")["replay_id"] == "spring"


def test_clearing_the_whole_run_resends_only_what_it_retried(
    server: RecordingServer, source: dict[str, Any], url: str
) -> None:
    dag, _ = dag_of(source)
    answer(server, {7: 400})
    run = retry(dag, fingerprint=fingerprint(url, 422))
    answer(server, {})
    run = run_cleared(dag, run.run_id, dag.task_ids)
    assert (run.state, run.result("plan")) == ("success", [[1]])
    run = run_cleared(dag, run.run_id, ["plan"])
    assert (run.states["plan"], run.result("plan")) == ("success", []), "nothing is left, which is no error"
    assert count_sent(server) == {3: 1, 7: 2}


def test_skipped_contacts_whose_content_is_in_another_replay_can_be_retried(
    server: RecordingServer, responses: Path, url: str
) -> None:
    """Their content is looked up when they are walked, and moves to the chunk of their person."""
    answer(server, {5: 422})
    source = flow_source(responses)
    replay_by_command(source, responses)
    answer(server, {})
    words = ["--responses", str(responses), "--replay-id", "again"]
    assert main(["replay", "run", str(responses.with_name("flow.json")), *words]) == 0
    dag, _ = dag_of(source)
    run = run_dag(dag, {"retry_of": "again", "states": ["skipped"]})
    assert (run.state, run.xcom("plan", "plan")["walked"]) == ("success", 11)
    assert [run.result("report")[state] for state in ("completed", "skipped", "pending")] == [1, 11, 0]
    assert count_sent(server) == {**dict.fromkeys(range(12), 1), 5: 2}, "what succeeded elsewhere is skipped again"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_dry_run_changes_nothing(server: RecordingServer, source: dict[str, Any], url: str) -> None:
    before = the_replay(url)
    run = retry(dag_of(source)[0], dry_run=True)
    assert (run.state, run.states["replay"], run.states["report"]) == ("success", "skipped", "skipped")
    assert run.xcom("plan", "plan")["walked"] == 3
    assert (server.received, states(url), the_replay(url)) == ([], {"completed": 9, "failed": 3}, before)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_contacts_of_a_retry_that_is_not_approved_stay_failed(
    server: RecordingServer, source: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(task: Any, context: Any) -> None:
        asked.append(context["ti"].xcom_pull(task_ids="plan", key="plan")["retry"])
        raise TaskFailureError("rejected")

    monkeypatch.setattr(ReplayApprovalOperator, "execute", refuse)
    run = retry(dag_of(source)[0], states=["failed"], responses=["r-3"])
    assert (run.states["approve"], run.states["replay"]) == ("failed", "upstream_failed")
    assert asked == ["of spring: failed; response r-3"]
    assert (server.received, states(url)) == ([], {"completed": 9, "failed": 3})


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_retried_task_selects_nothing_again(
    server: RecordingServer, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contacts that fail again stay failed when Airflow retries the task for another reason."""
    dag, _ = dag_of(source)
    dag.task_dict["replay"].partial_kwargs.update(retry_delay=0, retries=2)
    answer(server, {3: 422, 7: 422, 8: 403})
    errors, count = iter([LedgerError("database is locked")]), replay_run.tally

    def locked_once(*arguments: Any) -> Any:
        for error in errors if server.received else ():
            raise error
        return count(*arguments)

    monkeypatch.setattr(replay_run, "tally", locked_once)
    assert retry(dag).state == "failed"
    assert next(errors, None) is None
    assert count_sent(server) == {3: 1, 7: 1, 8: 1}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_selection_that_matches_nothing_fails_the_plan(server: RecordingServer, source: dict[str, Any]) -> None:
    dag, failures = dag_of(source)
    run = retry(dag, fingerprint="zzz")
    assert (run.state, run.states["plan"], server.received) == ("failed", "failed", [])
    assert str(failures.errors[0]) == "plan: no contact of the replay 'spring' matches 'failed; fingerprint zzz'"


def plan(url: str, source: dict[str, Any], run: str = "run", **params: Any) -> PlannedSelection:
    retry = read_retry(json.dumps({"retry_of": "spring", **params}))
    assert retry is not None
    with Ledger(url) as ledger:
        return plan_retry(ledger, load_flow(source), retry, context(run))


def context(run: str) -> Any:
    return {"ti": SimpleNamespace(dag_id="a_dag"), "run_id": run}


@pytest.mark.parametrize(
    ("params", "contacts", "text"),
    [
        ({}, 3, "of spring: failed"),
        (
            {"states": ["failed"], "responses": ["r-8", "r-3", "r-1"]},
            2,
            "of spring: failed; response r-8 or r-3 or r-1",
        ),
        ({"steps": ["Create"], "responses": ["r-7"]}, 1, "of spring: any state; step Create; response r-7"),
        ({"states": ["failed", "completed"]}, 12, "of spring: failed, completed"),
        ({"fingerprint": "", "states": [], "steps": None, "responses": []}, 3, "of spring: failed"),
    ],
    ids=["all-failed", "responses", "step", "states", "left-blank"],
)
def test_the_plan_selects_by_the_params(
    source: dict[str, Any], url: str, params: dict[str, Any], contacts: int, text: str
) -> None:
    planned = plan(url, source, **params)
    assert (planned.found.result.contacts, planned.text) == (contacts, text)
    assert states(url) == {"completed": 9, "failed": 3}, "nothing has changed yet"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"retry_of": "sprin"}, "there is no replay 'sprin' in the ledger .*; did you mean 'spring'?"),
        ({"states": ["fialed"]}, "states: a retry can't select 'fialed'; did you mean 'failed'?"),
        ({"states": ["rejected"]}, "states: a retry can't select 'rejected'; allowed: "),
        ({"steps": ["create"]}, "there is no action step named 'create'; did you mean 'Create'?"),
        ({"responses": ["r-99"]}, "there is no response 'r-99' in the replay 'spring'"),
        ({"responses": ["r-1"]}, "the same conditions match 1 completed: select them with states"),
        ({"responses": "r-1"}, "the params of a retry are invalid"),
        ({"retry_of": "", "states": ["failed"]}, "states: set the id of the replay in retry_of too"),
    ],
    ids=["replay", "state", "rejected", "step", "response", "other-state", "no-list", "no-replay"],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_plan_refuses_what_selects_nothing(
    source: dict[str, Any], url: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReplayError, match=message):
        plan(url, source, **params)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_refuses_a_replay_of_another_flow(source: dict[str, Any], url: str) -> None:
    with pytest.raises(
        ReplayError,
        match=r"is of the flow .*, and this DAG's flow is 'other': trigger .*a fixed flow must keep its id",
    ):
        plan(url, {**source, "id": "other"})


def test_contacts_that_may_have_been_applied_are_left_out(server: RecordingServer, responses: Path, url: str) -> None:
    server._script = lambda request: (
        Answer(422) if b"0004" in request.content else Answer(drop=b"0003" in request.content)
    )
    source = flow_source(responses)
    replay_by_command(source, responses)
    found = plan(url, source, states=["failed", "in_doubt"])
    assert (found.found.result.contacts, found.found.result.left_out) == (1, 1)
    assert found.text.startswith("of spring: failed, in_doubt; 1 contact left out: the request may have been applied")
    with pytest.raises(ReplayError, match=r"nothing can be sent again: 1 contact left out.* replay resolve"):
        plan(url, source, states=["in_doubt"], run="other")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_retries_with_the_fixed_flow_at_the_rate_of_the_replay(
    server: RecordingServer, responses: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(server, {3: 422})
    source = flow_source(responses)
    replay_by_command(source, responses, "--rate", "1000")
    server.received.clear()
    answer(server, {})
    rates: list[Any] = []
    run = replay_run.run_replay
    monkeypatch.setattr(replay_run, "run_replay", lambda *given: rates.append(given[4].rates) or run(*given))
    fixed = {**source, "steps": [{**source["steps"][0], "url": "/fixed"}]}
    assert retry(dag_of(fixed)[0]).state == "success"
    assert [request.target for request in server.received] == ["/fixed"]
    assert rates == [{"": 1000.0}]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_refuses_a_flow_that_has_changed_since_the_plan(source: dict[str, Any], url: str) -> None:
    planned = plan(url, source)
    fixed = load_flow({**source, "steps": [{**source["steps"][0], "url": "/fixed"}]})
    with Ledger(url) as ledger:
        stored = find_retry(ledger, "spring", context("run"))
        assert stored is not None
        with pytest.raises(ReplayError, match="the flow has changed since this retry was planned"):
            resume_retry(ledger, fixed, "spring", stored, None)
        assert find_retry(ledger, "spring", context("another run")) is None
    assert states(url)["failed"] == planned.found.result.contacts == 3


def test_the_form_offers_what_can_be_retried(responses: Path) -> None:
    assert {*STATES} == {*RETRIABLE, "pending"}
    dag = build_replay_dag(load_flow(flow_source(responses)))
    form = {name: dag.params.get_param(name) for name in ("retry_of", "states", "steps", "fingerprint", "responses")}
    assert all(param.value is None and param.schema["title"] and param.description for param in form.values())
    assert form["steps"].schema["examples"] == ["Create"]
    assert form["states"].schema["type"] == ["array", "null"]

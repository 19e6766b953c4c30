"""Approval of a replay: who is asked and how, what the answer sets, and what the canary leads to."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.exceptions import HITLTimeoutError
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows import FlowFileError, build_replay_dag, load_dags
from airflow_whatsapp_flows.dag_factory import approval
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.operators.failures import TaskFailureError
from airflow_whatsapp_flows.operators.replay_approval import ReplayApprovalOperator
from airflow_whatsapp_flows.operators.replay_canary import ReplayCanaryOperator
from airflow_whatsapp_flows.operators.replay_canary_run import lower_rates
from airflow_whatsapp_flows.replay.host_limits import ANY_HOST
from tests.airflow_runs import FinishedRun, run_dag
from tests.dag_factory.test_replay_dag import flow_source
from tests.operators.clearing import run_cleared
from tests.operators.flows import write_responses
from tests.operators.one_action import Failures
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")
Answers = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def _ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 12)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Answer the tasks that ask, by task id; returns the texts of their pages."""

    def set_answers(**answers: Any) -> list[str]:
        pages: list[str] = []

        def execute(task: ApprovalOperator, context: Any) -> Any:
            pages.append(task.body or "")
            given = answers[task.task_id]
            event = {
                "chosen_options": ["Approve"],
                "params_input": {},
                "responded_at": dt.datetime.now(dt.timezone.utc),
                "responded_by_user": {"id": "ana", "name": "ana"},
            }
            return task.execute_complete(context, {**event, **given})

        monkeypatch.setattr(ApprovalOperator, "execute", execute)
        return pages

    return set_answers


def dag_of(source: dict[str, Any]) -> tuple[Any, Failures]:
    dag, failures = build_replay_dag(load_flow(source)), Failures()
    for task in dag.tasks:
        if isinstance(task, MappedOperator):
            task.partial_kwargs["on_failure_callback"] = [failures.note]
        else:
            task.on_failure_callback = [failures.note]
    return dag, failures


def run(source: dict[str, Any], **conf: Any) -> tuple[FinishedRun, Failures]:
    dag, failures = dag_of(source)
    return run_dag(dag, conf), failures


def numbers_sent(server: RecordingServer) -> list[int]:
    """The numbers of the responses that were sent, in order of their numbers."""
    return sorted(int(json.loads(request.content)["phone"][-4:]) for request in server.received)


CHOSEN = {"canary": None, "limit": None, "rate": None}
REJECT = {"chosen_options": ["Reject"]}


def test_a_canary_is_sent_and_the_others_after_its_approval(
    server: RecordingServer, responses: Path, answer: Answers
) -> None:
    server._script = lambda request: Answer.json({"id": 1}, 422 if b"0002" in request.content else 201)
    pages = answer(approve={"params_input": {**CHOSEN, "canary": 4}}, approve_canary={})
    finished, _ = run(flow_source(responses, approve=True, fail_when="never"))

    assert (finished.state, numbers_sent(server)) == ("success", list(range(12)))
    assert (finished.result("canary")["completed"], finished.result("canary")["pending"]) == (3, 8)
    assert "**12 of 12 responses would be sent**" in pages[0]
    assert "**The first 4 of 12 contacts were sent.** Approve to send the other 8" in pages[1]
    assert "| Create | 201 | application/json | id | 3 |" in pages[1]
    assert "422" in pages[1]
    assert "5555" not in pages[1]
    told = finished.xcom("canary", "canary")
    assert [one["count"] for one in told["errors"]] == [1]


def test_a_rejected_canary_sends_nothing_more_until_it_is_decided_again(
    server: RecordingServer, responses: Path, answer: Answers
) -> None:
    answer(approve={"params_input": {**CHOSEN, "canary": 4}}, approve_canary=REJECT)
    dag, failures = dag_of(flow_source(responses, approve=True))
    finished = run_dag(dag, {})

    assert (finished.state, numbers_sent(server)) == ("failed", [0, 1, 2, 3])
    assert (finished.states["approve_canary"], finished.states["report"]) == ("failed", "failed")
    assert "rejected, the 8 contacts behind the canary were not sent" in str(failures.errors[0])
    assert "stopped after the canary of 4 contacts: 8 are held" in str(failures.errors[-1])

    answer(approve_canary={})
    again = run_cleared(dag, finished.run_id, ["approve_canary", "replay", "report"])

    assert (again.state, numbers_sent(server)) == ("success", list(range(12)))


@pytest.mark.parametrize("canary", [None, 0])
def test_without_a_canary_the_second_approval_is_skipped(
    server: RecordingServer, responses: Path, answer: Answers, canary: int | None
) -> None:
    answer(approve={"params_input": {**CHOSEN, "canary": canary}})
    finished, _ = run(flow_source(responses, approve=True))

    assert (finished.state, numbers_sent(server)) == ("success", list(range(12)))
    assert (finished.states["canary"], finished.states["approve_canary"]) == ("skipped", "skipped")


def test_a_canary_of_all_contacts_needs_no_decision(server: RecordingServer, responses: Path, answer: Answers) -> None:
    answer(approve={"params_input": {**CHOSEN, "canary": 12}})
    finished, _ = run(flow_source(responses, approve=True))

    assert (finished.state, len(server.received)) == ("success", 12)
    assert finished.states["approve_canary"] == "skipped"


def test_few_contacts_need_no_approval(server: RecordingServer, responses: Path) -> None:
    finished, _ = run(flow_source(responses, approve={"canary": 3}, approve_above=12))

    assert (finished.state, len(server.received)) == ("success", 12)
    assert finished.states["canary"] == "skipped"


def test_a_rejected_replay_sends_nothing(server: RecordingServer, responses: Path, answer: Answers) -> None:
    answer(approve={**REJECT, "params_input": {**CHOSEN, "rate": -1}})
    finished, failures = run(flow_source(responses, approve=True))

    assert (finished.state, server.received) == ("failed", [])
    assert Counter(finished.states.values()) == {"success": 1, "failed": 2, "upstream_failed": 3}
    assert "rejected, nothing was sent" in str(failures.errors[0])


def test_a_limit_leaves_the_other_contacts_pending(server: RecordingServer, responses: Path, answer: Answers) -> None:
    pages = answer(approve={"params_input": {**CHOSEN, "limit": 7, "canary": 2}}, approve_canary={})
    finished, _ = run(flow_source(responses, approve=True))

    assert (finished.state, numbers_sent(server)) == ("success", list(range(7)))
    assert "Approve to send 5 more, the limit; 5 stay pending; reject to stop." in pages[1]
    assert finished.result("report")["pending"] == 5


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rate": -1}, "rate: -1 is not a number of requests per second above 0"),
        ({"rate": 11}, "rate: 11 requests per second are more than the 10 that the flow allows"),
        ({"rate": "fast"}, "rate: 'fast' is not a number of requests"),
        ({"rate": True}, "rate: True is not"),
        ({"limit": 0}, "limit: 0 is not a number of contacts"),
        ({"limit": 1.5}, "limit: 1.5 is not a whole number of contacts"),
        ({"canary": -3}, "canary: -3 is not"),
        ({"canary": "5"}, "canary: '5' is not"),
        ({"canary": 5, "limit": 4}, "canary: 5 contacts are more than the limit of 4"),
        ({"cannary": 5}, "there is no field 'cannary'; did you mean 'canary'?"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(given: dict[str, Any], told: str) -> None:
    task = ReplayApprovalOperator(
        task_id="approve", plan_task="plan", approve_above=0, subject="?", asks_for_choice=True, highest_rate=10
    )
    ti = SimpleNamespace(xcom_pull=lambda **_: {"replay_id": "r"}, xcom_push=lambda **_: None)
    event = {"chosen_options": ["Approve"], "params_input": given, "responded_at": dt.datetime.now(dt.timezone.utc)}

    with pytest.raises(TaskFailureError) as refused:
        task.execute_complete({"ti": ti, "task": task}, {**event, "responded_by_user": None})

    assert told in str(refused.value)
    assert "nothing was sent; clear this task to ask again" in str(refused.value)


def test_an_approved_rate_is_no_higher_than_the_rate_of_a_host() -> None:
    assert lower_rates({"crm": 5.0, "other": 50.0}, 10) == {"crm": 5.0, "other": 10, ANY_HOST: 10}
    assert lower_rates({ANY_HOST: 5.0}, 10) == {ANY_HOST: 5.0}
    assert lower_rates({"crm": 5.0}, None) == {"crm": 5.0}


def test_a_retry_asks_and_sends_its_canary_first(server: RecordingServer, responses: Path, answer: Answers) -> None:
    server._script = lambda request: Answer(422)
    answer(approve={})
    source = flow_source(responses, approve=True)
    dag, _ = dag_of(source)
    first = run_dag(dag, {})
    server.received.clear()
    server._script = lambda request: Answer.json({})
    pages = answer(approve={"params_input": {**CHOSEN, "canary": 3}}, approve_canary={})

    retried = run_dag(dag_of(source)[0], {"retry_of": f"{source['id']}__{first.run_id}"})

    assert (retried.state, numbers_sent(server)) == ("success", list(range(12)))
    assert "**The first 3 of 12 contacts were sent.** Approve to send the other 9" in pages[1]


@pytest.mark.parametrize(
    ("on_timeout", "state", "count"), [("approve", "success", 12), ("reject", "failed", 0), ("fail", "failed", 0)]
)
def test_a_timeout_has_the_declared_outcome(
    server: RecordingServer, responses: Path, answer: Answers, on_timeout: str, state: str, count: int
) -> None:
    source = flow_source(responses, approve={"timeout": "90m", "on_timeout": on_timeout})
    task = build_replay_dag(load_flow(source)).get_task("approve")
    assert task.response_timeout == dt.timedelta(minutes=90)
    if on_timeout == "fail":
        assert task.defaults is None
        given: dict[str, Any] = {"error": str(HITLTimeoutError("late")), "error_type": "timeout"}
    else:
        assert task.defaults == [on_timeout.title()]
        given = {"chosen_options": task.defaults, "timedout": True, "params_input": CHOSEN, "responded_by_user": None}
    answer(approve=given)

    finished, failures = run(source)

    assert (finished.state, len(server.received)) == (state, count)
    if state == "failed":
        assert "nobody answered" in str(failures.errors[0])


class _Notifier(BaseNotifier):
    def notify(self, context: Any) -> None:
        raise NotImplementedError


def test_people_are_named_and_told() -> None:
    block = {"users": ["ana", "7"], "emails": ["ops@example.com"], "smtp_connection": "mail"}
    dag = build_replay_dag(load_flow(flow_source(approve=block)), notifiers=[_Notifier()])

    for name in ("approve", "approve_canary"):
        task = dag.get_task(name)
        assert task.assigned_users == [{"id": "ana", "name": "ana"}, {"id": "7", "name": "7"}]
        own, mail = task.notifiers
        assert isinstance(own, _Notifier)
        assert (mail.to, mail.smtp_conn_id) == (["ops@example.com"], "mail")


def test_an_address_is_no_template() -> None:
    with pytest.raises(FlowFileError, match="emails"):
        load_flow(flow_source(approve={"emails": ["{{conn.x.password}}@example.com"]}))
    with pytest.raises(FlowFileError, match="smtp_connection"):
        load_flow(flow_source(approve={"emails": ["a@example.com"], "smtp_connection": "{{ x }}"}))


def test_a_missing_mail_provider_is_a_fault_of_the_replays_dag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.smtp.notifications.smtp", None)
    source = {**flow_source(approve={"emails": ["a@example.com"]}), "id": "leads"}
    (tmp_path / "leads.json").write_text(json.dumps(source), encoding="utf-8")

    dags = load_dags(tmp_path)

    assert type(dags["leads__replay"].get_task("approve_canary")).__name__ == "FlowFaultOperator"
    with pytest.raises(FlowFileError, match="apache-airflow-providers-smtp"):
        build_replay_dag(load_flow(source))


def test_notifiers_of_a_folder_reach_its_replays(tmp_path: Path) -> None:
    source = {**flow_source(approve=True), "id": "leads"}
    (tmp_path / "leads.json").write_text(json.dumps(source), encoding="utf-8")

    dags = load_dags(tmp_path, notifiers=[_Notifier()])

    assert len(dags["leads__replay"].get_task("approve").notifiers) == 1


@pytest.mark.parametrize(
    ("replay", "told"),
    [
        ({"approve": False, "approve_above": 5}, "'approve' is false, but 'approve_above' asks"),
        ({"approve": {"timeout": "soon"}}, "approve.timeout"),
        ({"approve": {"timeout": "0h"}}, "not a duration from above 0 to 366 days"),
        ({"approve": {"on_timeout": "approve"}}, "'on_timeout' needs a 'timeout'"),
        ({"approve": {"smtp_connection": "mail"}}, "'smtp_connection' needs 'emails'"),
        ({"approve": {"user": ["ana"]}}, "did you mean 'users'"),
        ({"approve": {"canary": 0}}, "canary"),
        ({"approve": "yes"}, "approve"),
    ],
)
def test_faults_of_the_block_are_named(replay: dict[str, Any], told: str) -> None:
    with pytest.raises(FlowFileError) as refused:
        load_flow(flow_source(**replay))
    assert told in str(refused.value)


def test_the_answer_is_needed_before_anything_is_sent(server: RecordingServer, responses: Path) -> None:
    """A task that is marked as a success or skipped by hand is no approval."""

    def skip(*_: Any, **__: Any) -> None:
        raise AirflowSkipException

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReplayApprovalOperator, "execute", skip)
        finished, failures = run(flow_source(responses, approve=True))

    assert (finished.state, server.received) == ("failed", [])
    assert "'approve' has not passed" in str(failures.errors[0])


def test_a_canary_skipped_by_hand_is_no_decision(server: RecordingServer, responses: Path, answer: Answers) -> None:
    def skip(*_: Any, **__: Any) -> None:
        raise AirflowSkipException

    answer(approve={"params_input": {**CHOSEN, "canary": 4}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReplayCanaryOperator, "execute", skip)
        finished, failures = run(flow_source(responses, approve=True))

    assert (finished.state, numbers_sent(server)) == ("failed", list(range(4)))
    assert "stopped after the canary of 4 contacts: 8 are held" in str(failures.errors[-1])


def test_clearing_the_canary_leaves_the_failed_contacts_behind_it(
    server: RecordingServer, responses: Path, answer: Answers
) -> None:
    server._script = lambda request: Answer(422)
    answer(approve={"params_input": {**CHOSEN, "canary": 4}}, approve_canary={})
    dag, _ = dag_of(flow_source(responses, approve=True, fail_when="never"))
    finished = run_dag(dag, {})
    server.received.clear()
    server._script = lambda request: Answer.json({})

    again = run_cleared(dag, finished.run_id, ["canary"])

    assert numbers_sent(server) == [0, 1, 2, 3]
    counted = again.result("canary")
    assert (counted["completed"], counted["failed"], counted["pending"]) == (4, 8, 0)


def test_a_flow_without_approval_has_the_same_tasks_as_before() -> None:
    assert list(build_replay_dag(load_flow(flow_source())).task_dict) == ["plan", "approve", "replay", "report"]
    assert approval.asks(load_flow(flow_source(approve=False)).replay or pytest.fail("no block")) is False

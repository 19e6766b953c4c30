"""A DAG run that ends in doubt fails at a task named after the action."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows import build_dag
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_cleared
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow, message, question, seconds, step
from tests.operators.one_action import Failures
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

NEVER: dict[str, Any] = {"field": "contact.phone", "comparison": "exact", "value": "nobody"}
LAST = {
    "message": message("Last"),
    "tag": step("tag", "Last", contact_tags=["x"]),
    "end": step("end", "Last"),
    "question without an answer": question("Last"),
    "conditional": step("conditional", "Last", paths=[{"conditions": [NEVER], "next": "Other"}]),
    "go to another flow": step("trigger_flow", "Last", next_flow="other"),
    "delay": seconds("Last", 0),
    "action": action("Last"),
    "action with an error exit": action("Last", on_error="Other"),
    "contact update": step("contact_update", "Last", first_name="x"),
}


def red(run: FinishedRun) -> set[str]:
    return {task_id for task_id, state in run.states.items() if state in ("failed", "upstream_failed")}


def flow_with_error_exit(*steps: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A flow with a POST whose error exit leads to the first of the given steps."""
    return flow(action("Send", body={"n": 1}, on_success="Thanks", on_error=steps[0]["name"], **keys), *steps,
                message("Thanks"))  # fmt: skip


@pytest.mark.parametrize("last", LAST.values(), ids=LAST)
def test_the_red_task_does_not_depend_on_the_last_step(server: RecordingServer, last: dict[str, Any]) -> None:
    server.queued = [Answer(drop=True)]
    others = [message("Other")] if "Other" in repr(last) else []
    run = run_dag(build_dag(flow_with_error_exit(last, *others)))
    assert (run.state, red(run)) == ("failed", {"send__in_doubt"})
    assert (run.states["send"], run.states["last"], run.states["thanks"]) == ("success", "success", "skipped")
    end = run.xcom("last", "end")
    assert (end["state"], end["handled_errors"]) == ("in_doubt", 1)
    assert end["reason"].startswith("Send: ")
    assert run.xcom("send", "end") is None


def test_both_tasks_report_the_unknown_outcome(server: RecordingServer, task_log: TaskLog) -> None:
    server.queued = [Answer(drop=True)]
    dag, failures = build_dag(flow_with_error_exit(action("Tell sales"))), Failures()
    dag.task_dict["send__in_doubt"].on_failure_callback = [failures.note]
    run = run_dag(dag)
    told = run.xcom("send", "in_doubt")
    assert told.startswith("outcome unknown: Send: ")
    assert "closed the connection" in told
    assert run.result("send")["error"]["sent"] == "unknown"
    assert told in task_log.text
    assert str(failures.errors[0]).startswith(told)
    assert "mark this task as success; clearing 'send' does not send the request again" in str(failures.errors[0])


def test_an_action_without_an_error_exit_fails_itself(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True)]
    dag, failures = build_dag(flow(action("Send", body={"n": 1}, on_success="M"), message("M"))), Failures()
    dag.task_dict["send"].on_failure_callback = [failures.note]
    run = run_dag(dag)
    assert (run.state, red(run)) == ("failed", {"send", "m"})
    assert "outcome unknown: check at the server" in str(failures.errors[0])
    assert run.xcom("send", "end")["state"] == "in_doubt"


def test_every_doubt_and_every_failed_step_is_red(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True), Answer(drop=True)]
    made = flow_with_error_exit(
        action("Tell sales", on_error="Stop"), step("end", "Stop", state="failed", reason="nobody knows")
    )
    dag, failures = build_dag(made), Failures()
    dag.task_dict["stop"].on_failure_callback = [failures.note]
    run = run_dag(dag)
    assert red(run) == {"send__in_doubt", "tell_sales__in_doubt", "stop"}
    assert str(failures.errors[0]) == "nobody knows", "the doubts have tasks of their own"
    end = run.xcom("stop", "end")
    assert (end["state"], end["reason"].count("; ")) == ("in_doubt", 2)


@pytest.mark.parametrize("reply", [Answer(422), Answer(503)], ids=["refused", "server error, sent once"])
def test_a_handled_error_whose_outcome_is_known_is_green(server: RecordingServer, reply: Answer) -> None:
    server.queued = [reply]
    run = run_dag(build_dag(flow_with_error_exit(action("Tell sales"))))
    assert (run.state, run.states["send__in_doubt"], len(server.received)) == ("success", "skipped", 2)


def test_clearing_a_run_in_doubt_does_not_resend(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True)]
    dag = build_dag(flow_with_error_exit(action("Tell sales")))
    run = run_dag(dag)
    assert len(server.received) == 2
    again = run_cleared(dag, run.run_id, dag.task_dict)
    assert (again.state, again.states, len(server.received)) == (run.state, run.states, 2)
    again = run_cleared(dag, run.run_id, ["send__in_doubt"])
    assert (again.state, red(again), len(server.received)) == ("failed", {"send__in_doubt"}, 2)


def test_clearing_a_repeatable_action_settles_its_doubt(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True)]
    dag = build_dag(flow_with_error_exit(message("Sorry"), delivery="keyed", retry={"attempts": 1}))
    run = run_dag(dag)
    assert (red(run), run.states["sorry"]) == ({"send__in_doubt"}, "success")
    again = run_cleared(dag, run.run_id, dag.task_dict)
    assert again.state == "success"
    states = (again.states["send__in_doubt"], again.states["sorry"], again.states["thanks"])
    assert states == ("skipped", "skipped", "success")
    first, second = server.received
    assert (first.header("idempotency-key"), first.content) == (second.header("idempotency-key"), second.content)


def test_a_doubt_settled_by_a_later_visit_is_green(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True), Answer.json({"id": 1})]
    made = flow(
        action("Send", body={"n": 1}, on_success="Thanks", on_error="Send", delivery="keyed", retry={"attempts": 1}),
        message("Thanks"),
    )
    run = run_dag(build_dag(made))
    assert (run.state, run.states["send__in_doubt"]) == ("success", "skipped")
    assert run.xcom("thanks", "end") == {"state": "completed", "reason": "", "handled_errors": 1, "unanswered": False}


def test_a_doubt_of_a_loop_is_red_and_names_its_action(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True)] * 2
    made = flow(
        action("Send", body={"n": 1}, on_success="Thanks", on_error="Again", delivery="idempotent", max_visits=2,
               on_max_visits="Give up", retry={"attempts": 1}),
        step("go_to", "Again", next="Send"),
        message("Thanks"),
        message("Give up"),
    )  # fmt: skip
    dag = build_dag(made)
    assert dag.task_dict["send__in_doubt"].task_display_name == "Send: outcome unknown"
    run = run_dag(dag)
    assert (run.state, red(run), run.states["give_up"]) == ("failed", {"send__in_doubt"}, "success")


def test_a_loop_stopped_by_a_doubt_is_red(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True)]
    dag = build_dag(flow(action("Send", on_success="M", on_error="Send"), message("M")))
    failures = Failures()
    dag.task_dict["send"].on_failure_callback = [failures.note]
    run = run_dag(dag)
    assert red(run) == {"send", "m", "send__in_doubt"}
    assert run.states["send"] == "failed"
    assert str(failures.errors[0]).startswith("outcome unknown: Send: ")

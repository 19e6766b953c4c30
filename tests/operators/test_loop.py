"""A flow's loop as one task, in a real Airflow."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows import build_dag
from airflow_whatsapp_flows.flow.walk import deliver
from airflow_whatsapp_flows.ledger.task_store import Transaction
from airflow_whatsapp_flows.operators import wait as waiting
from airflow_whatsapp_flows.operators.loop import FlowLoopOperator
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_again
from tests.operators.flows import action, flow, message, polling_flow, question, seconds, step
from tests.operators.one_action import Failures
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

PENDING, DONE = Answer.json({"state": "pending"}), Answer.json({"state": "done", "text": "42"})


def targets(server: RecordingServer) -> list[str]:
    return [f"{one.method} {one.target}" for one in server.received]


def run(made: dict[str, Any], conf: dict[str, Any] | None = None) -> FinishedRun:
    return run_dag(build_dag(made), conf)


def test_a_loop_is_one_documented_task_with_labeled_exits() -> None:
    dag = build_dag(polling_flow(10))
    assert set(dag.task_dict) == {"start", "get_reply", "say", "sorry", "log"}
    assert dag.task_dict["get_reply"].task_display_name == "Loop: Get reply → Is it ready? → Wait → Again"
    assert dag.task_dict["get_reply"].operator_name == "Loop"
    assert dag.get_edge_info("get_reply", "say") == {"label": "Is it ready?: done"}
    assert dag.get_edge_info("get_reply", "sorry") == {"label": "Get reply: error"}


def test_polls_until_ready_and_passes_the_reply_on(server: RecordingServer) -> None:
    server.queued = [Answer.json({"id": 7}), PENDING, PENDING, DONE]
    done = run(polling_flow())
    assert done.state == "success"
    assert targets(server) == ["POST /start", *["GET /jobs/7"] * 3, "POST /log"]
    assert server.received[-1].content == b'{"state":"done"}'
    assert done.result("say")["text"] == "It says 42"
    assert done.states["sorry"] == "skipped"
    value = done.result("get_reply")
    assert (value["exit"], value["next"]) == ("Is it ready?: done", "Say")
    assert [(visit["step"], visit["visit"]) for visit in value["visits"][-3:]] == [
        ("Again", 2), ("Get reply", 3), ("Is it ready?", 3),
    ]  # fmt: skip
    assert [result["response"]["state"] for result in value["actions"]["Get reply"]] == ["pending", "pending", "done"]


def test_leaves_by_an_error_exit(server: RecordingServer) -> None:
    server.queued = [Answer.json({"id": 7}), PENDING, Answer.json({"state": "gone"}, 404)]
    done = run(polling_flow())
    assert (done.states["say"], done.states["sorry"], done.state) == ("skipped", "success", "success")
    assert done.result("get_reply")["exit"] == "Get reply: error"
    assert server.received[-1].content == b'{"state":"gone"}'


def retry_flow(**keys: Any) -> dict[str, Any]:
    return flow(
        action("Save", body={"n": 1}, on_success="Thanks", on_error="Wait", max_visits=3, **keys),
        seconds("Wait", 0, next="Save"),
        message("Thanks"),
        message("Give up"),
    )


def test_an_error_exit_back_into_the_loop_sends_again(server: RecordingServer) -> None:
    server.queued = [Answer(422), Answer(422)]
    done = run(retry_flow(on_max_visits="Give up"))
    assert (len(server.received), done.result("save")["exit"]) == (3, "Save: success")
    assert [result["status_code"] for result in done.result("save")["actions"]["Save"]] == [422, 422, 200]


def test_at_most_once_does_not_repeat_a_loop_in_doubt(server: RecordingServer) -> None:
    server.queued = [Answer(drop=True)]
    done = run(retry_flow(on_max_visits="Give up"))
    assert (len(server.received), done.states["save"], done.states["thanks"]) == (1, "failed", "upstream_failed")


def test_an_exhausted_loop_takes_on_max_visits(server: RecordingServer) -> None:
    server.queued = [Answer(422)] * 3
    made = retry_flow(on_max_visits="Give up")
    assert build_dag(made).get_edge_info("save", "give_up") == {"label": "Save: too many visits"}
    done = run(made)
    assert (done.states["thanks"], done.states["give_up"]) == ("skipped", "success")
    assert (done.result("save")["exit"], done.result("save")["next"]) == ("Save: too many visits", "Give up")


def test_an_exhausted_loop_without_on_max_visits_fails(server: RecordingServer) -> None:
    server.queued = [Answer(422)] * 9
    dag, failures = build_dag({**retry_flow(), "steps": retry_flow()["steps"][:3]}), Failures()
    dag.task_dict["save"].on_failure_callback = [failures.note]
    done = run_dag(dag)
    assert (len(server.received), done.states["save"]) == (3, "failed")
    assert "Save was visited 3 times" in str(failures.errors[0])
    assert len(done.result("save")["actions"]["Save"]) == 3, "what it did stays to be seen"


def test_each_visit_has_its_own_attempts(server: RecordingServer) -> None:
    """With Airflow's tries alone, the first visit would use them up."""
    flaky = [Answer(503), Answer(503)]
    server.queued = [Answer.json({"id": 7}), *flaky, PENDING, *flaky, DONE]
    done = run(polling_flow(retry={"attempts": 3, "wait": 0.01}))
    assert done.states["say"] == "success"
    assert [result["attempts"] for result in done.result("get_reply")["actions"]["Get reply"]] == [3, 3]


def test_a_visit_does_not_read_replies_of_others(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a hundred large replies at each of a hundred visits takes minutes and blocks other workers."""
    read: list[tuple[int, list[int]]] = []
    real = Transaction.attempts_of_visit

    def attempts(self: Any, subject: Any, names: Any, visit: int, *more: Any) -> Any:
        rows = real(self, subject, names, visit, *more)
        read.append((visit, [row.visit for row in rows]))
        return rows

    monkeypatch.setattr(Transaction, "attempts_of_visit", attempts)
    monkeypatch.setattr(Transaction, "attempts", lambda *_: [])
    server.queued = [Answer.json({"id": 7}), PENDING, PENDING, DONE]
    run(polling_flow())
    assert {visit for visit, _ in read} == {1, 2, 3}
    assert all(set(found) <= {visit} for visit, found in read)


def die_at(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """Let a try die once, after its n-th request was sent and before the outcome is recorded."""
    calls: list[int] = []
    real = deliver.classify

    def classify(*arguments: Any) -> Any:
        calls.append(len(calls) + 1)
        if len(calls) == call:
            raise RuntimeError("the worker is gone")
        return real(*arguments)

    monkeypatch.setattr(deliver, "classify", classify)
    return calls


def test_the_next_try_resumes_without_resending(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, ledger_file: Path
) -> None:
    server.queued = [Answer(422), Answer(422), Answer.json({"id": 3})]
    calls = die_at(monkeypatch, 3)
    made = retry_flow(retry={"attempts": 3, "wait": 0.01}, on_max_visits="Give up")
    made["steps"][0]["max_visits"] = 5
    done = run(made)
    # The third request may have arrived and is not sent again, so the rest of the loop is unknown.
    assert (len(server.received), len(calls), done.states["save"]) == (3, 3, "failed")
    results = done.result("save")["actions"]["Save"]
    assert [result["status_code"] for result in results] == [422, 422, None]
    assert results[2]["error"]["sent"] == "unknown"
    with contextlib.closing(sqlite3.connect(ledger_file)) as ledger:
        tries = [json.loads(origin)["try_number"] for (origin,) in ledger.execute(
            "SELECT origin FROM whatsapp_flows_attempts ORDER BY id")]  # fmt: skip
    assert tries == [1, 1, 1]


def test_the_next_try_resends_only_idempotent_requests(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.queued = [Answer.json({"id": 7}), PENDING, PENDING, DONE]
    die_at(monkeypatch, 3)  # the second of the loop's
    done = run(polling_flow(retry={"attempts": 3, "wait": 0.01}))
    assert done.states["say"] == "success"
    assert targets(server) == ["POST /start", *["GET /jobs/7"] * 3, "POST /log"]
    states = [result["response"]["state"] for result in done.result("get_reply")["actions"]["Get reply"]]
    assert states == ["pending", "done"], "what the dead try got of its second visit is lost"


def test_the_last_try_keeps_the_attempts_of_each_visit(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.queued = [Answer.json({"id": 7}), PENDING, PENDING, Answer(503), DONE]
    die_at(monkeypatch, 2)  # the first of the loop's
    done = run(polling_flow(retry={"attempts": 2, "wait": 0.01}))
    assert done.states["say"] == "success"
    assert [result["attempts"] for result in done.result("get_reply")["actions"]["Get reply"]] == [2, 2]


def test_clearing_a_finished_loop_returns_the_same_result(server: RecordingServer) -> None:
    server.queued = [Answer.json({"id": 7}), PENDING, DONE]
    dag = build_dag(polling_flow())
    first = run_dag(dag)
    sent = len(server.received)
    assert run_again(dag, first.run_id, "get_reply") == first.result("get_reply")
    assert len(server.received) == sent


class TestWaits:
    """Waits in a loop: short ones sleep, longer ones defer the task."""

    @pytest.fixture(autouse=True)
    def _defers_early(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waiting, "SHORTEST_DEFERRED", 0.5)

    @pytest.fixture
    def deferrals(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """The arguments of each deferral of the task."""
        found: list[dict[str, Any]] = []
        real = FlowLoopOperator.defer

        def defer(self: Any, **keys: Any) -> Any:
            found.append(keys)
            return real(self, **keys)

        monkeypatch.setattr(FlowLoopOperator, "defer", defer)
        return found

    def test_every_wait_is_deferred_once(self, server: RecordingServer, deferrals: list[dict[str, Any]]) -> None:
        server.queued = [Answer.json({"id": 7}), PENDING, PENDING, DONE]
        done = run(polling_flow(1))
        assert done.states["say"] == "success"
        assert targets(server) == ["POST /start", *["GET /jobs/7"] * 3, "POST /log"]
        assert len(deferrals) == 2

    def test_a_trigger_gets_only_a_time(self, server: RecordingServer, deferrals: list[dict[str, Any]]) -> None:
        server.queued = [Answer.json({"id": 7}), PENDING, DONE]
        run(polling_flow(1), {"contact": {"phone": "+525551234567"}})
        [asked] = deferrals
        path, arguments = asked.pop("trigger").serialize()
        assert path == "airflow.providers.standard.triggers.temporal.DateTimeTrigger"
        assert set(arguments) == {"moment", "end_from_trigger"}
        assert asked == {"method_name": "go_on"}

    def test_defers_between_attempts_of_a_visit(self, server: RecordingServer, deferrals: list[dict[str, Any]]) -> None:
        server.queued = [Answer.json({"id": 7}), PENDING, Answer(503, headers={"Retry-After": "1"}), DONE]
        done = run(polling_flow(0, retry={"attempts": 2, "wait": 0.01}))
        assert [result["attempts"] for result in done.result("get_reply")["actions"]["Get reply"]] == [1, 2]
        assert len(deferrals) == 1

    def test_does_not_wait_again_for_what_an_earlier_try_sent(
        self, server: RecordingServer, deferrals: list[dict[str, Any]]
    ) -> None:
        server.queued = [Answer.json({"id": 7}), PENDING, PENDING, DONE]
        dag = build_dag(polling_flow(1))
        first = run_dag(dag)
        deferrals.clear()
        assert run_again(dag, first.run_id, "get_reply")["exit"] == "Is it ready?: done"
        assert deferrals == []

    def test_waits_for_a_delay_before_an_exit_only(
        self, server: RecordingServer, deferrals: list[dict[str, Any]]
    ) -> None:
        enough = {"field": "step.Save.ok", "comparison": "exact", "value": True}
        made = flow(
            action("Save", on_success="Wait", on_error="Wait"),
            seconds("Wait", 1, next="Enough?"),
            step("conditional", "Enough?", paths=[{"conditions": [enough], "next": "Bye"}], otherwise="Save"),
            message("Bye"),
        )
        assert run(made).states["bye"] == "success"
        assert len(deferrals) == 1
        made["steps"][2]["paths"][0]["next"] = None
        assert run({**made, "id": f"{made['id']}_end", "steps": made["steps"][:3]}).state == "success"
        assert len(deferrals) == 1


def test_a_loop_of_questions_uses_the_answers_in_order() -> None:
    made = flow(
        {**question("Age", next="Thanks", on_answer_failed="Again", max_answer_attempts=1), "answer_type": "NUMBER"},
        message("Again", body="A number, please", next="Age"),
        message("Thanks", body="{{ step.Age }}"),
    )
    answers = [{"step": "Age", "value": value} for value in ("old", "very", "41")]
    done = run(made, {"history": answers})
    assert (done.state, done.result("thanks")["text"]) == ("success", "41")
    assert [visit.get("text") for visit in done.result("age")["visits"]].count("A number, please") == 2


def test_a_loop_off_the_path_is_skipped(server: RecordingServer) -> None:
    made = polling_flow()
    made["steps"].insert(0, {"name": "M", "type": "menu", "options": {"go": "Start", "no": "Sorry"}})
    done = run(made, {"step": {"M": "no"}})
    assert (done.states["get_reply"], done.states["sorry"], done.states["say"]) == ("skipped", "success", "skipped")


def test_a_loop_started_off_the_path_skips_itself(server: RecordingServer) -> None:
    made = flow(
        action("A", on_success="Bye", on_max_visits="Ask"),  # no branch stands behind it that could skip the loop
        question("Ask", answer_options=["yes"], on_answer_failed="Ask"),
        message("Bye"),
    )
    assert run(made).states == {"a": "success", "ask": "skipped", "bye": "success"}


@pytest.mark.parametrize("size", [10, 20_000])
def test_later_tasks_read_the_whole_reply_despite_a_limited_xcom(server: RecordingServer, size: int) -> None:
    text = "x" * size
    pending = Answer.json({"state": "pending", "text": text})
    server.queued = [Answer.json({"id": 7}), *[pending] * 10, Answer.json({"state": "done", "text": text})]
    done = run(polling_flow())
    value = done.result("get_reply")
    assert len(json.dumps(value)) <= 65_536
    assert done.result("say")["text"].startswith(f"It says {text[:4000]}")
    assert len(value["actions"]["Get reply"]) == 11
    assert ("in_ledger" in value["actions"]["Get reply"][0]) is (size > 10)


def test_a_long_loop_shows_its_first_and_last_visits(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__XCOM_MAX_BYTES", "20000")
    server.queued = [Answer.json({"id": 7}), *[PENDING] * 60, DONE]
    done = run(polling_flow())
    assert len(json.dumps(done.result("get_reply"))) <= 20_000
    assert {"left_out": 202} in done.result("get_reply")["visits"]
    assert done.result("say")["text"] == "It says 42"

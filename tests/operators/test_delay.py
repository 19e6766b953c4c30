"""A flow's delay as a task, in a real Airflow."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest

from airflow_whatsapp_flows import build_dag
from airflow_whatsapp_flows.operators import wait as waiting
from airflow_whatsapp_flows.operators.delay import FlowDelayOperator
from airflow_whatsapp_flows.operators.rewalk import Rewalk
from tests.airflow_runs import run_dag
from tests.operators.clearing import run_again
from tests.operators.flows import action, flow, message, question, seconds, step
from tests.operators.one_action import Failures
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.fixture
def deferrals(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each deferral."""
    found: list[dict[str, Any]] = []
    real = FlowDelayOperator.defer

    def defer(self: Any, **keys: Any) -> Any:
        found.append(keys)
        return real(self, **keys)

    monkeypatch.setattr(FlowDelayOperator, "defer", defer)
    return found


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[dt.datetime]:
    """The times that delays wait for, without waiting."""
    found: list[dt.datetime] = []

    def until(moment: dt.datetime) -> float:
        found.append(moment)
        return 0.0

    monkeypatch.setattr(waiting, "seconds_until", until)
    return found


def test_a_short_delay_sleeps(deferrals: list[dict[str, Any]]) -> None:
    begun = time.monotonic()
    done = run_dag(build_dag(flow(message("A", next="D"), seconds("D", 3, next="B"), message("B"))))
    assert done.states == {"a": "success", "d": "success", "b": "success"}
    assert time.monotonic() - begun >= 2
    assert deferrals == []


def test_a_longer_delay_defers_and_resumes(deferrals: list[dict[str, Any]], server: RecordingServer) -> None:
    made = flow(
        question("Ask", next="D"), seconds("D", 6, next="Save"), action("Save", body="{{ step.Ask }}", on_success=None)
    )
    done = run_dag(build_dag(made), {"step": {"Ask": "a secret"}})
    assert done.states == {"ask": "success", "d": "success", "save": "success"}
    [asked] = deferrals
    path, arguments = asked.pop("trigger").serialize()
    assert path == "airflow.providers.standard.triggers.temporal.DateTimeTrigger"
    assert set(arguments) == {"moment", "end_from_trigger"}
    assert asked == {"method_name": "go_on"}
    assert (done.result("d")["exit"], done.result("d")["next"]) == ("next", "Save")


def test_waits_from_the_end_of_the_previous_step(moments: list[dt.datetime]) -> None:
    made = flow(message("A", next="D"), seconds("D", 3600, next="B", when_replayed="skip"), message("B"))
    before = dt.datetime.now(dt.timezone.utc)
    dag = build_dag(made)
    done = run_dag(dag)
    [moment] = moments
    assert before + dt.timedelta(hours=1) <= moment <= dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1)
    run_again(dag, done.run_id, "d")
    assert moments == [moment, moment], "a cleared task waits no longer"


def test_a_first_delay_waits_from_the_start_of_the_run(moments: list[dt.datetime]) -> None:
    dag = build_dag(flow(seconds("D", 3600, next="B"), message("B")))
    done = run_dag(dag)
    run_again(dag, done.run_id, "d")
    assert len(moments) == 2
    assert moments[0] == moments[1]


def test_ends_within_hours_of_the_flows_zone(moments: list[dt.datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    sunday = dt.datetime(2026, 11, 22, 12, tzinfo=dt.timezone.utc)
    monkeypatch.setattr(Rewalk, "find_arrival", lambda *_: sunday)
    windows = [{"weekday": 0, "start_at": "09:00", "end_at": "18:00"}]
    made = flow(seconds("D", 60, time_windows=windows, next="B"), message("B"), timezone="America/Mexico_City")
    run_dag(build_dag(made))
    assert moments == [dt.datetime(2026, 11, 23, 15, tzinfo=dt.timezone.utc)]


def test_two_delays_run_in_sequence(moments: list[dt.datetime]) -> None:
    run_dag(build_dag(flow(seconds("D", 60, next="E"), seconds("E", 60, next="B"), message("B"))))
    assert len(moments) == 2


def test_an_invalid_time_fails_the_task() -> None:
    dag, failures = build_dag(flow(step("delay", "D", until="{{ contact.when }}", next="B"), message("B"))), Failures()
    dag.task_dict["d"].on_failure_callback = [failures.note]
    done = run_dag(dag, {"contact": {"when": "soon"}})
    assert done.states == {"d": "failed", "b": "upstream_failed"}
    assert "2026-11-22T16:04" in str(failures.errors[0])


def test_a_delay_off_the_path_is_skipped(moments: list[dt.datetime]) -> None:
    menu = {"name": "M", "type": "menu", "options": {"go": "D", "no": "B"}}
    done = run_dag(build_dag(flow(menu, seconds("D", 3600, next="B"), message("B"))), {"step": {"M": "no"}})
    assert (done.states["d"], done.states["b"], moments) == ("skipped", "success", [])

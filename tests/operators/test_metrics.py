"""Metrics through Airflow's own statistics, received by a real StatsD listener."""

from __future__ import annotations

import inspect
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator
from airflow_whatsapp_flows.dag_factory import build_dag
from airflow_whatsapp_flows.flow.delivery.decision import Attempt
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators import metrics
from airflow_whatsapp_flows.operators.metrics import Metrics
from tests.airflow_runs import run_dag
from tests.conftest import REPOSITORY
from tests.operators.flows import action, flow, write_responses
from tests.operators.one_action import new_dag_id, run_action
from tests.servers.recording import Answer, RecordingServer
from tests.servers.statsd import StatsdListener

pytestmark = pytest.mark.usefixtures("airflow")

OPERATORS_PAGE = REPOSITORY / "docs" / "operators.md"


def initialize() -> None:
    """Set up Airflow's statistics as a worker does at the start of a task."""
    from airflow.sdk.observability.metrics import stats_utils
    from airflow.sdk.observability.stats import Stats

    if inspect.signature(stats_utils.get_stats_factory).parameters:  # Airflow 3.2
        Stats.initialize(factory=stats_utils.get_stats_factory(Stats))
    else:
        Stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdListener]:
    client = pytest.importorskip("statsd", reason="Airflow's StatsD client is not installed: run make setup")
    listener, original, clients = StatsdListener(), client.StatsClient, []

    def connect(*arguments: Any) -> Any:
        clients.append(original(*arguments))
        return clients[-1]

    monkeypatch.setattr(client, "StatsClient", connect)
    for name, value in listener.settings().items():
        monkeypatch.setenv(name, value)
    initialize()
    yield listener
    listener.close()
    for one in clients:
        one._sock.close()  # statsd 3 has no close()
    monkeypatch.undo()
    initialize()


def test_a_replay_counts_requests_and_contacts(server: RecordingServer, tmp_path: Path, statsd: StatsdListener) -> None:
    def answer(request: Any) -> Answer:
        number = json.loads(request.content)["phone"][-1]
        return Answer(drop=True) if number == "3" else Answer({"1": 422, "2": 503}.get(number, 201))

    server._script = answer
    source = write_responses(tmp_path, 5)
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(
            task_id="replay", flow=flow(action("Create", body="{{ contact }}")), source=str(source), fail_when="never"
        )
    run_dag(dag)
    counts, durations = statsd.read()
    assert counts == {
        "requests": 5,
        "requests.2xx": 2,
        "requests.4xx": 1,
        "requests.5xx": 1,
        "requests.no_reply": 1,
        "requests.in_doubt": 2,
        "contacts.completed": 2,
        "contacts.failed": 1,
        "contacts.in_doubt": 2,
    }
    assert len(durations) == 5


def test_retries_are_counted_in_tasks_and_replays(
    server: RecordingServer, tmp_path: Path, statsd: StatsdListener
) -> None:
    server.queued += [Answer(429), Answer(201)]
    assert run_action(retry={"attempts": 2, "wait": 0}).state == "success"
    counts, durations = statsd.read()
    assert counts == {"requests": 2, "requests.4xx": 1, "requests.2xx": 1, "requests.retries": 1}
    assert len(durations) == 2
    server.queued += [Answer(429), Answer(201)]
    source = write_responses(tmp_path, 1)
    with DAG(new_dag_id()) as dag:
        again = flow(action("Create", retry={"attempts": 2, "wait": 0}))
        WhatsAppReplayOperator(task_id="replay", flow=again, source=str(source))
    run_dag(dag)
    counts, _ = statsd.read()
    assert counts["requests.retries"] == 1
    assert counts["requests"] == 2


def test_a_flow_counts_its_requests(server: RecordingServer, statsd: StatsdListener) -> None:
    run_dag(build_dag(flow(action("Create"))), {"contact": {"phone": "1"}})
    counts, _ = statsd.read()
    assert counts == {"requests": 1, "requests.2xx": 1}


def test_what_the_ledger_has_is_not_counted_again(server: RecordingServer, statsd: StatsdListener) -> None:
    dag = build_dag(flow(action("Create")))
    conf = {"contact": {"phone": "1"}, "id": "r-1"}
    run_dag(dag, conf)
    assert statsd.read()[0]["requests"] == 1
    assert run_dag(dag, conf).state == "success"
    assert statsd.read()[0] == {}


def test_without_a_backend_nothing_is_counted(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Metrics] = []
    monkeypatch.setattr(Metrics, "note_attempt", lambda self, attempt: made.append(self))
    assert Metrics.of({}, "leads") is None
    run_action()
    assert made == []


def attempt(status: int | None, elapsed_ms: int = 5) -> Attempt:
    result = ActionResult(
        outcome=Outcome.SUCCESS, status_code=status, headers={}, method="POST", url="", elapsed_ms=elapsed_ms
    )
    return Attempt(1, "", 0.0, Fate.SUCCEEDED, result)


class Statistics:
    """Takes the place of Airflow's statistics."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.durations: list[int] = []
        self.tags: list[Any] = []

    def incr(self, name: str, number: int, *, tags: Any) -> None:
        self.counts[name] += number
        self.tags.append(tags)

    def note_duration(self, _name: str, milliseconds: int, *, tags: Any) -> None:
        self.durations.append(milliseconds)
        self.tags.append(tags)

    timing = note_duration


@pytest.fixture
def statistics(monkeypatch: pytest.MonkeyPatch) -> Statistics:
    statistics = Statistics()
    monkeypatch.setattr(metrics, "Stats", statistics)
    return statistics


def test_a_report_has_a_sample_of_durations_and_all_counts(statistics: Statistics) -> None:
    own = Metrics({"flow_id": "leads"})
    for number in range(2_000):
        own.note_attempt(attempt(201, number))
    own.send()
    assert statistics.counts == {"whatsapp_flows.requests": 2_000, "whatsapp_flows.requests.2xx": 2_000}
    assert len(statistics.durations) == 100
    assert 500 < sum(statistics.durations) / 100 < 1_500  # of the whole report, and not of its start
    assert {"flow_id": "leads"} in statistics.tags
    own.send()
    assert len(statistics.durations) == 100


def test_contacts_are_counted_once_over_several_reports(statistics: Statistics) -> None:
    own = Metrics({})
    for completed in (3, 3, 10):
        own.note_contacts({ContactState.COMPLETED: completed})
        own.send()
    assert statistics.counts == {"whatsapp_flows.contacts.completed": 10}


def test_the_page_of_operators_lists_every_metric() -> None:
    text = OPERATORS_PAGE.read_text(encoding="utf-8")
    names = ["requests", "requests.retries", "requests.in_doubt", "requests.duration", "requests.no_reply"]
    names += [f"contacts.{state.value}" for state in ContactState if state is not ContactState.PENDING]
    for name in names:
        assert f"`whatsapp_flows.{name}`" in text, name


@pytest.mark.alone
def test_counting_costs_little() -> None:
    own, one = Metrics({}), attempt(201)
    begun = time.process_time()
    for _ in range(10_000):
        own.note_attempt(one)
    assert time.process_time() - begun < 1  # 5 µs is usual

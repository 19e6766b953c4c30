"""The links that Airflow shows beside a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_replay_dag
from airflow_whatsapp_flows.dag_factory import build_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.operators.links import RecordLink, ReplayLink, replay_path
from airflow_whatsapp_flows.provider_info import get_provider_info
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.flows import action, flow, message, polling_flow, write_responses
from tests.operators.one_action import new_dag_id
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

LINK = "_link_RecordLink"
RECORD_URL = "https://crm.example.com/c/{{ response.id }}"


def run(*steps: dict[str, Any], conf: dict[str, Any] | None = None, **keys: Any) -> FinishedRun:
    return run_dag(build_dag(flow(*steps, **keys)), conf or {"contact": {"phone": "1"}})


def test_an_action_links_to_what_it_created(server: RecordingServer) -> None:
    server.queued += [Answer.json({"id": "a/7"}, 201)]
    assert run(action("Save", record_url=RECORD_URL)).xcom("save", LINK) == "https://crm.example.com/c/a%2F7"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer.json({"id": 7}, 422), id="an-error"),
        pytest.param(Answer.json({"error": "x"}), id="no-id"),
    ],
)
def test_there_is_no_link_to_what_is_not_there(server: RecordingServer, answer: Answer) -> None:
    server.queued += [answer]
    done = run(action("Save", record_url=RECORD_URL, on_error="Sorry"), message("Sorry"))
    assert done.states["save"] == "success"
    assert not done.xcom("save", LINK)


def test_a_sensitive_value_is_in_no_link(server: RecordingServer) -> None:
    server.queued += [Answer.json({"id": "secret-of-ana"})]
    conf = {"contact": {"phone": "1", "email": "secret-of-ana"}}
    save = action("Save", record_url=RECORD_URL, body={"email": "{{ contact.email }}"})
    done = run(save, conf=conf, sensitive=["contact.email"])
    assert done.states["save"] == "success"
    assert not done.xcom("save", LINK)


def test_a_loop_links_to_its_last_success(server: RecordingServer) -> None:
    states = iter(["started", "queued", "done"])
    server._script = lambda request: Answer.json({"id": len(server.received), "state": next(states, "logged")})
    done = run_dag(build_dag(polling_flow(record_url=RECORD_URL)), {"contact": {"phone": "1"}})
    assert done.xcom("get_reply", LINK) == "https://crm.example.com/c/3"


def test_only_an_action_with_a_record_url_has_the_link() -> None:
    tasks = build_dag(flow(action("Plain", on_success="Linked"), action("Linked", record_url=RECORD_URL))).task_dict
    assert list(tasks["plain"].operator_extra_links) == []
    assert [link.name for link in tasks["linked"].operator_extra_links] == ["CRM record"]


def replay_links(run: FinishedRun) -> dict[str, Any]:
    """Task id to the link of a replay."""
    return {task_id: value for (task_id, key), value in run.other_xcoms.items() if key == "_link_ReplayLink"}


def test_the_tasks_of_a_replay_link_to_its_page(server: RecordingServer, tmp_path: Path) -> None:
    block = {"source": str(write_responses(tmp_path, 1))}
    dag = build_replay_dag(load_flow(flow(action("Create"), id="leads", replay=block)))
    run = run_dag(dag)
    path = f"/whatsapp-flows/replays/{quote(f'leads__{run.run_id}', safe='')}"
    assert run.state == "success"
    assert replay_links(run) == {"plan": path, "approve": path, "replay": path, "report": path}


@pytest.mark.parametrize("ends", [True, False], ids=["at-the-end", "while-it-runs"])
def test_the_page_is_linked_while_the_replay_runs_and_when_it_fails(
    server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise RuntimeError("the task was killed before its end")

    if not ends:
        monkeypatch.setattr(ReplayLink, "get_link", fail)
    server._script = lambda request: Answer(422)
    with DAG(new_dag_id()) as dag:
        replay = {"flow": flow(action("Create")), "source": str(write_responses(tmp_path, 1)), "replay_id": "r/1"}
        WhatsAppReplayOperator(task_id="replay", **replay)
    assert replay_links(run_dag(dag)) == {"replay": "/whatsapp-flows/replays/r%2F1"}


def test_a_dry_run_has_no_page(server: RecordingServer, tmp_path: Path) -> None:
    block = {"source": str(write_responses(tmp_path, 1))}
    run = run_dag(build_replay_dag(load_flow(flow(action("Create"), replay=block))), {"dry_run": True})
    assert run.states["plan"] == "success"
    assert not any(replay_links(run).values())


def test_a_link_is_below_the_path_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/a/")
    assert replay_path("r 1") == "/team/a/whatsapp-flows/replays/r%201"


def test_a_link_leads_to_the_pages_of_the_plugin() -> None:
    from airflow_whatsapp_flows.plugin import PREFIX

    assert replay_path("r").startswith(f"{PREFIX}/replays/")


def test_the_provider_registers_every_link() -> None:
    names = [f"{link.__module__}.{link.__name__}" for link in (RecordLink, ReplayLink)]
    assert get_provider_info()["extra-links"] == names

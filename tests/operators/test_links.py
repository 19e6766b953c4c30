"""The links that Airflow shows beside a task."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.dag_factory import build_dag
from airflow_whatsapp_flows.operators.links import RecordLink
from airflow_whatsapp_flows.provider_info import get_provider_info
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.flows import action, flow, message, polling_flow
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
    assert not done.xcom("save", LINK)


def test_a_sensitive_value_is_in_no_link(server: RecordingServer) -> None:
    server.queued += [Answer.json({"id": "secret-of-ana"})]
    conf = {"contact": {"phone": "1", "email": "secret-of-ana"}}
    save = action("Save", record_url=RECORD_URL, body={"email": "{{ contact.email }}"})
    done = run(save, conf=conf, sensitive=["contact.email"])
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


def test_the_provider_registers_every_link() -> None:
    name = f"{RecordLink.__module__}.{RecordLink.__name__}"
    assert get_provider_info()["extra-links"] == [name]

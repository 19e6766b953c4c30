"""The tab of a DAG run shows the steps that its contact passed and what was sent, or leads to its replay."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from airflow.sdk import DAG
from fastapi.testclient import TestClient

from airflow_whatsapp_flows import build_replay_dag
from airflow_whatsapp_flows.dag_factory import build_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.plugin import access, flow_sources
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.flows import action, flow, message, polling_flow, question, write_responses
from tests.operators.one_action import new_dag_id
from tests.plugin.pages import text_of
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

CONF = {"contact": {"phone": "+5215512345678"}, "step": {"Ask name": "Ana"}}


@pytest.fixture(autouse=True)
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of DAGs with one of flows, which this API server has."""
    (tmp_path / "flows").mkdir()
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    monkeypatch.setattr(flow_sources, "file_of_dag", lambda _: str(tmp_path / "dags.py"))
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    return tmp_path


def run_flow(dags: Path, source: dict[str, Any], conf: dict[str, Any] | None = None) -> FinishedRun:
    """Run the flow's DAG for one contact; the API server has the file of the flow."""
    (dags / "flows" / f"{source['id']}.json").write_text(json.dumps(source), encoding="utf-8")
    return run_dag(build_dag(source), CONF if conf is None else conf)


def get(client: TestClient, dag_id: str, run_id: str) -> Any:
    return client.get(f"/whatsapp-flows/runs/{quote(dag_id, safe='')}/{quote(run_id, safe='')}")


def rows(page: Any) -> list[list[str]]:
    """The cells of each step, but when it started."""
    found = re.findall(r"<tr>\n(.*?)</tr>", page.text, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)[:4] for row in found]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in cells]


def test_shows_the_steps_passed_with_exits_and_requests(
    client: TestClient, dags: Path, server: RecordingServer
) -> None:
    server._script = lambda request: Answer.json({"error": "no"}, 422)
    steps = question("Ask name", next="Create"), action("Create", on_success="Thanks", on_error="Sorry")
    source = flow(*steps, message("Thanks"), message("Sorry"), id=new_dag_id())
    run = run_flow(dags, source)
    page = get(client, source["id"], run.run_id)
    assert page.status_code == 200
    shown = rows(page)
    assert [row[0] for row in shown] == ["Ask name", "Create", "Sorry"]
    assert shown[1][1:3] == ["success", "error"]
    assert shown[1][3].startswith("422 Error")
    assert [row[3] for row in (shown[0], shown[2])] == ["–", "–"]
    assert "the contact is completed" in text_of(page)
    assert "1 error handled by an error exit" in text_of(page)
    tab = re.search(r'href="(/whatsapp-flows/tasks/[^"]+)">422', page.text)
    assert tab is not None
    assert client.get(tab[1]).status_code == 200


def test_a_step_that_failed_has_no_exit(client: TestClient, dags: Path, server: RecordingServer) -> None:
    server._script = lambda request: Answer(422)
    source = flow(action("Create"), id=new_dag_id())
    run = run_flow(dags, source)
    page = get(client, source["id"], run.run_id)
    assert [row[:3] for row in rows(page)] == [["Create", "failed", "–"]]
    assert "the contact is failed: Create: the server answered 422" in text_of(page)


def test_a_loop_is_one_step_with_all_its_requests(client: TestClient, dags: Path, server: RecordingServer) -> None:
    states = iter(["started", "queued", "done"])
    server._script = lambda _: Answer.json({"id": len(server.received), "state": next(states, "logged"), "text": "x"})
    source = {**polling_flow(), "id": new_dag_id()}
    run = run_flow(dags, source, {"contact": {"phone": "+5215512345678"}})
    assert run.state == "success"
    page = get(client, source["id"], run.run_id)
    polled = [row[3] for row in rows(page) if "Get reply," in row[3]]
    assert len(polled) == 1
    assert "visit 2" in polled[0]


def test_without_the_flow_and_the_ledger_the_tasks_are_shown(
    client: TestClient, dags: Path, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = flow(question("Ask name", next="Create"), action("Create"), id=new_dag_id())
    run = run_flow(dags, source)
    (dags / "flows" / f"{source['id']}.json").unlink()
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{dags / 'none.db'}")
    found = rows(get(client, source["id"], run.run_id))
    assert [row[0] for row in found if row[0] in ("Ask name", "Create")] == ["Ask name", "Create"]


def test_the_run_of_a_replay_dag_leads_to_the_replay(
    client: TestClient, server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = flow(action("Create"), id=new_dag_id(), replay={"source": str(write_responses(tmp_path, 2))})
    run = run_dag(build_replay_dag(load_flow(source)))
    page = get(client, f"{source['id']}__replay", run.run_id)
    link = re.search(r'sends the replay <a href="([^"]+)"', page.text)
    assert link is not None
    assert client.get(link[1]).status_code == 200
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: dag_id != source["id"])
    hidden = text_of(get(client, f"{source['id']}__replay", run.run_id))
    assert "No walk" in hidden
    assert "sends the replay" not in hidden


def test_a_run_that_retries_leads_to_the_retried_replay(
    client: TestClient, server: RecordingServer, tmp_path: Path
) -> None:
    server._script = lambda request: Answer(422)
    source = flow(action("Create"), id=new_dag_id(), replay={"source": str(write_responses(tmp_path, 1))})
    replaying = build_replay_dag(load_flow(source))
    first = f"{source['id']}__{run_dag(replaying).run_id}"
    run = run_dag(replaying, {"retry_of": first})
    text = text_of(get(client, f"{source['id']}__replay", run.run_id))
    assert f"This run retries contacts of the replay {first}" in " ".join(text.split())


def test_another_dag_has_no_walk(client: TestClient) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG(new_dag_id()) as dag:
        EmptyOperator(task_id="nothing")
    page = get(client, dag.dag_id, run_dag(dag).run_id)
    assert (page.status_code, "No walk" in page.text) == (200, True)


@pytest.mark.parametrize("run_id", ["gone", "a/b", "%00", "<script>"])
def test_a_run_that_airflow_does_not_have_is_not_found(client: TestClient, run_id: str) -> None:
    page = get(client, "gone", run_id)
    assert page.status_code == 404
    assert "<script>" not in page.text


def test_needs_permission_for_task_instances(
    client: TestClient, client_as: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(client_as("anonymous"), "gone", "run").status_code == 401
    monkeypatch.setattr(access, "_is_authorized", lambda user, dag_id, *_: False)
    assert get(client, "gone", "run").status_code == 403

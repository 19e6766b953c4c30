"""A DAG run of a response that was sent before a step was renamed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows import build_dag
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.renames import confirm_renames
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.flows import action, flow
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

CONF = {"id": "r-1", "contact": {"phone": "+525512345678"}}


def make_flow(flow_id: str, first: str, **keys: Any) -> dict[str, Any]:
    steps = [action(first, url="/first", on_success="Second", **keys), action("Second", url="/second")]
    return {**flow(*steps), "id": flow_id}


@pytest.fixture
def flow_id(url: str, server: RecordingServer) -> str:
    """The id of a flow whose second action was refused."""
    server.queued = [Answer.json({"id": 1}), Answer(422)]
    sent = flow(action("First", url="/first", on_success="Second"), action("Second", url="/second"))
    run = run_dag(build_dag(sent), CONF)
    assert (run.states["first"], run.states["second"]) == ("success", "failed")
    return str(sent["id"])


def targets(server: RecordingServer) -> list[str]:
    return [one.target for one in server.received]


def again(flow_id: str, first: str, **keys: Any) -> FinishedRun:
    return run_dag(build_dag(make_flow(flow_id, first, **keys)), CONF)


def test_a_renamed_step_is_refused_instead_of_resent(flow_id: str, server: RecordingServer) -> None:
    run = again(flow_id, "Primary")
    assert run.states["primary"] == "failed"
    assert targets(server) == ["/first", "/second"]


def test_an_id_equal_to_the_old_name_continues_its_keys(flow_id: str, server: RecordingServer) -> None:
    run = again(flow_id, "Primary", id="First")
    assert run.state == "success"
    assert targets(server) == ["/first", "/second", "/second"]


def test_a_confirmed_rename_applies_to_runs(flow_id: str, url: str, server: RecordingServer) -> None:
    with Ledger(url) as ledger, ledger.write() as connection:
        confirm_renames(connection, flow_id, {"First": "Primary"}, "ana")
    assert again(flow_id, "Primary").state == "success"
    assert targets(server) == ["/first", "/second", "/second"]


def test_a_removed_step_blocks_nothing(flow_id: str, url: str, server: RecordingServer) -> None:
    with Ledger(url) as ledger, ledger.write() as connection:
        confirm_renames(connection, flow_id, {"First": None}, "ana")
    assert again(flow_id, "Primary").state == "success"
    assert targets(server) == ["/first", "/second", "/first", "/second"]

"""A process that only parses DAG files imports what parsing needs, and nothing that only a running task needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.operators.flows import polling_flow

pytestmark = pytest.mark.usefixtures("airflow")

UNNEEDED = (
    "airflow_whatsapp_flows.cli",
    "airflow_whatsapp_flows.connections",
    "airflow_whatsapp_flows.hooks",
    "airflow_whatsapp_flows.ledger",
    "airflow_whatsapp_flows.replay.create",
    "airflow_whatsapp_flows.replay.engine",
    "airflow_whatsapp_flows.replay.plan",
    "airflow_whatsapp_flows.replay.sources",
    "airflow_whatsapp_flows.sender",
    "airflow_whatsapp_flows.transport",
    "alembic",
    "lxml",
    "phonenumbers",
    "psycopg",
)
"""Modules that parsing does not need, with everything below them.

aiohttp and requests are imported by Airflow's ``HttpOperator``, the parent class of the action, and SQLAlchemy by
``airflow.sdk``.
"""

FOLDER = """
from airflow_whatsapp_flows.dag_factory import load_dags
assert set(load_dags({folder!r})) == {{"leads", "leads__replay"}}
"""
OPERATORS = """
from airflow.sdk import DAG
from airflow_whatsapp_flows import WhatsAppActionOperator, WhatsAppBranchOperator, WhatsAppReplayOperator
from airflow_whatsapp_flows.operators.replay_approval import ReplayApprovalOperator
from airflow_whatsapp_flows.operators.replay_steps import ReplayPlanOperator
from airflow_whatsapp_flows.operators.replay_steps import ReplayReportOperator

with DAG("by_hand"):
    one = WhatsAppActionOperator(task_id="one", url="/leads", body={{"a": "{{{{ contact.phone }}}}"}})
    branch = WhatsAppBranchOperator(task_id="exit", action="one", on_success="two", on_error=None)
    one >> branch >> WhatsAppActionOperator(task_id="two", url="/two", body=one.output["response"])
    plan = ReplayPlanOperator(task_id="plan", flow="leads.json", source="answers.jsonl", rate=5, concurrency=2)
    ask = ReplayApprovalOperator(task_id="ask", plan_task="plan", approve_above=5, subject="Send?")
    send = WhatsAppReplayOperator.partial(task_id="send", flow="leads.json").expand(chunks=plan.output)
    ask >> send >> ReplayReportOperator(task_id="report", replay_id="r", plan_task="plan")
"""
IMPORTED = """
import json, sys
print(json.dumps(sorted(sys.modules)))
"""


def _modules_after(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program + IMPORTED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("program", [FOLDER, OPERATORS], ids=["a folder of flows", "operators in a DAG file"])
def test_parsing_imports_no_transport_engine_or_ledger(program: str, tmp_path: Path) -> None:
    replay = {"source": "answers.jsonl", "schedule": "@daily"}
    flow = {**polling_flow(max_visits=9), "id": "leads", "replay": replay}
    (tmp_path / "leads.json").write_text(json.dumps(flow), encoding="utf-8")
    modules = _modules_after(program.format(folder=str(tmp_path)))
    assert "airflow_whatsapp_flows.operators.replay" in modules
    unneeded = [name for name in modules if f"{name}.".startswith(tuple(f"{one}." for one in UNNEEDED))]
    assert unneeded == []

"""The number of requests of a replay is the same wherever it is reported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from airflow_whatsapp_flows import build_replay_dag
from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import find_replay
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveSelection, resolve
from tests.airflow_runs import run_dag
from tests.operators.clearing import run_cleared
from tests.operators.conftest import TaskLog
from tests.operators.flows import action, flow
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def test_all_roads_count_the_same_requests(
    server: RecordingServer,
    tmp_path: Path,
    ledger_file: Path,
    task_log: TaskLog,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of twelve requests gets no reply, is resolved as not sent, and is sent again: thirteen."""
    file = tmp_path / "responses.jsonl"
    rows = [{"id": f"r-{number}", "contact": {"phone": f"+52555000{number:04}"}} for number in range(12)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = flow(action("Create", body="{{ contact }}"), replay={"chunk_size": 5, "source": str(file)})
    server._script = lambda request: Answer(drop=b'"+525550000007"' in request.content)
    dag = build_replay_dag(load_flow(source))
    run = run_dag(dag, {})
    replay_id = run.result("report")["replay_id"]
    with Ledger(f"sqlite:///{ledger_file}") as ledger:
        replay = find_replay(ledger, replay_id)
        assert replay is not None
        resolve(ledger, replay, ResolveSelection(response_id="r-7"), Resolution(sent=False, by="ana"))
    server._script = lambda _: Answer()

    run = run_cleared(dag, run.run_id, [("replay", 0), ("replay", 1), ("replay", 2), "report"])

    assert len(server.received) == 13
    assert [run.result("replay", index)["requests"] for index in range(3)] == [5, 6, 2]
    assert run.result("report")["requests"] == 13
    assert "12 contacts: 12 completed; 13 requests" in task_log.text
    capsys.readouterr()
    words = ["replay", "status", replay_id, "--ledger", f"sqlite:///{ledger_file}"]
    main([*words, "--format", "json"])
    assert json.loads(capsys.readouterr().out)["requests"] == 13
    main(words)
    assert re.search(r"^13 requests", capsys.readouterr().out, re.MULTILINE)

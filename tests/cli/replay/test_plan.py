"""``whatsapp-flows replay plan`` shows what would be sent, and sends nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Write, action, flow
from tests.servers.recording import RecordingServer

ASK = {"name": "Ask", "type": "question", "next": "Call"}
CALL = action("Call", body={"phone": "{{ contact.phone }}", "name": "{{ step.Ask }}"})


@pytest.fixture
def batch(write: Write) -> list[str]:
    """Arguments for a flow and a source of three responses, a duplicate, and an invalid line."""
    lines = [
        json.dumps({"id": f"r-{n}", "contact": {"phone": f"+52551234567{n}"}, "step": {"Ask": "Xochitl"}})
        for n in (1, 2, 3, 1)
    ]
    source = write("r.jsonl", "\n".join([*lines, "{"]) + "\n")
    return [str(write("a_flow.json", flow(ASK, CALL))), "--responses", str(source)]


def test_text_shows_counts_calls_samples_and_the_duration(
    cli: Cli, batch: list[str], tmp_path: Path, server: RecordingServer
) -> None:
    done = cli("replay", "plan", *batch, "--rate", "1", "--ledger", f"sqlite:///{tmp_path / 'none' / 'l.db'}")

    assert done.status == 0
    assert "plan of a_flow, 5 rows from" in done.out
    assert f"{tmp_path / 'r.jsonl'}:5: not_json" in done.out
    assert "skipped: duplicate" in done.out
    assert f"{server.host}:" in done.out or server.host in done.out
    assert "estimated duration: 3.0 s" in done.out
    assert "200 ms (assumed)" in done.out
    assert '{"phone":"+52…71","name":"X…"}' in done.out
    assert "Xochitl" not in done.out + done.err
    assert server.received == []
    assert not (tmp_path / "none").exists()


def test_json_has_the_same_for_programs(cli: Cli, batch: list[str], tmp_path: Path, server: RecordingServer) -> None:
    done = cli("replay", "plan", *batch, "--format", "json", "--ledger", f"sqlite:///{tmp_path / 'l.db'}")

    shown = json.loads(done.out)
    assert done.status == 0
    assert (shown["rows"], shown["valid"], shown["rejected"], shown["walked"], shown["calls"]) == (5, 4, 1, 3, 3)
    assert shown["ends"] == {"completed": 3}
    assert shown["exits"] == [
        {"step": "Ask", "exit": "next", "contacts": 3},
        {"step": "Call", "exit": "success", "contacts": 3},
    ]
    assert shown["calls_by_step"] == {"Call": 3}
    assert shown["hosts"][0]["calls"] == 3
    assert len(shown["samples"]["Call"]) == 3
    assert shown["replay_id"] is None
    assert server.received == []


def test_after_a_run_nothing_is_left_to_send(
    cli: Cli, batch: list[str], tmp_path: Path, server: RecordingServer
) -> None:
    where = ["--ledger", f"sqlite:///{tmp_path / 'l.db'}"]
    assert cli("replay", "run", *batch, *where).status == 3
    sent = len(server.received)

    again = json.loads(cli("replay", "plan", *batch, *where, "--format", "json").out)
    anew = json.loads(cli("replay", "plan", *batch, *where, "--format", "json", "--replay-id", "anew").out)

    assert (again["walked"], again["calls"], again["done"]) == (0, 0, 4)
    assert again["replay_id"] is not None
    assert (anew["walked"], anew["calls"], sum(anew["skipped"].values())) == (0, 0, 4)
    assert len(server.received) == sent == 3


def test_refuses_what_run_would_refuse(cli: Cli, batch: list[str], write: Write, server: RecordingServer) -> None:
    broken = write("broken.json", flow(ASK))
    assert cli("replay", "plan", broken, *batch[1:]).status == 1
    assert cli("replay", "plan", batch[0], "--responses", "nowhere.jsonl").status == 1
    wrong = cli("replay", "plan", *batch, "--ledger", "mysql://x")
    assert (wrong.status, "a ledger must be an SQLAlchemy URL" in wrong.err) == (1, True)
    assert cli("replay", "plan", *batch, "--ledger", "nonsense").status == 1
    assert server.received == []

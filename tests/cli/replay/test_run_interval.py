"""``whatsapp-flows replay run`` of an interval, which in Airflow comes from the run."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Write, action, flow
from tests.servers.recording import RecordingServer

QUERY = 'SELECT id, phone AS "contact.phone" FROM leads WHERE at >= :data_interval_start AND at < :data_interval_end'


@pytest.fixture
def file(write: Write) -> Path:
    return write(
        "a_flow.json", flow(action("Create", body={"phone": "{{ contact.phone }}"}), timezone="America/Bogota")
    )


def test_gives_the_interval_of_a_query(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "leads.db") as connection:
        connection.execute("CREATE TABLE leads (id TEXT, phone TEXT, at TEXT)")
        rows = [(f"r-{n}", f"+52555000000{n}", f"2026-11-20 0{n}:00:00") for n in range(5, 9)]
        connection.executemany("INSERT INTO leads VALUES (?, ?, ?)", rows)
    connection.close()
    source = ["--responses", f"sqlite:///{tmp_path / 'leads.db'}", "--query", QUERY]
    interval = ["--interval-start", "2026-11-20T06:00", "--interval-end", "2026-11-20T03:00-05:00"]

    done = cli("replay", "run", file, *source, *interval, "--replay-id", "six", *ledger)

    assert done.status == 0
    assert sorted(json.loads(one.content)["phone"] for one in server.received) == ["+525550000006", "+525550000007"]
    other = ["--interval-start", "2026-11-20T05:00", *interval[2:]]
    done = cli("replay", "run", file, *source, *other, "--replay-id", "six", *ledger)
    assert (done.status, "was started with another set of query parameters" in done.err) == (1, True)


def test_gives_the_interval_of_a_path(
    cli: Cli, write: Write, file: Path, ledger: list[str], server: RecordingServer, tmp_path: Path
) -> None:
    write("2026-11-19.jsonl", json.dumps({"id": "r", "contact": {"phone": "+525550000001"}}))
    source = f"{tmp_path}/{{{{ run.data_interval_start | date('%Y-%m-%d') }}}}.jsonl"
    assert (
        cli("replay", "run", file, "--responses", source, "--interval-start", "2026-11-20T03:00", *ledger).status == 0
    )
    assert len(server.received) == 1, "the date is the local one of the flow"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the source uses data_interval_start, which only a DAG run has: pass --interval-start T"),
        (["--interval-start", "2026-11-20"], "the source uses data_interval_end, which only a DAG run has"),
        (["--query", "select :run_id"], "the source uses run_id, which only a DAG run has: write its value instead"),
        (["--query", "select 1", "--interval-end", "2026-11-20"], "--interval-end: the source would be read in full"),
        (["--interval-start", "2026-11-20", "--interval-end", "2026-11-20"], "--interval-end must be after"),
        (["--interval-start", "2026-11-21", "--interval-end", "2026-11-20"], "--interval-end must be after"),
        (["--query", "select :nothing"], "there is no parameter 'nothing'"),
    ],
    ids=["start", "end", "run", "unused", "empty", "reversed", "unknown"],
)
def test_says_what_to_pass(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, words: list[str], message: str
) -> None:
    done = cli("replay", "run", file, "--responses", "sqlite://", "--query", QUERY, *words, *ledger)
    assert (done.status, message in done.err) == (1, True), done.err
    assert server.received == []

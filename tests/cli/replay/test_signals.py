"""A replay stopped by a signal ends in time, reports what is left, and can be resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Cli
from tests.cli.replaying import LEADS, Leads, json_lines, lead
from tests.replay.runs import await_requests
from tests.servers.crm_log import CrmProcess, running_crm

CONTACTS = 150


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CrmProcess]:
    with running_crm(tmp_path / "crm.log", latency_ms=50) as server:
        yield server


@pytest.fixture
def slow_leads(cli: Cli, tmp_path: Path, crm: CrmProcess) -> Leads:
    found = Leads(cli, tmp_path, crm.url, crm.host)
    found.write(CONTACTS)
    return found


def begin(leads: Leads, *words: object, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, leads.run_words("--concurrency", 2, *words))],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_replay_exits_with_status_4_and_can_resume(
    slow_leads: Leads, crm: CrmProcess, number: signal.Signals
) -> None:
    with begin(slow_leads) as running:
        await_requests(crm, 10)
        began = time.monotonic()
        running.send_signal(number)
        out, err = running.communicate(timeout=10)
        took = time.monotonic() - began

    sent = len(crm.requests())
    assert (running.returncode, took < 10, "Traceback" in err) == (4, True, False)
    assert 10 <= sent < CONTACTS
    assert (
        f"stopped: stopped by {number.name}; {CONTACTS - sent} contacts pending; rerun the same command to resume"
        in out
    )

    resumed = slow_leads.run()

    assert resumed.status == 0
    assert Counter(Counter(request.contact for request in crm.requests()).values()) == {1: CONTACTS}
    assert slow_leads.run().status == 0
    assert slow_leads.run("--replay-id", "another").status == 0
    assert len(crm.requests()) == CONTACTS


def test_a_killed_replay_can_resume(slow_leads: Leads, crm: CrmProcess) -> None:
    with begin(slow_leads, "--replay-id", "first") as running:
        await_requests(crm, 10)
        running.kill()
        running.communicate(timeout=10)

    resumed = slow_leads.run("--replay-id", "first")

    counts = Counter(request.contact for request in crm.requests())
    assert resumed.status in (0, 3)
    assert set(counts.values()) == {1}
    in_doubt = slow_leads.status("first")["in_doubt"]
    assert in_doubt <= 4
    assert len(counts) >= CONTACTS - in_doubt


def test_a_replay_stopped_while_reading_has_sent_nothing(slow_leads: Leads, crm: CrmProcess) -> None:
    words = ["replay", "run", slow_leads.flow, "--responses", "-", *slow_leads.send_options]
    with subprocess.Popen(
        [*COMMAND, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(json_lines([lead(n) for n in range(2)]))
        running.stdin.flush()
        assert running.stderr.readline().startswith("ledger ")
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=10)

    assert (running.returncode, crm.requests()) == (4, [])
    assert err == "stopped while reading; nothing was sent; rerun the same command to read from the start\n"


@pytest.mark.parametrize(
    ("delivery", "told"),
    [
        ("at_most_once", "2 requests were under way: 2 will be in doubt, because they may have arrived"),
        ("keyed", "2 requests were under way: 2 will be sent again, as their delivery allows"),
    ],
)
def test_reports_interrupted_requests_and_what_follows(cli: Cli, tmp_path: Path, delivery: str, told: str) -> None:
    with running_crm(tmp_path / "crm.log", shares={"slow": 1}, slow_seconds=30, dedupe=True) as crm:
        leads = Leads(cli, tmp_path, crm.url, crm.host)
        steps = [{**step, "delivery": delivery} if step["type"] == "action" else step for step in LEADS["steps"]]
        leads.write(6, flow={**LEADS, "steps": steps})
        with begin(leads, "--replay-id", "first") as running:
            await_requests(crm, 2)
            running.send_signal(signal.SIGTERM)
            out, _ = running.communicate(timeout=20)
        crm.configure()
        resumed = leads.run("--replay-id", "first")

    assert (running.returncode, told in out) == (4, True), out
    in_doubt = leads.status("first")["in_doubt"]
    assert (resumed.status, in_doubt) == ((3, 2) if delivery == "at_most_once" else (0, 0))

"""Progress of a replay: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airflow_whatsapp_flows.cli.replay.progress import Lines, RowProgress, Watched
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.engine import Engine
from airflow_whatsapp_flows.replay.progress import Progress
from tests.cli.conftest import COMMAND, Cli
from tests.cli.replaying import Leads
from tests.servers.crm_log import running_crm


def engine(in_flight: int = 0, delayed_count: int = 0, **progress: Any) -> Engine:
    return cast(
        "Engine", SimpleNamespace(progress=Progress(**progress), in_flight=in_flight, delayed_count=delayed_count)
    )


def test_rate_and_time_left_use_the_last_seconds() -> None:
    running = engine(in_flight=7)
    watched = Watched(running, total=1000, before=100)
    watched.look(0.0)

    running.progress.ended[ContactState.COMPLETED] = 190
    running.progress.ended[ContactState.FAILED] = 10
    done, text = watched.look(2.0)

    assert (done, text) == (300, "100/s, 7 in flight, 10 errors, 7.0 s left")


def test_contacts_that_are_postponed_are_not_waited_for() -> None:
    running = engine()
    running.progress.postponed["quiet_hours"] = 10
    watched = Watched(running, total=10, before=0)

    assert watched.look(1.0) == (0, "0/s, 0 in flight, 0 errors")


def test_waiting_is_reported() -> None:
    watched = Watched(engine(), total=10, before=0)

    assert "waiting for a rate limit, a retry, or a host that is down" in watched.look(1.0)[1]


def test_counts_contacts_waiting_at_a_delay() -> None:
    watched = Watched(engine(delayed_count=1200), total=2000, before=0)

    assert watched.look(1.0) == (0, "0/s, 0 in flight, 0 errors, 1,200 waiting as long as the flow says")


def test_a_line_shows_the_number_done(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().show(1200, 5000, "312/s")

    assert capsys.readouterr().err == "1,200 of 5,000 done (24%), 312/s\n"


def test_reading_is_reported_periodically(capsys: pytest.CaptureFixture[str]) -> None:
    on_rows = RowProgress(None, _next=0.0)
    on_rows(500)
    on_rows(1000)

    assert capsys.readouterr().err == "reading: 500 rows\n"


def test_a_terminal_shows_a_bar(cli: Cli, tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=50) as crm:
        leads = Leads(cli, tmp_path, crm.url, crm.host)
        leads.write(100)
        ours, theirs = pty.openpty()
        words = [*COMMAND, *map(str, leads.run_words("--concurrency", 4))]
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "COLUMNS": "200"}
        ) as it:
            os.close(theirs)
            shown = _read_all(ours)
        os.close(ours)

    assert it.returncode == 0
    assert "of 100" in shown
    assert "in flight" in shown
    assert "━" in shown


def _read_all(terminal: int) -> str:
    found = b""
    while True:
        try:
            more = os.read(terminal, 65_536)
        except OSError:  # the other end is closed
            return found.decode("utf-8", "replace")
        if not more:
            return found.decode("utf-8", "replace")
        found += more

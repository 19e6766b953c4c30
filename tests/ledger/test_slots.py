"""Slots shared by processes are unique, and unaffected by changes of the clock."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.dialects import sqlite as module
from airflow_whatsapp_flows.ledger.schema import slots
from airflow_whatsapp_flows.ledger.slots import SharedSlots

ROOT = Path(__file__).resolve().parents[2]
RESERVE = """
import sys, time
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.slots import SharedSlots
with Ledger(sys.argv[1]) as ledger:
    shared = SharedSlots(ledger)
    for count in map(int, sys.argv[2].split(",")):
        with ledger.read() as connection:
            before = ledger.dialect.clock(connection)
        wait = shared.reserve("crm:443", 0.5, count)
        with ledger.read() as connection:
            after = ledger.dialect.clock(connection)
        print(before + wait, after + wait, count)
"""


def test_slots_are_unique_across_processes(ledger: Ledger, ledger_url: str) -> None:
    counts = [[1, 3, 2] * 8, [2, 1] * 12, [4] * 10]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RESERVE, ledger_url, ",".join(map(str, each))],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for each in counts
    ]
    outs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]

    got = sorted(tuple(map(float, line.split())) for out in outs for line in out.splitlines())
    total = sum(map(sum, counts))
    assert sum(count for _, _, count in got) == total
    # A reservation is a wait from some moment of the call, so its first slot is between two known times.
    for (early, _, count), (_, late, _) in itertools.pairwise(got):
        assert early + 0.5 * count <= late + 0.001
    first, last = got[0][0], got[-1][1] + 0.5 * (got[-1][2] - 1)
    assert last - first >= 0.5 * (total - 1) - 0.1


def test_slots_of_one_reservation_follow_each_other(ledger: Ledger) -> None:
    shared = SharedSlots(ledger)

    assert shared.reserve("a", 10.0, 3) == pytest.approx(0.0, abs=0.1)
    assert shared.reserve("a", 10.0, 1) == pytest.approx(30.0, abs=2.0)
    assert shared.reserve("b", 10.0, 1) == pytest.approx(0.0, abs=0.1)


def test_unused_slots_do_not_accumulate(ledger: Ledger) -> None:
    shared = SharedSlots(ledger)
    shared.reserve("a", 0.01, 1)
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        pass

    assert shared.reserve("a", 50.0, 1) == 0.0
    assert shared.reserve("a", 50.0, 1) > 40.0


def test_a_hold_delays_every_process_and_the_longest_wins(ledger: Ledger, ledger_url: str) -> None:
    shared = SharedSlots(ledger)
    shared.hold("a", 60.0)
    shared.hold("a", 5.0)

    with Ledger(ledger_url) as other:
        assert SharedSlots(other).hold_seconds("a") == pytest.approx(60.0, abs=2.0)
        assert SharedSlots(other).reserve("a", 1.0, 1) == pytest.approx(60.0, abs=2.0)
    assert shared.hold_seconds("b") == 0.0


def test_a_hold_ends(ledger: Ledger) -> None:
    shared = SharedSlots(ledger)
    shared.hold("a", 1e12)

    assert 86_000 < shared.hold_seconds("a") <= 86_400


def test_slots_do_not_depend_on_the_process_clock(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedSlots(ledger)
    shared.reserve("a", 10.0, 3)
    monkeypatch.setattr(time, "time", lambda: 0.0)

    assert shared.reserve("a", 10.0, 1) == pytest.approx(30.0, abs=2.0)


def test_slots_written_before_a_machine_restart_are_ignored(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    SharedSlots(sqlite_ledger).reserve("a", 3600.0, 5)
    SharedSlots(sqlite_ledger).hold("a", 7200.0)
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr(module, "_BOOT_ID", boot)
    monkeypatch.setattr(time, "monotonic", lambda: 12.0)

    assert SharedSlots(sqlite_ledger).hold_seconds("a") == 0.0
    assert SharedSlots(sqlite_ledger).reserve("a", 1.0, 1) == 0.0


def test_without_a_known_boot_time_slots_beyond_a_day_are_stale(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "none")
    far = time.monotonic() + 90_000
    with sqlite_ledger.write() as connection:
        connection.execute(insert(slots).values(host="a", next_at=far, held_until=far))

    assert SharedSlots(sqlite_ledger).hold_seconds("a") == 0.0
    assert SharedSlots(sqlite_ledger).reserve("a", 1.0, 1) == 0.0
    with sqlite_ledger.read() as connection:
        assert connection.execute(select(slots.c.next_at)).scalar_one() < far

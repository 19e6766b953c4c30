"""A hundred kills across modes, flows, and databases."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.replay.crashing import KILLED
from tests.replay.runs import Run, sqlite_url
from tests.replay.shapes import SHAPES
from tests.replay.test_crashes import EXPECTED
from tests.servers.crm_log import running_crm

pytestmark = pytest.mark.long

KILLS = 9  # for each shape and database: more than a hundred in all
FAULTS = {"error_applied": 0.02, "error_not_applied": 0.02, "drop": 0.02, "cut_body": 0.02}


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    url: str = request.getfixturevalue("postgres").create_database()
    return url


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_kills_keep_every_guarantee(tmp_path: Path, ledger: str, shape: str) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20, dedupe=True, shares=FAULTS) as crm:
        run = Run(tmp_path, crm, ledger, shape, total=900)

        run.kill_until_done(KILLS, random.Random(f"{shape} {ledger[:6]}"), 70)

        assert run.kills == KILLS
        assert run.broken_promises() == []


@pytest.mark.parametrize("point", EXPECTED)
@pytest.mark.parametrize("shape", ["keyed", "two_steps", "loop", "get_then_post"])
def test_a_death_at_any_point_of_any_flow_keeps_every_guarantee(
    tmp_path: Path, ledger: str, shape: str, point: str
) -> None:
    with running_crm(tmp_path / "crm.log", dedupe=True, shares={"error_not_applied": 0.3}) as crm:
        run = Run(tmp_path, crm, ledger, shape, total=40, concurrency=2)  # two deaths leave enough for both

        died, again, ended = run.finish(point=point, passing=3), run.finish(point=point, passing=4), run.finish()

        assert (died.status, again.status, ended.status) == (KILLED, KILLED, 0), (died, again, ended)
        assert run.broken_promises(kills=2) == []


def test_kills_leave_at_most_the_concurrency_in_doubt(tmp_path: Path, ledger: str) -> None:
    kills, concurrency = 8, 64
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, ledger, total=6 * kills * concurrency, concurrency=concurrency)

        run.kill_until_done(kills, random.Random(ledger[:6]), 4 * concurrency)

        assert run.kills == kills
        assert run.broken_promises() == []
        phones = {contact["id"]: contact["phone"] for contact in run.contacts() if contact["state"] == "in_doubt"}
        arrived = {entry.contact for entry in crm.requests()} & set(phones.values())
        assert 200 <= len(phones) <= kills * concurrency
        assert len(arrived) >= 0.9 * len(phones), f"{len(arrived)} of {len(phones)} arrived"

"""A hundred kills across modes, flows, and databases."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.replay.crashing import KILLED
from tests.replay.runs import Run
from tests.replay.shapes import SHAPES
from tests.replay.test_crashes import EXPECTED
from tests.servers.crm_faults import FEW_FAULTS
from tests.servers.crm_log import running_crm

pytestmark = pytest.mark.long

KILLS = 9  # for each shape and database: more than a hundred in all


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hundred_kills_keep_every_guarantee(tmp_path: Path, ledger_url: str, shape: str) -> None:
    with running_crm(tmp_path / "crm.log", latency_ms=20, dedupe=True, shares=FEW_FAULTS) as crm:
        run = Run(tmp_path, crm, ledger_url, shape, total=1_200)

        run.kill_until_done(KILLS, random.Random(f"{shape} {ledger_url[:6]}"), 70)

        assert run.kills == KILLS
        assert run.broken_promises() == []


@pytest.mark.parametrize("point", EXPECTED)
@pytest.mark.parametrize("shape", ["keyed", "two_steps", "loop", "get_then_post"])
def test_a_death_at_any_point_of_any_flow_keeps_every_guarantee(
    tmp_path: Path, ledger_url: str, shape: str, point: str
) -> None:
    with running_crm(tmp_path / "crm.log", dedupe=True, shares={"error_not_applied": 0.3}) as crm:
        run = Run(tmp_path, crm, ledger_url, shape, total=40, concurrency=2)  # two deaths leave enough for both

        died, again, ended = run.finish(point=point, passing=3), run.finish(point=point, passing=4), run.finish()

        assert (died.status, again.status, ended.status) == (KILLED, KILLED, 0), (died, again, ended)
        assert run.broken_promises(kills=2) == []


@pytest.mark.alone  # beside others, fewer of the requests that are intended are sent before the kill
def test_kills_leave_at_most_the_concurrency_in_doubt(tmp_path: Path, ledger_url: str) -> None:
    kills, concurrency = 8, 64
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        run = Run(tmp_path, crm, ledger_url, total=6 * kills * concurrency, concurrency=concurrency)

        run.kill_until_done(kills, random.Random(ledger_url[:6]), 4 * concurrency)

        assert run.kills == kills
        assert run.broken_promises() == []
        phones = {contact["id"]: contact["phone"] for contact in run.contacts() if contact["state"] == "in_doubt"}
        arrived = {entry.contact for entry in crm.requests()} & set(phones.values())
        assert 200 <= len(phones) <= kills * concurrency
        assert len(arrived) >= 0.9 * len(phones), f"{len(arrived)} of {len(phones)} arrived"

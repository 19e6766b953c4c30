"""Two concurrent replays of the same people under other ids send nobody twice under ``only_once``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.replay.ledger_history import read_reasons
from tests.replay.runs import Run, sqlite_url
from tests.servers.crm_log import running_crm

PEOPLE = 120


def _person(number: int, which: int) -> dict[str, Any]:
    """The same person twice, identified by the phone or by a shared e-mail address."""
    contact: dict[str, Any] = {"phone": f"+5255{number:08}"}
    if number % 3 == 0:
        contact = {"phone": f"+52{56 + which}{number:08}", "email": f"{number}@example.com"}
    return {"id": f"{'ab'[which]}-{number}", "contact": contact}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_concurrent_replays_send_nobody_twice(tmp_path: Path, request: pytest.FixtureRequest, database: str) -> None:
    url = sqlite_url(tmp_path)
    if database == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    with running_crm(tmp_path / "crm.log", latency_ms=20) as crm:
        runs = []
        for which in (0, 1):
            keys = {"replay": {"only_once": True}}
            run = Run(tmp_path / str(which), crm, url, replay_id=f"replay-{which}", concurrency=4, flow_keys=keys)
            people = range(PEOPLE) if which == 0 else reversed(range(PEOPLE))
            run.write_responses(_person(number, which) for number in people)
            runs.append(run)
        with runs[0].start() as first, runs[1].start() as second:
            ended = [first.wait(), second.wait()]
        requests = crm.requests()

    assert [one.status for one in ended] == [0, 0], ended
    times = Counter((one.contact or "")[-8:] for one in requests if one.applied)
    assert len(times) == PEOPLE
    assert set(times.values()) == {1}
    states = runs[0].states() + runs[1].states()
    assert states == {"completed": PEOPLE, "skipped": PEOPLE}
    skipped = {reason for run in runs for reason in read_reasons(url, run.replay_id).values() if reason}
    assert {reason.partition(":")[0] for reason in skipped} == {"only_once"}

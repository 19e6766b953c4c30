"""Two concurrent replays with different content of the same responses: the newer one wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay.ledger_history import read_reasons
from tests.replay.runs import PATIENCE, Run, sqlite_url
from tests.replay.test_changed_contents import body_hash, response_with_name
from tests.servers.crm_log import running_crm

TOTAL = 60


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_replays_at_once_leave_the_content_of_the_newer_one(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    url = sqlite_url(tmp_path)
    if database == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    with running_crm(tmp_path / "crm.log", dedupe=True, latency_ms=20) as crm:

        def replay(name: str) -> Run:
            run = Run(
                tmp_path / name, crm, url, "sync_keyed", total=TOTAL, replay_id=name, begin={"on_changed": "update"}
            )
            run.write_responses(response_with_name(number, name) for number in range(TOTAL))
            run.change_flow('"timeout": 5', '"timeout": 60')  # however busy the machine is
            return run

        assert replay("a").finish().status == 0
        b, c = replay("b"), replay("c")
        with b.start() as first:
            first.await_running()  # what both begin at the same moment has no order, and is rejected by one of them
            with c.start() as second:
                first.wait(PATIENCE)
                second.wait(PATIENCE)
        while any(run.states()["pending"] for run in (b, c)):  # the newer one has waited for the older one
            before = b.states() + c.states()
            b.finish()
            c.finish()
            assert b.states() + c.states() != before, "they wait for each other"

        requests = [entry for entry in crm.requests() if entry.applied]
        orders = {
            response_with_name(number, "a")["contact"]["phone"]: [
                name
                for entry in requests
                for name in "abc"
                if entry.body_hash == body_hash(response_with_name(number, name))
            ]
            for number in range(TOTAL)
        }
        newer = "c" if all(order[-1] == "c" for order in orders.values()) else "b"
        assert all(order[-1] == newer for order in orders.values()), "the newest is not everywhere the same"
        assert all(len(order) == len(set(order)) for order in orders.values())
        older, other = (b, "b") if newer == "c" else (c, "c")
        superseded = sum(reason.startswith("superseded: ") for reason in read_reasons(url, older.replay_id).values())
        assert superseded == sum(other not in order for order in orders.values())  # passed over by name
        assert set(older.states()) <= {"completed", "skipped"}

"""A process that dies at any point leaves a correct ledger, and another process resumes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.replay.crashing import KILLED, POINTS
from tests.replay.runs import Run, await_requests, sqlite_url
from tests.servers.crm_log import CrmProcess, running_crm

HIT, ROW = "r-00002", "contact_id=3,"
IN_DOUBT = "in_doubt"

# The state of the affected contact, and the total number of its requests at the server. Entries of one
# commit are lost together: an outcome may be in the commit of the contact's end.
EXPECTED = {
    "before the connection": ({"completed"}, {1}),
    "before the intent's commit": ({"completed"}, {1}),
    "after the intent's commit": ({IN_DOUBT}, {0}),
    "before the first byte": ({IN_DOUBT}, {0}),
    "after the request was written": ({IN_DOUBT}, {0, 1}),
    "after the reply": ({IN_DOUBT}, {1}),
    "before the outcome's commit": ({IN_DOUBT}, {1}),
    "after the outcome's commit": ({"completed"}, {1}),
    "before the contact's end": ({"completed", IN_DOUBT}, {1}),
    "after the contact's end": ({"completed"}, {1}),
}
BEFORE_ANY_SEND = {"during the snapshot": 2, "before the seal": 1, "after the seal": 1, "after the claim": 1}


def test_every_crash_point_has_an_expected_state() -> None:
    assert set(POINTS) == set(EXPECTED) | set(BEFORE_ANY_SEND)


@pytest.mark.parametrize("point", EXPECTED)
def test_a_death_at_any_point_leaves_the_expected_state(tmp_path: Path, crm: CrmProcess, point: str) -> None:
    run = Run(tmp_path, crm, sqlite_url(tmp_path), total=5, concurrency=1)

    # Requests go out one by one, in the order of the source; commits may hold the entries of several contacts.
    whose = ROW if "contact's end" in point else HIT
    died = run.finish(point=point, passing=1 if "commit" in point or whose == ROW else 3, whose=whose)
    ended = run.finish()

    allowed, requests = EXPECTED[point]
    contacts = {contact["id"]: contact for contact in run.contacts()}
    assert (died.status, ended.status) == (KILLED, 0), (died, ended)
    assert contacts[HIT]["state"] in allowed
    assert sum(entry.contact == contacts[HIT]["phone"] for entry in crm.requests()) in requests
    assert run.broken_promises(kills=1) == []


@pytest.mark.parametrize("point", BEFORE_ANY_SEND)
def test_a_death_before_the_first_send_loses_nothing(tmp_path: Path, crm: CrmProcess, point: str) -> None:
    run = Run(tmp_path, crm, sqlite_url(tmp_path), total=600)

    died, sent = run.finish(point=point, passing=BEFORE_ANY_SEND[point]), len(crm.requests())
    ended = run.finish()

    assert (died.status, ended.status, sent) == (KILLED, 0, 0), (died, ended)
    assert run.states() == {"completed": 600}
    assert run.broken_promises(kills=0) == []


@pytest.mark.parametrize("point", ["before the first byte", "after the reply", "before the outcome's commit"])
def test_a_keyed_request_is_sent_again_after_a_death(tmp_path: Path, point: str) -> None:
    with running_crm(tmp_path / "crm.log", dedupe=True) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), "keyed", total=5, concurrency=1)

        died, ended = run.finish(point=point, passing=3), run.finish()

        assert (died.status, ended.status) == (KILLED, 0), (died, ended)
        assert run.states() == {"completed": 5}
        assert run.broken_promises(kills=0) == []


@pytest.mark.parametrize(
    ("shape", "database"),
    [
        ("post", "sqlite"),
        pytest.param("two_steps", "postgresql", marks=pytest.mark.long),
        pytest.param("loop", "sqlite", marks=pytest.mark.long),
        ("keyed", "postgresql"),
        pytest.param("idempotent", "sqlite", marks=pytest.mark.long),
        pytest.param("get_then_post", "postgresql", marks=pytest.mark.long),
    ],
)
def test_kills_at_random_moments_keep_every_guarantee(
    tmp_path: Path, request: pytest.FixtureRequest, shape: str, database: str
) -> None:
    ledger = sqlite_url(tmp_path)
    if database == "postgresql":
        ledger = request.getfixturevalue("postgres").create_database()
    with running_crm(tmp_path / "crm.log", latency_ms=20, dedupe=True, shares={"error_applied": 0.05}) as crm:
        run = Run(tmp_path, crm, ledger, shape, total=250)

        run.kill_until_done(2, random.Random(shape), 60)

        assert run.kills == 2
        assert run.broken_promises() == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_intends_no_more_than_the_concurrency(tmp_path: Path, request: pytest.FixtureRequest, database: str) -> None:
    ledger = sqlite_url(tmp_path)
    if database == "postgresql":
        ledger = request.getfixturevalue("postgres").create_database()
    with running_crm(tmp_path / "crm.log", shares={"slow": 1}) as crm:
        run = Run(tmp_path, crm, ledger, total=100, concurrency=8)
        with run.start() as running:
            await_requests(crm, 8)
            time.sleep(0.2)  # a ninth intent would be committed by now
            intended = run.attempts()
            assert running.kill()

        assert [attempt["fate"] for attempt in intended] == [None] * 8
        crm.configure()
        assert run.finish().status == 0
        assert run.states() == {"completed": 92, "in_doubt": 8}
        assert run.broken_promises(kills=1) == []

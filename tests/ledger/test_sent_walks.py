"""What was last sent for responses and their people, as far as it can be compared."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.identity import Identity
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.unchanged import SentWalk
from airflow_whatsapp_flows.ledger import ContactState, Ledger, Subject
from airflow_whatsapp_flows.ledger.purge import DataSelection, purge
from airflow_whatsapp_flows.ledger.schema import attempts
from airflow_whatsapp_flows.ledger.sent_walks import find_sent_walks
from airflow_whatsapp_flows.ledger.task_store import open_task_ledger
from tests.ledger.filling import FLOW_ID, a_replay, attempt, attempts_of, end, response, result

NOBODY = Identity()
STEPS = StepIdentities(names=frozenset({"Create", "Tell"}))
DONE = {"result": result(), "status_code": 201}
OTHER = {"step": "Tell", "key": "key-tell", "digest": "t"}


def find(ledger: Ledger, response_id: str = "r-1", identity: Identity = NOBODY) -> SentWalk | None:
    with ledger.read() as connection:
        people = [(response_id, identity)]
        return find_sent_walks(connection.execute, FLOW_ID, people, STEPS).get(response_id)


def digests(found: SentWalk | None) -> list[str] | None:
    return None if found is None else [one.digest for one in found.requests]


def test_finds_the_requests_of_the_last_content(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, **DONE)
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, epoch=2, key="k2", digest="d2", begun_at=905.0, **DONE)
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, epoch=2, **OTHER, begun_at=906.0, **DONE)
    attempt(ledger, "r-2", Fate.SUCCEEDED, replay, **DONE)

    found = find(ledger)

    assert digests(found) == ["d2", "t"]
    assert found is not None
    assert (found.response_id, found.where, found.sent_at) == ("r-1", "the replay first", 906.0)
    assert found.reason("r-1") == "unchanged: the replay first sent the same at 1970-01-01 00:15:06 UTC"


@pytest.mark.parametrize(
    ("fate", "more", "expected"),
    [
        pytest.param(Fate.NOT_SENT, {}, ["d"], id="not sent"),
        pytest.param(Fate.ANSWERED, {"status_code": 422}, ["d"], id="refused"),
        pytest.param(Fate.ANSWERED, {"status_code": 500}, None, id="server failure with an error exit"),
        pytest.param(Fate.ANSWERED, {"status_code": 200}, None, id="rejected by success_when"),
        pytest.param(Fate.APPLIED, {"status_code": 200}, None, id="unusable reply"),
        pytest.param(Fate.UNKNOWN, {}, None, id="unknown"),
        pytest.param(None, {}, None, id="in flight"),
        pytest.param(Fate.SUCCEEDED, {"result": None}, None, id="erased"),
    ],
)
def test_later_content_counts_unless_it_was_not_applied(
    ledger: Ledger, fate: Fate | None, more: dict[str, Any], expected: list[str] | None
) -> None:
    attempt(ledger, "r-1", Fate.SUCCEEDED, **DONE)
    attempt(ledger, "r-1", fate, epoch=2, key="k2", digest="d2", **{"result": result(), **more})

    assert digests(find(ledger)) == expected


def test_a_repeated_request_is_one_and_two_different_ones_are_not_compared(ledger: Ledger) -> None:
    attempt(ledger, "r-1", Fate.UNKNOWN)
    attempt(ledger, "r-1", Fate.SUCCEEDED, number=2, **DONE)
    assert digests(find(ledger)) == ["d"]

    attempt(ledger, "r-1", Fate.SUCCEEDED, key="forced", **DONE)
    assert find(ledger) is None


def test_requests_that_change_nothing_do_not_make_a_walk_the_last_one(ledger: Ledger) -> None:
    attempt(ledger, "r-1", Fate.SUCCEEDED, **DONE)
    attempt(ledger, "r-1", Fate.SUCCEEDED, epoch=2, key="k2", method="GET", **DONE)

    assert digests(find(ledger)) == ["d"]


def test_a_step_that_the_flow_lost_is_not_compared(ledger: Ledger) -> None:
    attempt(ledger, "r-1", Fate.SUCCEEDED, **DONE)
    attempt(ledger, "r-1", Fate.SUCCEEDED, **{**OTHER, "step": "Gone"}, **DONE)

    assert find(ledger) is None


EMAIL = (("email", "ana@example.com"),)


@pytest.mark.parametrize("shared", ["phone of a replay", "phone of a run", "identifier"])
def test_finds_what_was_sent_to_the_same_person_under_another_id(ledger: Ledger, shared: str) -> None:
    replay, phone = a_replay(ledger, [response(2)]), "+525500000002"
    run = {"origin": '{"run_id": "manual"}', "phone": phone} if shared == "phone of a run" else {}
    attempt(
        ledger, "r-2", Fate.SUCCEEDED, None if run else replay, **run, **DONE,
        identifiers=EMAIL if shared == "identifier" else (),
    )  # fmt: skip
    identity = Identity(others=EMAIL) if shared == "identifier" else Identity(phone=phone)

    found = find(ledger, "r-1", identity)

    assert digests(found) == ["d"]
    assert found is not None
    assert found.where == ("the DAG run manual" if run else "the replay first")
    assert found.reason("r-1").endswith(", for the response r-2")
    assert find(ledger, "r-1", Identity(phone="+525500000009")) is None


def test_the_last_response_of_a_person_counts_unless_another_one_overlaps_it(ledger: Ledger) -> None:
    identity = Identity(others=EMAIL)
    attempt(ledger, "r-1", Fate.SUCCEEDED, **DONE, identifiers=EMAIL)
    attempt(ledger, "r-2", Fate.SUCCEEDED, digest="d2", **DONE, identifiers=EMAIL)
    assert digests(find(ledger, "r-1", identity)) == ["d2"]

    attempt(ledger, "r-1", Fate.SUCCEEDED, **OTHER, **DONE)
    assert find(ledger, "r-1", identity) is None
    assert digests(find(ledger, "r-3")) is None


def test_a_task_finds_the_same(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger:
        attempt(ledger, "r-2", Fate.SUCCEEDED, **DONE, phone="+525500000001")
        identity = Identity(phone="+525500000001", others=EMAIL)
        expected = find(ledger, "r-1", identity)
    opened = open_task_ledger(ledger_url)
    try:
        with opened.transaction() as transaction:
            found = transaction.sent_walk(Subject(FLOW_ID, "r-1"), identity, STEPS)
    finally:
        opened.close()

    assert expected is not None
    assert found == expected


def test_what_was_erased_is_not_compared(ledger: Ledger) -> None:
    attempt(ledger, "r-1", Fate.SUCCEEDED, **DONE)
    with ledger.write() as connection:
        connection.execute(update(attempts).values(result=None))

    assert find(ledger) is None


@pytest.mark.parametrize("shared", ["phone of a replay", "phone of a run", "identifier"])
def test_nothing_is_compared_beside_what_was_erased_of_the_same_person(ledger: Ledger, shared: str) -> None:
    """The ledger then no longer knows that the other response is of the same person."""
    phone = "+525500000001"
    same = {"contact": {"phone": phone}} if shared != "identifier" else {"contact": {"email": EMAIL[0][1]}}
    identity = Identity(others=EMAIL) if shared == "identifier" else Identity(phone=phone)
    kept, erased = a_replay(ledger, [response(1, **same), response(3)]), a_replay(ledger, [response(2, **same)], "two")
    end(ledger, kept, [ContactState.COMPLETED] * 2)
    end(ledger, erased, [ContactState.COMPLETED])
    attempt(ledger, "r-1", Fate.SUCCEEDED, None if shared == "phone of a run" else kept, **DONE,
            **({"phone": phone} if shared == "phone of a run" else {}))  # fmt: skip
    attempt(ledger, "r-1", Fate.SUCCEEDED, kept, flow_id="another", **DONE)
    attempt(ledger, "r-3", Fate.SUCCEEDED, kept, **DONE)
    attempt(ledger, "r-2", Fate.SUCCEEDED, erased, digest="d2", **DONE)
    assert digests(find(ledger, "r-1", identity)) == ["d2"]

    purge(ledger, DataSelection(replay_no=erased.no), "ana")

    assert find(ledger, "r-1", identity) is None
    assert digests(find(ledger, "r-3")) == ["d"]
    assert {row.origin for row in attempts_of(ledger, "r-3") if row.flow_id == FLOW_ID} == {None}
    assert [row.origin for row in attempts_of(ledger, "r-1") if row.flow_id == "another"] == [None]
    attempt(ledger, "r-1", Fate.SUCCEEDED, kept, epoch=2, key="k2", digest="d3", **DONE)
    assert digests(find(ledger, "r-1", identity)) == ["d3"]


def test_what_was_sent_later_is_compared_when_earlier_data_of_the_person_is_erased(ledger: Ledger) -> None:
    same = {"contact": {"phone": "+525500000001"}}
    erased, kept = a_replay(ledger, [response(2, **same)], "old"), a_replay(ledger, [response(1, **same)], "new")
    end(ledger, erased, [ContactState.COMPLETED], at=1000.0)
    end(ledger, kept, [ContactState.COMPLETED], at=3000.0)
    attempt(ledger, "r-2", Fate.SUCCEEDED, erased, digest="d2", **DONE)
    attempt(ledger, "r-1", Fate.SUCCEEDED, kept, **DONE)

    purge(ledger, DataSelection(before=2000.0), "ana")

    assert digests(find(ledger, "r-1", Identity(phone="+525500000001"))) == ["d"]

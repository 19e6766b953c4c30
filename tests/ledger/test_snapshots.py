"""The snapshot of a source: each row once, with a state, and unchanged after a resume."""

from __future__ import annotations

import json

import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.epochs import find_known_responses
from airflow_whatsapp_flows.ledger.replays import create_replay, find_pending_chunks, find_replay
from airflow_whatsapp_flows.ledger.results import contact_results
from airflow_whatsapp_flows.replay.snapshot import Snapshot
from airflow_whatsapp_flows.replay.sources import Row
from tests.ledger.filling import FLOW_ID, a_replay, end, response, rows_of, states_of


def test_holds_every_row_once_in_source_order(ledger: Ledger) -> None:
    replay = a_replay(
        ledger, [response(2), None, response(1), response(2), response(2, step={"Ask name": "Eva"}), {"contact": {}}]
    )

    rows = rows_of(ledger, replay)
    assert [row.place for row in rows] == [f"x:{number}" for number in range(1, 7)]
    assert [row.state for row in rows] == ["pending", "rejected", "pending", "skipped", "rejected", "rejected"]
    assert [(row.reason or "").partition(":")[0] for row in rows] == [
        "", "not_json", "", "duplicate", "id_reused", "missing_id",
    ]  # fmt: skip
    assert replay.sealed


def test_a_response_is_stored_completely_and_in_order(ledger: Ledger) -> None:
    value = {
        "id": 7,
        "contact": {"phone": 525512345678, "meta": {"z": 1, "a": {"y": None, "b": 2**70}}},
        "step": {"Q": None, "A": [1.5, True]},
        "global": {"g": "x"},
        "flow_execution_variables": {"c": 1},
        "created_on": "2026-11-20",
        "history": [{"step": "Q", "value": 1}, {"step": "A", "value": 2}, {"step": "Q", "value": None}],
        "actions": {"Call": [{"outcome": "success", "response": {"z": 1, "a": 2}}]},
        "exits": {"Q": "next"},
    }
    (row,) = rows_of(ledger, a_replay(ledger, [value]))

    assert (row.response_id, row.phone) == ("7", "+525512345678")
    assert read_response(json.loads(row.response)) == read_response(value)
    assert list(json.loads(row.response)["contact"]["meta"]) == ["z", "a"]


def test_the_same_content_in_another_order_is_the_same_response(ledger: Ledger) -> None:
    one, other = {"id": "1", "step": {"A": 1, "B": 2}}, {"step": {"B": 2, "A": 1}, "id": "1"}

    assert states_of(ledger, a_replay(ledger, [one, other])) == ["pending", "skipped"]


@pytest.mark.parametrize(("key", "value"), [("history", [{"step": "Q", "value": 1}]), ("exits", {"Call": "success"})])
def test_every_part_of_a_response_is_content(ledger: Ledger, key: str, value: object) -> None:
    assert states_of(ledger, a_replay(ledger, [response(1), response(1, **{key: value})])) == ["pending", "rejected"]


def test_responses_of_one_phone_are_in_one_chunk(ledger: Ledger) -> None:
    phone = {"phone": "+525500000000"}
    values = [response(number, **({"contact": phone} if number % 3 == 0 else {})) for number in range(1400)]

    replay = a_replay(ledger, values, chunk_size=100)

    rows = rows_of(ledger, replay)
    assert {row.chunk for row in rows if row.phone == phone["phone"]} == {0}
    assert find_pending_chunks(ledger, replay.no) == list(range(14))


def test_skips_contacts_done_or_in_doubt_elsewhere_unless_forced(ledger: Ledger) -> None:
    values = [response(number) for number in range(1, 5)]
    first = a_replay(ledger, values)
    end(ledger, first, [ContactState.COMPLETED, ContactState.IN_DOUBT, ContactState.FAILED])

    later = a_replay(ledger, [*values, response(1, step={"Ask name": "Eva"})], "later")

    assert states_of(ledger, later) == ["skipped", "in_doubt", "pending", "pending", "rejected"]
    assert next(contact_results(ledger, later)).reason == "done: the replay first completed it"
    forced = create_replay(ledger, "forced", FLOW_ID, "{}", ("x", None))
    Snapshot(ledger, forced, force=True).take(Row(1, "x:1", value) for value in [*values, values[0]])
    assert states_of(ledger, forced) == ["pending"] * 4 + ["skipped"]


def test_a_reference_to_another_replays_doubt_is_not_a_doubt(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    end(ledger, first, [ContactState.IN_DOUBT])
    a_replay(ledger, [response(1)], "later")

    with ledger.read() as connection:
        known = find_known_responses(connection, FLOW_ID, ["r-1"])

    assert [(one.replay_id, one.walked) for one in known["r-1"]] == [("first", True), ("later", False)]


def test_retakes_an_unfinished_snapshot(ledger: Ledger) -> None:
    replay = create_replay(ledger, "r", FLOW_ID, "{}", ("x", None))

    def broken_source() -> object:
        for number in range(700):
            yield Row(number, f"x:{number}", response(number))
        raise SourceError("cut off")

    with pytest.raises(SourceError, match="cut off"):
        Snapshot(ledger, replay).take(broken_source())  # type: ignore[arg-type]
    found = find_replay(ledger, "r")
    assert found is not None
    assert not found.sealed
    assert find_pending_chunks(ledger, replay.no) == []

    assert Snapshot(ledger, replay).take(Row(number, f"x:{number}", response(number)) for number in range(800)) == 800
    assert len(rows_of(ledger, replay)) == 800


def test_limit_takes_the_first_rows_and_progress_is_reported(ledger: Ledger) -> None:
    replay, told = create_replay(ledger, "r", FLOW_ID, "{}", ("x", None)), []
    rows = (Row(number, f"x:{number}", response(number)) for number in range(2000))

    Snapshot(ledger, replay, limit=1200, on_rows=told.append).take(rows)

    assert told == [500, 1000, 1200]
    assert next(rows).number == 1200  # and no row was read beyond


def test_accepts_nul_characters_and_very_long_ids(ledger: Ledger) -> None:
    values = [
        response(1, id="a\0b"),
        response(2, id="x" * 501),
        response(3, contact={"phone": "+52\x0055"}, step={"Ask name": "a\0b"}),
    ]

    rows = rows_of(ledger, a_replay(ledger, values))

    assert [row.state for row in rows] == ["rejected", "rejected", "pending"]
    assert json.loads(rows[2].response)["step"] == {"Ask name": "a\0b"}

"""A watermark moves with the seal of a snapshot, forward only, and a person may set it to anything."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.flow.watermark import Watermark
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import create_replay, find_replay
from airflow_whatsapp_flows.ledger.snapshots import seal
from airflow_whatsapp_flows.ledger.watermarks import (
    CURSOR,
    CursorKey,
    StoredWatermark,
    WatermarkMove,
    list_watermarks,
    set_watermark,
)

KEY = CursorKey("a_flow", "shop", "updated_at")


def number(value: int) -> Watermark:
    return Watermark("number", str(value))


def move(ledger: Ledger, name: str, to: int | None, edition: int = 0, query: str | None = None) -> Any:
    """Seal a replay that has read up to a value; return its options."""
    replay = create_replay(ledger, name, "a_flow", "{}", ("shop", None), options={CURSOR: {"column": "updated_at"}})
    seal(ledger, replay.no, WatermarkMove(KEY, edition, query, None if to is None else number(to)))
    found = find_replay(ledger, name)
    assert found is not None
    assert found.sealed
    return found.options[CURSOR]


def the_one(ledger: Ledger) -> StoredWatermark:
    [found] = list_watermarks(ledger, "a_flow")
    return found


def test_moves_forward_only(ledger: Ledger) -> None:
    assert move(ledger, "one", None) == {"column": "updated_at", "watermark": None}
    assert list_watermarks(ledger, "a_flow") == []
    assert move(ledger, "two", 9, query="q")["watermark"] == ["number", "9"]
    assert move(ledger, "three", 7, query="r")["watermark"] == ["number", "9"]
    assert move(ledger, "four", None)["watermark"] == ["number", "9"]
    found = the_one(ledger)
    assert (found.key, found.watermark, found.replay_id, found.query) == (KEY, number(9), "two", "r")
    assert move(ledger, "five", 10)["watermark"] == ["number", "10"], "compared as numbers"


def test_belongs_to_flow_source_and_column(ledger: Ledger) -> None:
    for key in (
        KEY,
        CursorKey("a_flow", "shop", "id"),
        CursorKey("a_flow", "x" * 9000, "id"),
        CursorKey("b", "c", "d"),
    ):
        set_watermark(ledger, key, number(1), "ana")
    assert {one.key.column for one in list_watermarks(ledger, "a_flow")} == {"updated_at", "id"}
    assert len(list_watermarks(ledger, "a_flow")) == 3


def test_a_person_sets_and_clears_it(ledger: Ledger) -> None:
    move(ledger, "one", 9)
    set_watermark(ledger, KEY, number(3), "ana")
    found = the_one(ledger)
    assert (found.watermark, found.edition, found.moved_by, found.replay_id) == (number(3), 1, "ana", None)
    set_watermark(ledger, KEY, None, "bo")
    found = the_one(ledger)
    assert (found.watermark, found.edition, found.moved_by) == (None, 2, "bo")
    move(ledger, "two", 5, edition=2)
    found = the_one(ledger)
    assert (found.watermark, found.edition, found.moved_by, found.is_given) == (number(5), 2, "bo", False)


@pytest.mark.parametrize("given", [3, None], ids=["set", "cleared"])
def test_a_replay_from_before_leaves_it_where_a_person_has_set_it(ledger: Ledger, given: int | None) -> None:
    move(ledger, "one", 9)
    watermark = None if given is None else number(given)
    set_watermark(ledger, KEY, watermark, "ana")
    move(ledger, "two", 20, edition=0)
    assert the_one(ledger).watermark == watermark


def test_another_kind_of_value_replaces_it(ledger: Ledger) -> None:
    set_watermark(ledger, KEY, Watermark("date", "2026-11-20"), "ana")
    assert move(ledger, "one", 5, edition=1)["watermark"] == ["number", "5"]

"""Cell types that the tested databases don't return, but other drivers may."""

from __future__ import annotations

import datetime as dt

import pytest

from airflow_whatsapp_flows.replay.sources.cells import row_from_cells
from airflow_whatsapp_flows.replay.sources.keys import Column


class Name(str):
    """A driver-specific text type."""


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("half \ud800", "surrogate: the column 'Name' contains half of a surrogate pair"),
        (memoryview(b"x"), "bytes: the column 'Name' contains bytes"),
        (1j, "unknown_type: the column 'Name' contains a complex; cast it to text"),
        ([{"a": float("-inf")}], "bad_number: the column 'Name' contains an infinite number"),
    ],
    ids=["surrogate", "bytes", "complex", "infinite"],
)
def test_a_value_not_allowed_in_a_response_rejects_the_row(cell: object, problem: str) -> None:
    row = row_from_cells(3, "query:3", [Column(0, "Name", "step.Ask name"), Column(1, "id", "id")], [cell, 7])

    assert row.value is None
    assert str(row.problem).startswith(problem)
    assert (row.number, row.place, row.shown_id) == (3, "query:3", "7")


def test_texts_and_lists_are_plain() -> None:
    columns = [Column(0, "a", "step.a"), Column(1, "b", "step.b"), Column(2, "c", "step.c")]

    row = row_from_cells(1, "query:1", columns, [Name("é"), [("a", 1), ("b", dt.date(2026, 1, 2))], [[1, 2], [3, 4]]])

    assert row.value == {"step.a": "é", "step.b": {"a": 1, "b": "2026-01-02"}, "step.c": [[1, 2], [3, 4]]}
    assert type(row.value["step.a"]) is str

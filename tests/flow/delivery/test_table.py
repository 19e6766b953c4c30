"""The delivery table is complete, safe, and the one that docs/guarantees.md shows."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.flow.delivery.table import EVENT_OF_FATE, TABLE, Delivery, Event, Fate, Verdict
from tests.conftest import REPOSITORY

START = "<!-- the table of flow/delivery/table.py; a test compares them -->\n"
STOP = "<!-- end of the table -->\n"


def render_table() -> str:
    """The table as Markdown."""
    header = ["event", *(f"`{delivery.value}`" for delivery in Delivery)]
    lines = [header, ["---"] * len(header)]
    lines += [[event.value, *(render_verdict(row[delivery]) for delivery in Delivery)] for event, row in TABLE.items()]
    return "".join(f"|{'|'.join(f' {cell} ' if cell != '---' else cell for cell in line)}|\n" for line in lines)


def render_verdict(verdict: Verdict) -> str:
    text = f"`{verdict.fate.value}`"
    if verdict.fate_with_exit is not None:
        text += f"; with an error exit `{verdict.fate_with_exit.value}`"
    if verdict.applied and Fate.ANSWERED in (verdict.fate, verdict.fate_with_exit):
        text += ", may have been applied"
    return f"{text}; **sent again**" if verdict.again else text


def test_the_documentation_shows_the_table() -> None:
    text = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")
    shown = text.partition(START)[2].partition(STOP)[0]
    assert shown == render_table(), f"put this between the marks in docs/guarantees.md:\n{render_table()}"


def test_every_event_has_a_verdict_in_every_mode() -> None:
    assert list(TABLE) == list(Event)
    assert all(list(row) == list(Delivery) for row in TABLE.values())


def test_every_fate_except_answered_has_an_event() -> None:
    assert set(EVENT_OF_FATE) == {None, *Fate} - {Fate.ANSWERED}
    for row in TABLE.values():
        for verdict in row.values():
            if verdict.fate is not Fate.ANSWERED:
                assert verdict.applied is (verdict.fate is not Fate.NOT_SENT)


@pytest.mark.parametrize("event", Event, ids=lambda event: event.name.lower())
def test_at_most_once_never_resends_possibly_applied_requests(event: Event) -> None:
    verdict = TABLE[event][Delivery.AT_MOST_ONCE]
    assert not (verdict.again and verdict.applied)

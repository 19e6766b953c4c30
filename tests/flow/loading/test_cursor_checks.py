"""Faults of a cursor, with their places."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.loading.load import load_flow

DATABASE = {"source": "shop", "on_changed": "update", "cursor": "updated_at"}
ROWS = "select * from leads where updated_at >= :watermark"


def faults(replay: dict[str, Any]) -> list[tuple[str, str]]:
    """Each fault with the text at its place."""
    value = {"flow_format": 1, "id": "a", "steps": [{"name": "Hi", "type": "message", "body": "Hi"}], "replay": replay}
    text = json.dumps(value)
    try:
        load_flow(text)
    except FlowFileError as error:
        return [(text[(one.column or 1) - 1 :][:16], one.message) for one in error.faults]
    return []


@pytest.mark.parametrize(
    "replay",
    [
        {**DATABASE, "query": ROWS, "cursor_overlap": 0},
        {**DATABASE, "query": "select * from leads"},
        {**DATABASE, "source": "leads-{{ run.watermark | default('all') }}.csv", "cursor_overlap": 0.5},
        {**DATABASE, "source": "leads/*.csv", "cursor": "file_modified"},
        {**DATABASE, "query": f"{ROWS} and updated_at < :data_interval_end"},
    ],
    ids=["query", "filtered", "path", "files", "end"],
)
def test_accepts_a_cursor(replay: dict[str, Any]) -> None:
    assert faults(replay) == []


@pytest.mark.parametrize(
    ("replay", "place", "words"),
    [
        ({"cursor_overlap": 60}, "60", "an overlap needs a 'cursor'"),
        ({"source": "shop", "query": ROWS}, ":watermark", "there is no watermark without a 'cursor'"),
        ({"source": "a-{{ run.watermark }}"}, "{{ run.watermark", "there is no watermark without a 'cursor'"),
        ({"cursor": "id", "on_changed": "reject"}, '"id"', "a cursor needs a 'source'"),
        ({**DATABASE, "source": "-"}, '"updated_at"', "standard input cannot be read again"),
        ({**DATABASE, "query": ROWS, "cursor": "file_modified"}, '"file_modified"', "is for files"),
        ({"source": "shop", "cursor": "id"}, '"id"', "set 'on_changed' to \"update\""),
        ({**DATABASE, "source": "a-{{ run.logical_date }}"}, "{{ run.logical_d", "with logical_date, each run reads"),
        ({**DATABASE, "query": f"{ROWS} and day = :partition_key"}, ":partition_key", "share one watermark"),
        ({**DATABASE, "query": "select * from a where :data_interval_start"}, ":data_interval_s", "is late or cleared"),
        ({**DATABASE, "cursor_overlap": -1}, "-1", "0"),
        ({**DATABASE, "cursor": ""}, '""', "1"),
        ({**DATABASE, "cursors": "x"}, '"cursors"', "cursor"),
    ],
    ids=[
        "overlap", "query", "path", "source", "stdin", "file_modified", "on_changed", "own_path", "own_rows",
        "own_interval", "negative", "empty", "unknown",
    ],
)  # fmt: skip
def test_reports_a_fault_at_its_place(replay: dict[str, Any], place: str, words: str) -> None:
    [(found, message)] = faults(replay)
    assert found.startswith(place[:16]), found
    assert words in message

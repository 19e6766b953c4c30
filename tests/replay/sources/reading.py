"""Shared by tests of sources: a flow, and shortcuts to write and read a source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.replay.sources import Row, SourceSpec, open_source
from tests.flow.samples import flow_of

FLOW: Flow = flow_of(
    {"name": "Ask name", "type": "question", "next": "Choose"},
    {"name": "Choose", "type": "menu", "options": {"Sales": "v1.2 rate"}},
    {"name": "v1.2 rate", "type": "question", "next": "Thanks"},
    {"name": "Thanks", "type": "message", "body": "Thanks"},
)


def rows(location: object, **keys: Any) -> list[Row]:
    return list(open_source(SourceSpec(str(location), **keys), FLOW))


def rows_of(folder: Path, name: str, content: str | bytes, **keys: Any) -> list[Row]:
    """The rows of a file with this content."""
    file = folder / name
    file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return rows(file, **keys)


def values(found: list[Row]) -> list[Mapping[str, Any]]:
    """The values of valid rows."""
    assert [row.problem for row in found if row.problem] == []
    return [row.value for row in found if row.value is not None]


def codes(found: list[Row]) -> list[str]:
    """One word per row: the code of its problem, or ``ok``."""
    for row in found:
        assert (row.value is None) is (row.problem is not None)
    return [row.problem.partition(": ")[0] if row.problem else "ok" for row in found]

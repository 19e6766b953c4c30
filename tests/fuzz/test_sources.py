"""Any file of responses gives rows, rows with a problem, or one error of the package."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources.source import MAX_ROW_BYTES
from tests.fuzz.budget import PLAIN, fuzz_settings, mutate
from tests.replay.sources.reading import rows_of

CSV = 'id,contact.phone,step.Ask name\nr-1,+525512345678,"Ana ""María"""\nr-2,,"two\nlines"\nr-3,1.2E+11,x\n'.encode()
LINES = (
    b'{"id": "r-1", "contact": {"phone": "+52"}, "step": {"Ask name": "Ana"}}\n{"id": 2, "created_on": "2026-01-01"}\n'
)


def _parquet() -> bytes:
    table = pa.table(
        {"id": ["r-1", "r-2"], "contact.phone": ["+52", None], "contact.age": [41, 7], "created_on": [1.5, 2]}
    )
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


FILES: dict[str, tuple[bytes, list[bytes]]] = {
    "r.csv": (
        CSV, [b'"', b",", b";", b"\t", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"=1+1", b",,,,", b'""', b"id"],
    ),
    "r.jsonl": (
        LINES, [b'"', b"{", b"}", b"[", b"\n", b"\0", b"\xff", b"NaN", b"9" * 5000, b"[" * 200, b"\\ud800", b"null"],
    ),
    "r.parquet": (_parquet(), [b"PAR1", b"\0" * 8, b"\xff" * 4, b"\x15"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@fuzz_settings(150)
@given(st.data())
def test_any_file_is_rows_or_an_error_of_the_package(name: str, data: st.DataObject) -> None:
    content = data.draw(mutate(*FILES[name]))
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = rows_of(Path(folder), name, content)
        except SourceError:
            return
    for row in found:
        assert (row.value is None) is (row.problem is not None)
        if row.value is not None:
            assert len(json.dumps(row.value, allow_nan=False, ensure_ascii=False).encode()) <= 2 * MAX_ROW_BYTES


@fuzz_settings(100)
@given(st.lists(PLAIN, max_size=5))
def test_any_json_in_lines_is_a_row_or_its_problem(values: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = rows_of(Path(folder), "r.jsonl", "".join(json.dumps(value) + "\n" for value in values))
        except SourceError:  # it looks like one JSON array
            assert isinstance(values[0], list)
            return
    assert len(found) == len(values)
    assert all(isinstance(value, dict) for row, value in zip(found, values, strict=True) if row.value is not None)

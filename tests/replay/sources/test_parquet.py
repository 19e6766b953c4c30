"""Parquet: typed columns become plain data, and lossy types are refused."""

from __future__ import annotations

import datetime as dt
import os
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources import Row, SourceSpec, open_source
from tests.replay.sources.reading import FLOW, codes, rows, values

HISTORY = [{"step": "Ask name", "value": "Ana"}]


def parquet_rows(folder: Path, table: dict[str, Any], **keys: Any) -> list[Row]:
    file = folder / "r.parquet"
    pq.write_table(pa.table(table), file)
    return rows(file, **keys)


def test_dotted_columns_are_keys(tmp_path: Path) -> None:
    columns = {
        "id": [1, 2],
        "contact.phone": ["+52", None],
        "step.v1.2 rate": [7.5, float("nan")],
        "note": ["a", "b"],
        "contact.meta.vip": [True, None],
    }

    found = parquet_rows(tmp_path, columns)

    assert values(found) == [
        {"id": 1, "contact.phone": "+52", "step.v1.2 rate": 7.5, "contact.meta.vip": True},
        {"id": 2},
    ]
    assert [(row.number, row.place) for row in found] == [(n, f"{tmp_path}/r.parquet:{n}") for n in (1, 2)]


def test_columns_of_objects_are_nested_keys(tmp_path: Path) -> None:
    columns = {
        "contact": [{"phone": "+52", "email": None}, {"phone": "+53", "email": "a@b.mx"}],
        "step": pa.array([[("Ask name", "Ana")], None], pa.map_(pa.string(), pa.string())),
        "contact.first_name": ["Ana", "Bo"],
        "history": [HISTORY, None],
        "exits": ["text", "text"],
    }

    assert values(parquet_rows(tmp_path, columns)) == [
        {"contact": {"phone": "+52"}, "step": {"Ask name": "Ana"}, "contact.first_name": "Ana", "history": HISTORY},
        {"contact": {"phone": "+53", "email": "a@b.mx"}, "contact.first_name": "Bo"},
    ]


UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("value", "kind", "plain"),
    [
        (dt.datetime(2026, 11, 20, 10, 0, 0, 5), pa.timestamp("us"), "2026-11-20T10:00:00.000005"),
        (dt.datetime(2026, 11, 20, 10, tzinfo=UTC), pa.timestamp("ms", "UTC"), "2026-11-20T10:00:00+00:00"),
        (1_000_000_001, pa.timestamp("ns"), "1970-01-01T00:00:01"),
        (dt.date(2026, 11, 20), pa.date32(), "2026-11-20"),
        (dt.time(9, 30), pa.time64("us"), "09:30:00"),
        (Decimal("12.50"), pa.decimal128(6, 2), "12.50"),
        (["a", None], pa.list_(pa.string()), ["a", None]),
        ("Ana", pa.dictionary(pa.int8(), pa.string()), "Ana"),
        ("x\0y", pa.string(), "x\0y"),
    ],
    ids=str,
)
def test_a_typed_cell_is_plain_data(tmp_path: Path, value: Any, kind: Any, plain: Any) -> None:
    found = parquet_rows(tmp_path, {"step.Ask name": pa.array([value], kind)})

    assert values(found) == [{"step.Ask name": plain}]


@pytest.mark.parametrize(
    ("value", "kind", "code"),
    [
        (b"\x00", pa.binary(), "bytes"),
        ([b"\x00"], pa.list_(pa.binary()), "bytes"),
        (float("inf"), pa.float64(), "bad_number"),
        (dt.timedelta(seconds=1), pa.duration("s"), "unknown_type"),
    ],
    ids=str,
)
def test_a_cell_not_allowed_in_a_response_rejects_its_row(tmp_path: Path, value: Any, kind: Any, code: str) -> None:
    found = parquet_rows(tmp_path, {"step.Ask name": pa.array([value, None], kind), "id": ["r-1", "r-2"]})

    assert codes(found) == [code, "ok"]
    assert found[0].shown_id == "r-1"
    assert "the column 'step.Ask name' contains" in str(found[0].problem)


def test_a_text_that_is_not_utf8_rejects_its_row(tmp_path: Path) -> None:
    buffers = pa.array([b"Ana", b"Jos\xe9", None], pa.binary()).buffers()
    texts = pa.Array.from_buffers(pa.string(), 3, buffers)

    assert codes(parquet_rows(tmp_path, {"id": ["1", "2", "3"], "step.Ask name": texts})) == ["ok", "bytes", "ok"]
    with pytest.raises(SourceError, match="'step' contains text that is not UTF-8"):
        parquet_rows(tmp_path, {"step": pa.StructArray.from_arrays([texts], ["Ask name"])})


def test_rejects_empty_rows_and_rows_without_the_named_id(tmp_path: Path) -> None:
    assert codes(parquet_rows(tmp_path, {"id": [None, "1"]})) == ["empty_row", "ok"]
    columns = {"Folio": [None, "", "1"], "contact.phone": ["+52", "+52", "5.2E+11"]}
    assert codes(parquet_rows(tmp_path, columns, id_column="Folio")) == ["no_id", "no_id", "scientific_phone"]


@pytest.mark.parametrize(
    "column",
    [
        {"contact.phone": [525512345678]},
        {"contact.phone": [5.25512345678e11]},
        {"contact.phone": [Decimal(525512345678)]},
        {"contact": [{"phone": 525512345678}]},
        {"tel": [525512345678]},
    ],
    ids=str,
)
def test_phones_that_are_numbers_refuse_the_file(tmp_path: Path, column: dict[str, Any]) -> None:
    keys = {"columns": {"contact.phone": "tel"}} if "tel" in column else {}

    with pytest.raises(SourceError, match=r"the phones in column .* are numbers .*; write the column as text"):
        parquet_rows(tmp_path, column, **keys)


def test_columns_are_checked_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"r\.parquet: the column 'step\.Ask nam'.* did you mean 'Ask name'"):
        parquet_rows(tmp_path, {"step.Ask nam": ["x"]})
    with pytest.raises(SourceError, match=r"no column 'tel' for 'contact\.phone'"):
        parquet_rows(tmp_path, {"id": ["x"]}, columns={"contact.phone": "tel"})


def test_refuses_files_that_are_not_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.parquet").write_text("id\n1\n")
    with pytest.raises(SourceError, match=r"r\.parquet: cannot be read as Parquet"):
        rows(tmp_path / "r.parquet")


def test_a_column_whose_name_is_not_utf8_refuses_the_file(tmp_path: Path) -> None:
    file = tmp_path / "r.parquet"
    pq.write_table(pa.table({"id": ["1"], "contact.name": ["x"]}), file, store_schema=False)
    file.write_bytes(file.read_bytes().replace(b"contact.name", b"contact.n\xffme"))

    with pytest.raises(SourceError, match=r"r\.parquet: cannot be read as Parquet: .*not UTF-8"):
        rows(tmp_path / "r.parquet")


def test_parquet_is_not_read_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "r.parquet"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(SourceError, match=r"r\.parquet: Parquet is read from the end, so it must be a file"):
            rows(pipe)
    finally:
        os.close(held)


def test_names_the_extra_if_pyarrow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(SourceError, match=r"pip install 'airflow-whatsapp-flows\[parquet\]'"):
        open_source(SourceSpec(str(tmp_path / "r.parquet")), FLOW)


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    file = tmp_path / "r.parquet"
    pq.write_table(pa.table({"step.Ask name": ["x" * 100] * 100_000}), file, row_group_size=10_000)
    tracemalloc.start()
    try:
        count = sum(1 for _ in open_source(SourceSpec(str(file)), FLOW))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 100_000
    assert peak < 5_000_000

"""JSON Lines: each line is a row or rejected, and reading continues."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources.json_lines import JsonLines
from airflow_whatsapp_flows.replay.sources.keys import Keys
from airflow_whatsapp_flows.replay.sources.source import MAX_ROW_BYTES, Row
from tests.flow.walk.test_response_text import JSON, TEXT
from tests.replay.sources.reading import FLOW, codes, rows_of, values

GOOD = '{"id": "ok"}'


def test_a_row_has_its_line_and_location(tmp_path: Path) -> None:
    found = rows_of(tmp_path, "r.jsonl", '{"id": "a"}\n\n  \r\n{"id": "b"}\r\n{"id": "c"}')

    assert [(row.number, row.value) for row in found] == [(1, {"id": "a"}), (4, {"id": "b"}), (5, {"id": "c"})]
    assert [row.place for row in found] == [f"{tmp_path / 'r.jsonl'}:{number}" for number in (1, 4, 5)]
    assert found[0] == Row(1, f"{tmp_path / 'r.jsonl'}:1", {"id": "a"}, None, None)


def test_a_byte_order_mark_is_not_part_of_the_first_row(tmp_path: Path) -> None:
    assert values(rows_of(tmp_path, "r.jsonl", b"\xef\xbb\xbf" + GOOD.encode())) == [{"id": "ok"}]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "r.jsonl", "") == rows_of(tmp_path, "s.jsonl", "\n\n") == []


@given(st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=4), st.booleans())
def test_objects_round_trip(objects: list[dict[str, Any]], ascii_only: bool) -> None:
    lines = "".join(json.dumps(value, ensure_ascii=ascii_only) + "\n" for value in objects)
    with tempfile.TemporaryDirectory() as folder:
        found = rows_of(Path(folder), "r.jsonl", lines)

    # A phone in scientific notation is the only JSON value that a row refuses.
    assert [row.value for row in found if row.problem is None] == [
        value for value, row in zip(objects, found, strict=True) if row.problem is None
    ]
    assert set(codes(found)) <= {"ok", "scientific_phone"}


@pytest.mark.parametrize(
    ("line", "code", "shown_id"),
    [
        (b'{"id": "r-1", "step": {"a": tru}}', "not_json", "r-1"),
        (b'{"id": "r-1", "step": {"a', "not_json", "r-1"),
        (b'{"step": {"id": "r-2"', "not_json", None),
        (b"id,contact.phone", "not_json", None),
        (b'{"id": 7, "a": 1, "a": 2}', "duplicate_key", "7"),
        (b'{"id": 7.5, "a": 1, "a": 2}', "duplicate_key", None),
        (b'{"id": "' + b"x" * 999 + b'", "a": 1, "a": 2}', "duplicate_key", "x" * 200),
        (b'{"a": 1, "a": 2, "id": "r-3"}', "duplicate_key", "r-3"),
        (b'{"id": "r-1", "a": NaN}', "not_json", "r-1"),
        (b'{"id": "r-1", "a": 1e999}', "bad_number", "r-1"),
        (b'{"id": "r-1", "a": "\\ud800"}', "surrogate", "r-1"),
        (b'{"id": "\\ud800"}', "surrogate", None),
        (b'{"id": "r-1", "a": "\xe9"}', "not_utf8", "r-1"),
        (b'{"id": "r-1", "a": "\xed\xa0\x80"}', "not_utf8", "r-1"),
        (b'{"id": "r-1", "a": ' + b"[" * 65 + b"]" * 65 + b"}", "too_deep", "r-1"),
        (b'{"a": ' + b"[" * 100_000, "too_deep", None),
        (b"7", "not_object", None),
        (b'"text"', "not_object", None),
        (b"null", "not_object", None),
        (b'{"id": "r-1", "contact": {"phone": "5.25512E+11"}}', "scientific_phone", "r-1"),
        (b'{"id": "r-1", "contact.phone": 5.25512e+11}', "scientific_phone", "r-1"),
        (b'{"id": "r-1", "a": "' + b"x" * MAX_ROW_BYTES + b'"}', "too_large", "r-1"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_row_is_rejected_and_the_next_one_is_read(
    tmp_path: Path, line: bytes, code: str, shown_id: str | None
) -> None:
    content = GOOD.encode() + b"\n" + line + b"\n" + GOOD.encode() + b"\n"

    found = rows_of(tmp_path, "r.jsonl", content)

    assert codes(found) == ["ok", code, "ok"]
    assert [row.number for row in found] == [1, 2, 3]
    assert found[1].shown_id == shown_id


def test_reads_a_line_of_exactly_the_limit(tmp_path: Path) -> None:
    for end in ("\n", ""):
        line = '{"a": "' + "x" * (MAX_ROW_BYTES - 9) + '"}'
        assert len(line) == MAX_ROW_BYTES
        assert codes(rows_of(tmp_path, "r.jsonl", line + end)) == ["ok"]
        assert codes(rows_of(tmp_path, "r.jsonl", " " + line + end)) == ["too_large"]


def test_naughty_strings_are_read_as_they_are(tmp_path: Path, naughty_strings: list[str]) -> None:
    lines = "".join(json.dumps({"step": {"Ask name": text}}) + "\n" for text in naughty_strings)

    assert [value["step"]["Ask name"] for value in values(rows_of(tmp_path, "r.jsonl", lines))] == naughty_strings


def test_the_phone_stays_as_it_was_written(tmp_path: Path) -> None:
    phones = ["+525512345678", "0049123", "", None, 525512345678, "5E", "e-mail", "1e5 ext"]
    lines = "".join(json.dumps({"contact": {"phone": phone}}) + "\n" for phone in phones)

    assert [value["contact"]["phone"] for value in values(rows_of(tmp_path, "r.jsonl", lines))] == phones


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"id": "a"},\n{"id": "b"}]', "one JSON array"),
        ('[{"id": "a"}]', "one JSON array"),
        ("\n[\n", "one JSON array"),
        pytest.param("[" + "1," * 3_000_000 + "1]", "one JSON array", id="an array in one long line"),
        ('{\n  "id": "a"\n}\n', "one JSON object over several lines"),
        ('{"id": "a",\n "step": {}}', "one JSON object over several lines"),
    ],
)
def test_json_that_is_not_json_lines_is_reported_immediately(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        rows_of(tmp_path, "r.json", content)


def test_a_truncated_first_row_is_rejected(tmp_path: Path) -> None:
    assert codes(rows_of(tmp_path, "r.jsonl", '{"id": "a",\n{"id": "b"}\n')) == ["not_json", "ok"]
    assert codes(rows_of(tmp_path, "r.jsonl", "{")) == ["not_json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"id": "é"}'.encode("utf-16"), "is UTF-16"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"PK\x03\x04xl", "Excel"),
    ],
)
def test_reports_a_binary_file_by_its_first_bytes(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        rows_of(tmp_path, "r.jsonl", content)


class TestColumns:
    LINE = '{"folio": 7, "id": "other", "Teléfono": "+52", "contact.email": "a@b.mx"}\n'

    def test_maps_keys_of_a_row(self, tmp_path: Path) -> None:
        columns = {"contact.phone": "Teléfono", "step.Ask name": "contact.email"}

        found = rows_of(tmp_path, "r.jsonl", self.LINE, columns=columns, id_column="folio")

        assert values(found) == [{"id": 7, "contact.phone": "+52", "step.Ask name": "a@b.mx"}]

    def test_rejects_a_row_without_the_named_id(self, tmp_path: Path) -> None:
        lines = self.LINE + '{"id": "other"}\n{"folio": ""}\n{"folio": null}\n'

        assert codes(rows_of(tmp_path, "r.jsonl", lines, id_column="folio")) == ["ok", "no_id", "no_id", "no_id"]

    def test_finds_the_id_of_a_bad_row_under_its_mapped_name(self, tmp_path: Path) -> None:
        lines = '{"id": "wrong", "folio": "f-1", "a": NaN}\n{"folio": "f-2", "a'

        assert [row.shown_id for row in rows_of(tmp_path, "r.jsonl", lines, id_column="folio")] == ["f-1", "f-2"]

    def test_an_empty_file_accepts_any_mapping(self, tmp_path: Path) -> None:
        assert rows_of(tmp_path, "r.jsonl", "", columns={"contact.phone": "Tel"}) == []

    def test_a_column_that_no_row_has_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"no row has the key 'Tel', which is mapped to 'contact\.phone'"):
            rows_of(tmp_path, "r.jsonl", self.LINE, columns={"contact.phone": "Tel"})


class _Endless(io.RawIOBase):
    """A stream of one line that never ends before ``total`` bytes."""

    def __init__(self, total: int) -> None:
        self._left = total

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._left)
        buffer[:count] = b"x" * count
        self._left -= count
        return count


def test_an_endless_line_is_not_held_in_memory() -> None:
    import tracemalloc

    stream = io.BufferedReader(_Endless(60_000_000))
    tracemalloc.start()
    try:
        found = list(JsonLines(Keys(FLOW, {})).read(stream, "r"))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert codes(found) == ["too_large"]
    assert peak < 4 * MAX_ROW_BYTES

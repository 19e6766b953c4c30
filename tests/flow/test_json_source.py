"""JSON text: its faults, and the location of every value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.json_source import MAX_BYTES, JsonSource, Path

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def faults(text: str) -> list[str]:
    return [f"{fault.where()}: {fault.message}" for fault in JsonSource(text).load()[1]]


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@given(DOCUMENTS, st.sampled_from([None, 0, 1, "\t"]), st.booleans())
def test_every_location_is_the_start_of_its_value(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    source = JsonSource(text)
    assert source.load() == (value, [])
    lines = text.split("\n")
    decoder = json.JSONDecoder()

    for path, item in places(value):
        line, column = source.place(path)
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert decoder.raw_decode(rest)[0] == item
        if path and isinstance(path[-1], str):
            line, column = source.place(path, key=True)
            assert decoder.raw_decode(lines[line - 1][column - 1 :])[0] == path[-1]


@given(TEXTS.filter(bool), st.data(), st.booleans())
def test_offsets_count_characters_and_not_escapes(text: str, data: st.DataObject, ascii_only: bool) -> None:
    offset = data.draw(st.integers(1, len(text)))
    written = json.dumps([text], ensure_ascii=ascii_only)
    begin = json.dumps(text[:offset], ensure_ascii=ascii_only)

    assert JsonSource(written).place((0,), offset) == (1, len(begin) + 1)


def test_a_missing_value_is_located_at_the_nearest_enclosing_value() -> None:
    assert JsonSource('{\n "a": {"b": 1}}').place(("a", "x", 3)) == (2, 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", ["1:1: not JSON: expecting value"], id="empty"),
        pytest.param('{"a": 1', ["1:8: not JSON: expecting ',' delimiter"], id="cut in an object"),
        pytest.param('{"a": "x', ["1:7: not JSON: unterminated string starting at"], id="cut in a text"),
        pytest.param("[1,\n 2,]", ["2:3: not JSON: a comma before ']'"], id="trailing comma in a list"),
        pytest.param('{"a": 1,}', ["1:8: not JSON: a comma before '}'"], id="trailing comma in an object"),
        pytest.param("{} {}", ["1:4: not JSON: there is extra text after the value"], id="two values"),
        pytest.param('{"a": tru}', ["1:7: not JSON: expecting value"], id="a word"),
        pytest.param("{'a': 1}", ["1:2: not JSON: expecting property name enclosed in double quotes"], id="quotes"),
        pytest.param('{"a" 1}', ["1:6: not JSON: expecting ':' delimiter"], id="colon"),
        pytest.param('["\x00"]', ["1:3: not JSON: invalid control character at"], id="NUL"),
        pytest.param(
            '{"a": 1, "a": 2}', ["1:10: the key 'a' appears twice; only one of them would be used"], id="twice"
        ),
        pytest.param(
            '{"\\u0061": 1, "a": 2}', ["1:15: the key 'a' appears twice; only one of them would be used"], id="escaped"
        ),
        pytest.param("[NaN]", ["1:2: NaN is not JSON; write a number or null"], id="NaN"),
        pytest.param("[-Infinity]", ["1:2: -Infinity is not JSON; write a number or null"], id="infinity"),
        pytest.param("[1e999]", ["1:2: the number 1e999 is too large"], id="overflow"),
        pytest.param("[" + "1" * 5000 + "]", ["1:2: the number has too many digits"], id="5,000 digits"),
        pytest.param(
            '["😀", "\\ud83d\\ude00 \\ud800", "\\udc00"]',
            [
                "1:21: half of a surrogate pair is not a character and cannot be sent",
                "1:31: half of a surrogate pair is not a character and cannot be sent",
            ],
            id="lone surrogates, escaped",
        ),
        pytest.param(
            '["\ud800"]', ["1:3: half of a surrogate pair is not a character and cannot be sent"], id="lone surrogate"
        ),
        pytest.param(
            '{"a": NaN, "b": {"c": 1, "c": 2},\n "d" 1}',
            [
                "1:7: NaN is not JSON; write a number or null",
                "1:26: the key 'c' appears twice; only one of them would be used",
                "2:6: not JSON: expecting ':' delimiter",
            ],
            id="all of them at once",
        ),
    ],
)
def test_reports_invalid_json_with_its_location(text: str, expected: list[str]) -> None:
    assert faults(text) == expected


def test_a_backslash_before_u_is_not_an_escape() -> None:
    assert JsonSource('["\\\\ud800"]').load() == (["\\ud800"], [])


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
def test_limits_nesting_to_64_levels(opening: str) -> None:
    closing = {"[": "]", '{"a":': "}"}[opening]

    assert faults(opening * 65 + "1" + closing * 65) == []
    deep = [f"1:{65 * len(opening) + 1}: nested deeper than 64 levels"]
    assert faults(opening * 66 + "1" + closing * 66) == deep
    assert faults(opening * 1000 + "1" + closing * 1000) == deep
    assert faults(opening * 200_000) == deep


def test_duplicate_keys_and_nan_still_give_a_value() -> None:
    value, found = JsonSource('{"a": 1, "a": 2, "b": NaN}').load()

    assert value == {"a": 2, "b": None}
    assert len(found) == 2


def test_a_file_of_more_than_a_mebibyte_is_not_read() -> None:
    assert faults('"' + "a" * (MAX_BYTES - 2) + '"') == []
    assert faults('"' + "é" * (MAX_BYTES // 2) + '"') == ["1:1: the file has more than 1,048,576 bytes"]


@given(st.text(alphabet='{}[],:"\\u0dea1Nn \n\t\x00\ud800'))
def test_no_text_raises(text: str) -> None:
    value, found = JsonSource(text).load()

    assert all(fault.line and fault.column for fault in found)
    try:
        assert found or value == json.loads(text)
    except json.JSONDecodeError:
        pytest.fail(f"{text!r} is not JSON, and no fault was found")

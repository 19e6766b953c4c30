"""A contact response as JSON text is read unchanged, or refused with a code."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.walk.response_text import ResponseTextError, parse_response

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.booleans())
def test_every_json_value_is_read_as_it_was_written(value: Any, ascii_only: bool) -> None:
    assert parse_response(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "not_json", "Expecting value"),
        ('{"a": 1', "not_json", "Expecting"),
        ('{"a": 1}x', "not_json", "Extra data"),
        ('["\x00"]', "not_json", "control character"),
        ("[NaN]", "not_json", "NaN is not JSON"),
        ("[-Infinity]", "not_json", "-Infinity is not JSON"),
        ("[1e999]", "bad_number", "1e999 is too large"),
        (f"[{'9' * 5000}]", "bad_number", "too many digits"),
        ('{"a": {"b": 1, "b": 2}}', "duplicate_key", "same key twice: 'b'"),
        ("[" * 66 + "]" * 66, "too_deep", "64 levels"),
        ("[" * 100_000, "too_deep", "64 levels"),
        ('{"a": "\\ud800"}', "surrogate", "half of a surrogate pair"),
        ('{"\\udc00": 1}', "surrogate", "half of a surrogate pair"),
        ('["\ud800"]', "surrogate", "half of a surrogate pair"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_refuses_unusable_values_with_a_code(text: str, code: str, words: str) -> None:
    with pytest.raises(ResponseTextError) as caught:
        parse_response(text)

    assert caught.value.code == code
    assert words in caught.value.reason
    assert str(caught.value) == f"{code}: {caught.value.reason}"


def test_keeps_unusual_but_valid_values() -> None:
    assert parse_response('["\\u0000", "\\ud83d\\ude00", "\\\\ud800"]') == ["\0", "😀", "\\ud800"]
    assert parse_response("[" * 65 + "]" * 65)
    assert parse_response("[" + "[]," * 99 + "[]]") == [[]] * 100


def test_a_syntax_fault_has_its_position_and_survives_pickling() -> None:
    with pytest.raises(ResponseTextError) as caught:
        parse_response('{"a": x}')

    assert caught.value.position == 6
    back = pickle.loads(pickle.dumps(caught.value))
    assert (back.code, back.reason, back.position) == ("not_json", caught.value.reason, 6)

"""JSON that the strict parser refuses and the standard library accepts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.strict_json import NotStrictError, parse_strict_json, strict_decoder


@pytest.mark.parametrize(
    ("text", "kind", "found", "message"),
    [
        pytest.param("NaN", "constant", "NaN", "NaN is not JSON; write a number or null", id="NaN"),
        pytest.param("[-Infinity]", "constant", "-Infinity", "-Infinity is not JSON", id="infinity"),
        pytest.param("1e999", "number", "1e999", "the number 1e999 is too large", id="no double"),
        pytest.param('{"a": 1, "a": 1}', "key", "a", "the same key twice: 'a'", id="key"),
        pytest.param('[{"b": {"c": 1, "\\u0063": 2}}]', "key", "c", "the same key twice: 'c'", id="escaped key"),
    ],
)
def test_refuses_what_is_not_json(text: str, kind: str, found: str, message: str) -> None:
    json.loads(text)
    with pytest.raises(NotStrictError) as raised:
        parse_strict_json(text)
    assert (raised.value.kind, raised.value.found) == (kind, found)
    assert message in str(raised.value)


def test_generates_integers_as_requested() -> None:
    assert strict_decoder(str)("[1, 2.5]") == ["1", 2.5]


def test_finds_a_repeated_key_in_linear_time() -> None:
    members = [f'"k{number}":0' for number in range(20_000)]
    started = time.process_time()
    with pytest.raises(NotStrictError, match="k19999"):
        parse_strict_json("{" + ",".join([*members, members[-1]]) + "}")
    assert time.process_time() - started < 1  # comparing each with each takes 9 s


TOKENS = ["{", "}", "[", "]", ":", ",", '"a"', '"b"', '"a":1', '"', "1", "-0", "0.5", "1e5", "1e400", "9" * 20, " ",
          "\n", "\\u0061", "\\\"", "\x01", "é", "\ud800", "true", "null", "NaN", "http://x"]  # fmt: skip


def outcome(parse: Callable[[str], Any], text: str) -> str:
    try:
        return repr(parse(text))
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


@given(
    st.lists(st.sampled_from(TOKENS), max_size=12).map("".join) | st.dictionaries(st.text(), st.text()).map(json.dumps)
)
@example('{"a": 1, "b": {"a": 1}, "a": 2}')
@example('{"a":1,"a" :2}')
@example('{"a":"x\\":","a":1}')
def test_short_texts_are_read_as_all_others(text: str) -> None:
    assert outcome(parse_strict_json, text) == outcome(strict_decoder(), text)

"""JSON that the strict parser refuses and the standard library accepts."""

from __future__ import annotations

import json
import time

import pytest

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

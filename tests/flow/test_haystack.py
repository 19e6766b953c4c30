"""Texts in which secrets are looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.haystack import fold, haystack, needle
from airflow_whatsapp_flows.flow.secrets import secrets_in
from airflow_whatsapp_flows.flow.template.filters import text_of

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def leaves_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves_of(item)
    elif value is not None and not isinstance(value, bool):
        yield text_of(value)


@given(PLAIN)
def test_every_text_and_number_of_plain_data_is_found(value: object) -> None:
    shown = haystack(value)

    assert [text for text in leaves_of(value) if needle(text) not in shown] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("half \ud800", "half \ud800"),
        ({1: "of a number"}, "of a number"),
        ([1e16], "1e+16"),
        ([-1e22], "-1e+22"),
        ([1e-5], "1e-05"),
        ([5e-324], "5e-324"),
    ],
    ids=["half pair", "number as key", "1e16", "-1e22", "1e-5", "5e-324"],
)
def test_unusual_data_is_searched_too(value: object, text: str) -> None:
    assert needle(text) in haystack(value)


def test_searches_large_data_as_well_as_small() -> None:
    texts = [f'a "text" {number}' for number in range(9_000)]
    names = [f"name {number}" for number in range(3_000)]
    value = [{"few": [1]}, [[texts[:4_000]], {"of": dict.fromkeys(names, 1.5)}], "alone", *texts[4_000:]]

    shown = haystack(value)

    assert [text for text in (*texts, *names, "few", "of", "alone") if needle(text) not in shown] == []
    assert secrets_in(shown, ["none", texts[0], names[-1]]) == [texts[0], names[-1]]


@pytest.mark.parametrize(
    "text", ["İSTRASSE ß😀" * 20_000, "ABC" * 60_000, "ẞ", ""], ids=["long", "ASCII", "short", "none"]
)
def test_folding_a_long_text_equals_folding_its_parts(text: str) -> None:
    assert fold(text) == text.casefold().replace("i\u0307", "i")


def test_folding_equals_case_insensitive_matching() -> None:
    letters = [chr(number) for number in range(0x11_0000) if not 0xD800 <= number < 0xE000]
    pairs = {
        (one, other) for one in letters for other in (one.lower(), one.upper()) if len(other) == 1 and other != one
    }
    pairs |= {("i", "\u0131"), ("i", "\u0130"), ("\u0131", "\u0130")}
    same = [pair for pair in pairs if re.fullmatch(re.escape(pair[0]), pair[1], re.IGNORECASE)]

    assert len(same) > 2_000
    assert [pair for pair in same if fold(pair[0]) != fold(pair[1])] == []

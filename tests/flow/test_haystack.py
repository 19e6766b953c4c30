"""Plain data as a text that is searched."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.haystack import fold, haystack, needle
from airflow_whatsapp_flows.flow.secrets import SecretFinder

_TEXTS = st.text(max_size=8) | st.text(alphabet=st.sampled_from('e-1],}\\"\x7f\u2028\ud800'), max_size=8)


@given(
    st.recursive(
        _TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        lambda parts: st.lists(parts, max_size=4) | st.dictionaries(_TEXTS, parts, max_size=4),
    )
)
@example([0.000015])
@example(1e16)
@example({1: "of a number"})
def test_data_are_written_as_by_python(value: object) -> None:
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    assert haystack(value) in (compact, json.dumps(value, ensure_ascii=False))


def test_searches_large_data_as_well_as_small() -> None:
    texts = [f'a "text" {number}' for number in range(9_000)]
    names = [f"name {number}" for number in range(3_000)]
    value = [{"few": [1]}, [[texts[:4_000]], {"of": dict.fromkeys(names, 1.5)}], "alone", *texts[4_000:]]

    shown = haystack(value)

    assert [text for text in (*texts, *names, "few", "of", "alone") if needle(text) not in shown] == []
    assert SecretFinder(["none", texts[0], names[-1]]).find_in(shown) == [texts[0], names[-1]]


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

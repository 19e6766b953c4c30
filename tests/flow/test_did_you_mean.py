"""Suggestions for misspelled words."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.did_you_mean import _pairs, did_you_mean

NAMES = [f"Ask number {number} of the customer" for number in range(300)]


def test_ignores_overlong_words() -> None:
    _pairs.cache_clear()

    assert did_you_mean("message" * 100_000, NAMES) == ""

    assert _pairs.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("word", "choices", "said"),
    [
        ("mesage", ["message", "menu"], "; did you mean 'message'?"),
        ("MESAGE", ["message", "menu"], "; did you mean 'message'?"),
        ("x", ["message", "menu"], "; allowed: menu, message"),
        ("x", [], ""),
        ("x", [f"name {number}" for number in range(13)], ""),
        ("Ask number 217 of the custommer", NAMES, "; did you mean 'Ask number 217 of the customer'?"),
    ],
)
def test_suggests_the_closest_word_or_a_short_list(word: str, choices: list[str], said: str) -> None:
    assert did_you_mean(word, choices) == said


@given(
    st.lists(st.text(string.ascii_lowercase, min_size=6, max_size=12), min_size=9, max_size=40, unique=True),
    st.data(),
)
def test_recognizes_an_extra_letter_in_a_long_name(choices: list[str], data: st.DataObject) -> None:
    meant = data.draw(st.sampled_from(choices))
    at = data.draw(st.integers(0, len(meant)))

    assert "did you mean" in did_you_mean(f"{meant[:at]}q{meant[at:]}", choices)

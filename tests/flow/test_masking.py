"""Samples show the shape of data without identifying a person."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.masking import mask_text, mask_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("+5215512345678", "+52…78"),
        ("+525512345678", "+52…78"),
        ("+1 (201) 555-0123", "+1…23"),
        ("+7 916 123 45 67", "+7…67"),
        ("+351 912 345 678", "+351…78"),
        ("5512345678", "…78"),
        ("(55) 1234-5678", "…78"),
        (5512345678, "…78"),
        ("ana.lopez@example.com", "a…@example.com"),
        ("Ana María", "A…"),
        ("A", "A…"),
        ("  Ana", "A…"),
        ("1990-05-17", "…17"),
        ("https://ana.example/x?y=1", "h…"),
        ("", ""),
        ("41", "41"),
        (41, 41),
        (-3.5, -3.5),
        (12345, "…45"),
        (True, True),
        (None, None),
        (
            {"contact": {"phone": "+525512345678", "meta": {"plan": "pro"}}},
            {"contact": {"phone": "+52…78", "meta": {"plan": "p…"}}},
        ),
        (["Ana", 41, ["Luis"]], ["A…", 41, ["L…"]]),
        (list(range(30)), [*range(20), "…"]),
        (b"Ana", "…"),
    ],
)
def test_displayed_values(value: Any, expected: Any) -> None:
    assert mask_value(value) == expected


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [str(value)]


values = st.recursive(
    st.text(min_size=5, alphabet=st.characters(codec="utf-8", exclude_characters="@… \t\n"))
    | st.integers(min_value=10**5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values)
def test_masks_part_of_every_text_and_long_number(value: Any) -> None:
    shown = leaves(mask_value(value))
    assert all(len(leaf) <= 7 for leaf in shown)
    assert not {leaf for leaf in leaves(value) if len(leaf) > 4 and not leaf.strip("+-.,").isdecimal()} & set(shown)


def test_does_not_show_values_nested_too_deep() -> None:
    value: Any = "Ana"
    for _ in range(1000):
        value = {"x": value}
    assert "Ana" not in str(mask_value(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the phone +52 55 1234 5678 is taken", "the phone +52…78 is taken"),
        ("ana.lopez@example.com and 5512345678.", "a…@example.com and …78."),
        ("since 2026-11-22, 41 of 1000", "since 2026-11-22, 41 of 1000"),
        ("no number at all", "no number at all"),
    ],
)
def test_a_sentence_keeps_its_words(text: str, expected: str) -> None:
    assert mask_text(text) == expected

"""Finding placeholders without parsing their content."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no {x} }} %", []),
        ("{{a}}", ["a"]),
        ("x {{ a.b }} y {{- c -}}", ["a.b", "c"]),
        ("{{ a }}}", ["a"]),
        ("{{ a\n.b }}", ["a\n.b"]),
        ("{{}}", [""]),
        ("{{ a | default('}}') }}", ["a | default('}}')"]),
        ('{{ a | default("}}") }}', ['a | default("}}")']),
        ("{{ '}}' }}", ["'}}'"]),
        (r"{{ a | x('\'}}') }}", [r"a | x('\'}}')"]),
        ("{{ step.What's up }} {{ step.What's up }}", ["step.What's up"] * 2),
        ("{{ step.What's up | upper }} b {{ step.What's up | upper }}", ["step.What's up | upper"] * 2),
    ],
)
def test_every_placeholder_is_found(text: str, expected: list[str]) -> None:
    found = list(find_placeholders(text))

    assert [placeholder.expression for placeholder in found] == expected
    assert all(text[placeholder.start : placeholder.end] == placeholder.source for placeholder in found)


@pytest.mark.parametrize(("text", "offset"), [("{{", 0), ("a {{ b", 2), ("{{ a }} {{ b }", 8)])
def test_reports_an_unclosed_placeholder_at_its_start(text: str, offset: int) -> None:
    with pytest.raises(TemplateFault, match="never closed") as caught:
        list(find_placeholders(text))
    assert caught.value.offset == offset


@given(st.text(alphabet="{}'\"\\ab| "))
def test_placeholders_never_overlap(text: str) -> None:
    try:
        found = list(find_placeholders(text))
    except TemplateFault:
        return
    ends = [0, *(placeholder.end for placeholder in found)]
    assert all(placeholder.start >= end for placeholder, end in zip(found, ends, strict=False))


@pytest.mark.parametrize("part", ["{{ a | '", "{{ a' }}", "{{'}}", '{{"', "'\"{{ a | b }}", "{{ \\' }}"])
def test_time_is_linear_in_the_text(part: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(TemplateFault):
        list(find_placeholders(part * (64_000 // len(part))))
    assert time.monotonic() - started < 5

"""Answers match options by text, number, or value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.answers import AnswerMisfit, AnswerRule, ListedOptions
from airflow_whatsapp_flows.flow.options import find_option
from airflow_whatsapp_flows.flow.template.references import parse_bare_reference
from tests.flow.samples import exits, flow_of, walk_flow

MENU = ("Sales 💬", "Soporte técnico", "❤️ Other")


@pytest.mark.parametrize(
    ("answer", "position"),
    [
        ("Sales 💬", 0),
        (" sales  💬\n", 0),
        ("SOPORTE TÉCNICO", 1),
        ("Soporte te\u0301cnico", 1),
        ("ｓｏｐｏｒｔｅ técnico", 1),
        ("❤ other", 2),
        ("1", 0),
        (" 3 ", 2),
        ("2️⃣", 1),
        ("２", 1),
        ("03", 2),
        ("0", None),
        ("4", None),
        ("-1", None),
        ("1.", None),
        ("Sales", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_finds_an_option_by_text_or_number(answer: str, position: int | None) -> None:
    assert find_option(MENU, answer) == position


def test_a_number_matches_the_text_of_numeric_options() -> None:
    assert find_option(["10", "20", "More"], "2") is None
    assert find_option(["10", "20", "More"], "20") == 1
    assert find_option(["2", "1"], "1") == 1
    assert find_option(["1️⃣", "2️⃣"], "2") == 1
    assert find_option([str(number) + "." for number in range(1, 11)], "🔟") == 9


@given(st.lists(st.text(min_size=1).filter(lambda text: text == text.strip() and text), min_size=1, unique=True))
def test_every_option_is_found_by_its_own_text(options: list[str]) -> None:
    assert [find_option(options, option) for option in options] == list(range(len(options)))


@given(st.lists(st.text(), max_size=4), st.text())
def test_any_answer_finds_one_option_or_none(options: list[str], answer: str) -> None:
    chosen = find_option(options, answer)
    assert chosen is None or 0 <= chosen < len(options)


@pytest.mark.parametrize(("answer", "value"), [("2", "Support"), ("support ", "Support"), (2, "Support")])
def test_a_menu_accepts_the_number_of_an_option(answer: object, value: object) -> None:
    flow = flow_of({"name": "m", "type": "menu", "options": {"Sales": None, "Support": None}})
    record = walk_flow(flow, {"step": {"m": answer}})
    assert exits(record)[0][1] == "Support"
    assert record.variables["step"]["m"] == (value if isinstance(answer, str) else answer)


def test_matches_a_single_option_like_a_menu() -> None:
    rule = AnswerRule(answer_type="SINGLE_OPTION", options=MENU)
    assert [rule.read(answer, {}) for answer in ("2", "SALES 💬", 3, "❤ Other")] == [MENU[1], MENU[0], MENU[2], MENU[2]]
    for answer in ("4", True, ["Sales 💬"], {"a": 1}):
        with pytest.raises(AnswerMisfit, match="not one of the 3 options"):
            rule.read(answer, {})


def test_matches_a_listed_option_by_value_before_text() -> None:
    reference = parse_bare_reference("contact.slots", None)
    assert reference is not None
    values = {"contact": {"slots": [{"id": 2, "title": "Monday"}, {"id": 1, "title": "Tuesday"}]}}
    options = ListedOptions(reference, "id", "title")
    assert [options.choose(answer, values) for answer in ("1", "monday", " TUESDAY ", 2)] == [1, 2, 1, 2]

"""Answers have the type that their question asks for."""

from __future__ import annotations

import contextlib
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.answers import AnswerMisfit, AnswerRule
from airflow_whatsapp_flows.flow.format import AnswerType

FILE = {"url": "https://media.example/a.png", "filename": "a.png", "content_type": "image/png"}


@pytest.mark.parametrize(
    ("answer_type", "answer", "typed"),
    [
        ("ANY", {"a": [1]}, {"a": [1]}),
        ("ANY", "", ""),
        ("FREE_TEXT", "{{ 7*7 }}", "{{ 7*7 }}"),
        ("FREE_TEXT", 5, 5),
        ("NUMBER", "41", 41),
        ("NUMBER", " -3 ", -3),
        ("NUMBER", "+5", 5),
        ("NUMBER", "3.50", 3.5),
        ("NUMBER", ".5", 0.5),
        ("NUMBER", "5.", 5.0),
        ("NUMBER", 7, 7),
        ("NUMBER", 7.5, 7.5),
        ("NUMBER", "007", 7),
        ("NUMBER", 10**400, 10**400),
        ("BOOL", "yes", True),
        ("BOOL", "Sí", True),
        ("BOOL", " NO ", False),
        ("BOOL", True, True),
        ("BOOL", 0, False),
        ("EMAIL", "ana@example.com", "ana@example.com"),
        ("EMAIL", "a.b+c@sub.example.mx", "a.b+c@sub.example.mx"),
        ("PHONE", "+5215512345678", "+5215512345678"),
        ("PHONE", "0055 12-34.56", "0055 12-34.56"),
        ("PHONE", "(55) 1234 5678", "(55) 1234 5678"),
        ("DATE", "2026-11-22", "2026-11-22"),
        ("TIME", "16:04", "16:04"),
        ("TIME", "9:05:59", "9:05:59"),
        ("DATETIME", "2026-11-22T16:04:05Z", "2026-11-22T16:04:05Z"),
        ("DATETIME", "2026-11-22 16:04", "2026-11-22 16:04"),
        ("URL", "https://x.test/a?b", "https://x.test/a?b"),
        ("URL", "HTTP://x", "HTTP://x"),
        ("FILE", FILE, FILE),
        ("DOCUMENT", "https://x.test/a.pdf", "https://x.test/a.pdf"),
        ("VIDEO", FILE, FILE),
        ("IMAGE", FILE, FILE),
        ("LOCATION", {"latitude": 1, "longitude": 2}, {"latitude": 1, "longitude": 2}),
        ("LOCATION", "19.4,-99.1", "19.4,-99.1"),
        ("SINGLE_OPTION", "anything", "anything"),
    ],
)
def test_accepts_fitting_answers(answer_type: AnswerType, answer: Any, typed: Any) -> None:
    result = AnswerRule(answer_type=answer_type).read(answer, {})

    assert (result, type(result)) == (typed, type(typed))


@pytest.mark.parametrize(
    ("answer_type", "answer"),
    [
        ("NUMBER", "1_000"),
        ("NUMBER", "1,5"),
        ("NUMBER", "٣"),
        ("NUMBER", "１２"),
        ("NUMBER", "nan"),
        ("NUMBER", "1e5"),
        ("NUMBER", ""),
        ("NUMBER", True),
        ("NUMBER", [1]),
        ("NUMBER", math.nan),
        ("NUMBER", math.inf),
        ("NUMBER", "9" * 5000),
        ("BOOL", "maybe"),
        ("BOOL", ""),
        ("BOOL", []),
        ("BOOL", 2),
        ("EMAIL", "ana"),
        ("EMAIL", "ana@x"),
        ("EMAIL", "a b@x.y"),
        ("EMAIL", "ana@x.y\nz"),
        ("EMAIL", 7),
        ("EMAIL", "a@" * 50_000),
        ("PHONE", "call me"),
        ("PHONE", "12"),
        ("PHONE", 5512345678),
        ("PHONE", "+52" + "1" * 50),
        ("PHONE", "٣٣٣٣٣٣٣"),
        ("DATE", "22/11/2026"),
        ("DATE", "2026-02-30"),
        ("DATE", 20261122),
        ("DATE", "2026-11-22T10:00"),
        ("DATE", ""),
        ("TIME", "24:00"),
        ("TIME", "9"),
        ("TIME", "16:60"),
        ("DATETIME", "tomorrow"),
        ("DATETIME", 5),
        ("URL", "x.test"),
        ("URL", "ftp://x"),
        ("URL", "javascript:alert(1)"),
        ("URL", "http://"),
        ("URL", "http://[::"),
        ("URL", 7),
        ("FILE", {}),
        ("FILE", {"url": 7}),
        ("FILE", "a.png"),
        ("DOCUMENT", []),
        ("VIDEO", 1),
        ("IMAGE", "file:///etc/passwd"),
        ("LOCATION", 7),
        ("LOCATION", [1, 2]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_rejects_misfit_answers(answer_type: AnswerType, answer: Any) -> None:
    with pytest.raises(AnswerMisfit, match=r"expected"):
        AnswerRule(answer_type=answer_type).read(answer, {})


@pytest.mark.parametrize("answer_type", get_args(AnswerType))
def test_null_is_an_answer_of_every_type(answer_type: AnswerType) -> None:
    assert AnswerRule(answer_type=answer_type, options=("a",)).read(None, {}) is None


def test_accepts_one_of_the_options() -> None:
    assert AnswerRule(answer_type="SINGLE_OPTION", options=("a", "b")).read("b", {}) == "b"
    with pytest.raises(AnswerMisfit, match="not one of the 2 options: a, b"):
        AnswerRule(answer_type="SINGLE_OPTION", options=("a", "b")).read("c", {})
    with pytest.raises(AnswerMisfit, match="not one of the 1 options"):
        AnswerRule(answer_type="SINGLE_OPTION", options=("a",)).read(["a"], {})


@pytest.mark.parametrize("answer_type", ["FREE_TEXT", "ANY", "PHONE"])
@pytest.mark.parametrize("text", ["+5215512345678", "0075512"])
def test_text_answers_stay_unchanged(answer_type: AnswerType, text: str) -> None:
    assert AnswerRule(answer_type=answer_type).read(text, {}) == text


@given(
    st.sampled_from(get_args(AnswerType)),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text()),
)
def test_any_answer_fits_or_does_not(answer_type: AnswerType, answer: Any) -> None:
    with contextlib.suppress(AnswerMisfit):
        AnswerRule(answer_type=answer_type, options=("a",)).read(answer, {})


def test_naughty_strings_fit_or_do_not(naughty_strings: list[str]) -> None:
    for text in naughty_strings:
        assert AnswerRule(answer_type="FREE_TEXT").read(text, {}) == text
        for answer_type in get_args(AnswerType):
            try:
                AnswerRule(answer_type=answer_type).read(text, {})
            except AnswerMisfit:
                continue


def rule(**keys: Any) -> AnswerRule:
    return AnswerRule(**keys)


@pytest.mark.parametrize(
    ("keys", "answer", "expected"),
    [
        ({"answer_type": "NUMBER", "minimum": 18}, "17", "at least 18 is expected"),
        ({"answer_type": "NUMBER", "minimum": 18}, "18", 18),
        ({"answer_type": "NUMBER", "maximum": "99.5"}, "99.6", "at most 99.5 is expected"),
        ({"answer_type": "NUMBER", "maximum": "99.5"}, "99.5", 99.5),
        ({"answer_type": "NUMBER", "decimals": False}, "3.5", "a whole number is expected, such as 41"),
        ({"answer_type": "NUMBER", "decimals": False}, "3.0", 3.0),
        ({"answer_type": "NUMBER", "decimals": False}, "3", 3),
        ({"answer_type": "DATE", "minimum": "2026-01-01"}, "2025-12-31", "at least 2026-01-01 is expected"),
        ({"answer_type": "DATE", "minimum": "2026-01-01"}, "2026-01-01", "2026-01-01"),
        ({"answer_type": "TIME", "maximum": "17:30"}, "17:30:01", "at most 17:30 is expected"),
        ({"answer_type": "TIME", "minimum": "09:00", "maximum": "17:30"}, "9:05", "9:05"),
        (
            {"answer_type": "DATETIME", "maximum": "2026-01-01T00:00"},
            "2026-01-01T00:00-06:00",
            "at most 2026-01-01T00:00 is expected",
        ),
        ({"answer_type": "PHONE", "country": "MX"}, "55 1234 5678", "+525512345678"),
        ({"answer_type": "PHONE", "country": "MX"}, "+52 1 55 1234 5678", "+5215512345678"),
        (
            {"answer_type": "PHONE", "country": "MX"},
            "123",
            "a phone number is expected, with its country code or from MX",
        ),
        ({"answer_type": "PHONE"}, "0055 1234", "0055 1234"),
    ],
)
def test_question_constraints_besides_the_type(keys: dict[str, Any], answer: str, expected: object) -> None:
    try:
        found: object = rule(**keys).read(answer, {})
    except AnswerMisfit as error:
        found = str(error)

    assert found == expected


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_a_range_includes_its_ends(low: int, high: int, answer: int) -> None:
    limits = rule(answer_type="NUMBER", minimum=low, maximum=high)

    if low <= answer <= high:
        assert limits.read(str(answer), {}) == answer
    else:
        with pytest.raises(AnswerMisfit):
            limits.read(str(answer), {})

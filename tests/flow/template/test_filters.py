"""The results of each filter, and the values it refuses."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.filters import FILTERS, MAX_TEXT, join_texts, json_text, text_of
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.variables import Variables

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def use(filters: str, value: Any) -> object:
    template = CagedLanguage().parse("{{ contact.a | " + filters + " }}")
    assert not isinstance(template, str)
    return template.evaluate(Variables(contact={"a": value, "b": ""}))


@pytest.mark.parametrize(
    ("filters", "value", "expected"),
    [
        ("default('x')", None, "x"),
        ("default('x')", "", "x"),
        ("default('x')", 0, 0),
        ("default('x')", False, False),
        ("default", None, ""),
        ("lower", "ÁNA", "ána"),
        ("upper", "straße", "STRASSE"),
        ("upper", True, "TRUE"),
        ("trim", " \ta\n", "a"),
        ("trim", None, ""),
        ("replace('-', '')", "55-12-34", "551234"),
        ("replace('a', 'b')", 1, "1"),
        ("replace('1', 2)", 11, "22"),
        ("join", ["a", 1, None], "a, 1, "),
        ("join('; ')", ["a", "b"], "a; b"),
        ("join('')", [], ""),
        ("length", "año", 3),
        ("length", [1, 2], 2),
        ("length", {"a": 1}, 1),
        ("first", [5, 6], 5),
        ("last", "abc", "c"),
        ("int", "41", 41),
        ("int", " -7 ", -7),
        ("int", 3.9, 3),
        ("int", True, 1),
        ("int(0)", "x", 0),
        ("int(none)", "1_000", None),
        ("float", "3.50", 3.5),
        ("float", "1e3", 1000.0),
        ("float", 2, 2.0),
        ("float(0)", "nan", 0),
        ("float(0)", "1e999", 0),
        ("float(0)", 10**400, 0),
        ("round", 2.5, 2),
        ("round(1)", "3.14", 3.1),
        ("round", "7", 7),
        ("json", {"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
        ("json", 'x"y', '"x\\"y"'),
        ("json", None, "null"),
        ("urlencode", "a b/é&+", "a%20b%2F%C3%A9%26%2B"),
        ("urlencode", 5, "5"),
        ("date", "2026-11-22T16:04:05Z", "2026-11-22"),
        ("date('%d/%m/%Y %H:%M')", "2026-11-22T16:04:05-06:00", "22/11/2026 16:04"),
        ("date('%-d.%-m.%y %%')", "2026-03-05", "5.3.26 %"),
        ("digits", "+52 (55) 1234-٣", "52551234"),
        ("digits", None, ""),
        ("e164", "+52 155 1234 5678", "+5215512345678"),
        ("e164('MX')", "55 1234 5678", "+525512345678"),
        ("e164", "+1 (415) 555-2671", "+14155552671"),
        ("trim | lower | replace(' ', '_')", " A B ", "a_b"),
    ],
)
def test_filter_results(filters: str, value: Any, expected: Any) -> None:
    found = use(filters, value)

    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("filters", "value", "message"),
    [
        ("replace(contact.b, 'x')", "a", "needs a string to search for"),
        ("date(contact.a)", "%s", "date needs a format"),
        ("replace('a', contact.a)", "a" * 2000, "more than 1,048,576"),
        ("join", "abc", "join needs a list"),
        ("join", None, "join needs a list"),
        ("join", ["a" * MAX_TEXT, "b"], "more than 1,048,576"),
        ("length", 5, "length needs"),
        ("length", None, "length needs"),
        ("first", [], "at least one item"),
        ("last", {}, "need a string or a list"),
        ("int", "1_000", "not a whole number"),
        ("int", "٣", "not a whole number"),
        ("int", "3.5", "not a whole number"),
        ("int", None, "null is not"),
        ("int", "1" * 500, "not a whole number"),
        ("float", "nan", "not a number"),
        ("float", "1,5", "not a number"),
        ("float", [], "a list is not"),
        ("round", "x", "not a number"),
        ("round(-1)", 1, "0 to 15"),
        ("date", "22/11/2026", "is not a date"),
        ("date", None, "is not a date"),
        ("e164", "55 1234 5678", r"for numbers without '\+', give the country"),
        ("e164('MX')", "call me", "not a phone number"),
        ("e164", None, "null is not a phone number|not a phone number"),
        ("urlencode", "\ud800", "cannot be computed"),
        ("urlencode", "é" * 400_000, "more than 1,048,576"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_filters_refuse_unsupported_values(filters: str, value: Any, message: str) -> None:
    with pytest.raises(RenderError, match=message):
        use(filters, value)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("upper(1)", "the filter 'upper' takes no argument"),
        ("replace('a')", r"takes \(old, new\)"),
        ("join(1, 2)", r"takes \(separator\)"),
        ("round(nope=1)", r"takes \(digits\)"),
        ("uper", "did you mean 'upper'"),
        ("center(5)", "there is no filter named 'center'"),
        ("format(1)", "there is no filter named 'format'"),
        ("attr('x')", "there is no filter named 'attr'"),
        ("replace('', 'x')", "needs a string to search for"),
        ("round(99)", "0 to 15 digits"),
        ("round('x')", "0 to 15 digits"),
        ("date('%999999999d')", "date needs a format"),
        ("date('%s')", "date needs a format"),
        ("date('" + "a" * 201 + "')", "date needs a format"),
        ("date('%')", "date needs a format"),
        ("date(5)", "date needs a format"),
        ("e164('XX')", "'XX' is not a country"),
        ("round(digits=99)", "0 to 15 digits"),
        ("date(**contact)", "are not allowed"),
        ("date(*contact)", "are not allowed"),
    ],
)
def test_wrong_arguments_are_faults_at_load(filters: str, message: str) -> None:
    with pytest.raises(TemplateFault, match=message):
        use(filters, "x")


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "default"])
def test_a_missing_value_is_reported_by_every_filter_but_default(name: str) -> None:
    arguments = "('a', 'b')" if name == "replace" else ""
    template = CagedLanguage().parse("{{ contact.b | " + name + arguments + " }}")

    assert not isinstance(template, str)
    with pytest.raises((MissingValueError, RenderError)):
        template.evaluate(Variables())


@given(st.sampled_from(sorted(FILTERS)), PLAIN)
def test_any_value_is_filtered_or_refused(name: str, value: Any) -> None:
    try:
        found = use(name + ("('a', 'b')" if name == "replace" else ""), value)
    except RenderError:
        return
    assert found is None or isinstance(found, (str, bool, int, float, list, dict))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_urlencode_and_json_round_trip(text: str) -> None:
    assert unquote(str(use("urlencode", text))) == text
    assert json.loads(str(use("json", text))) == text


def test_large_and_small_values_have_the_same_json_format() -> None:
    item = {"a": [1.5, -0.0, 1e16, 1e-7, 10**30, True, None, 'é"\\\n\u2028'], "é": {}, "b": [], "c": [{}]}
    value = {"items": [item] * 1_000, "more": ["x" * 50_000]}

    assert json_text(value, MAX_TEXT) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    with pytest.raises(RenderError, match="NaN"):
        json_text({**value, "n": float("nan")}, MAX_TEXT)


def test_converts_non_plain_values_to_text() -> None:
    for value in ({1, 2}, object(), b"x", [object()]):
        with pytest.raises(RenderError, match="cannot be converted to text"):
            text_of(value)
    with pytest.raises(RenderError, match="NaN and Infinity"):
        text_of(math.nan)


def test_joined_stops_before_using_much_memory() -> None:
    taken = []

    def texts() -> Any:
        while True:
            taken.append(1)
            yield "a" * 500_000

    with pytest.raises(RenderError):
        join_texts(texts())
    assert len(taken) == 3


@pytest.mark.parametrize(
    ("filters", "value", "expected"),
    [
        ("from_json", '{"id": 7, "tags": ["a", null]}', {"id": 7, "tags": ["a", None]}),
        ("from_json | length", "[1, 2]", 2),
        ("from_json", {"x": 1}, {"x": 1}),
        ("from_json", None, None),
        ("from_json(none)", "{'id': 7}", None),
        ("from_json", '"a\\u0000b"', "a\ufffdb"),
    ],
)
def test_parses_json_text(filters: str, value: object, expected: object) -> None:
    assert use(filters, value) == expected


def test_reads_a_value_inside_json_text_of_a_reply() -> None:
    template = CagedLanguage().parse("{{ (contact.a | from_json).tags.0 | upper }}")
    assert not isinstance(template, str)
    assert template.evaluate(Variables(contact={"a": '{"tags": ["x"]}'})) == "X"


@pytest.mark.parametrize(
    "text", ["", "{'a': 1}", '{"a": 1, "a": 2}', "[NaN]", "[1e999]", "[" * 30_000, "[0\0,0]", '"\ud800"'],
    ids=["empty", "single quotes", "a key twice", "NaN", "infinite", "deep", "NUL", "surrogate"],
)  # fmt: skip
def test_text_that_is_not_json_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(RenderError, match=rf"a text of {len(text)} characters is not JSON \(.*from_json\(none\)"):
        use("from_json", text)


def test_limits_the_total_size_of_repeated_uses_of_a_text() -> None:
    many = ", ".join(["contact.a | from_json"] * 30)
    template = CagedLanguage().parse("{{ [" + many + "] | length }}")
    assert not isinstance(template, str)
    with pytest.raises(RenderError, match="would create more than"):
        template.evaluate(Variables(contact={"a": "[" + ",".join(["{}"] * 24_000) + "]"}))

"""``form``: WHATWG serialization, checked with urllib and Werkzeug."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import FormDataParser

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.body import BodyType, parse_body
from airflow_whatsapp_flows.flow.template.language import Data
from tests.flow.body.dict_language import INJECTIONS, LANGUAGE, content, encode, fault_of, naughty_strings

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("body", "values", "expected"),
    [
        ({"a b": "*-._~ +&=ñ"}, {}, b"a+b=*-._%7E+%2B%26%3D%C3%B1"),
        ({"t": "{{ x }}"}, {"x": ["a", 1, None]}, b"t=a&t=1&t="),
        ({"t": ["{{ x }}", "b"], "n": None}, {"x": "a"}, b"t=a&t=b&n="),
        ({"t": True, "f": False, "i": 3, "d": 1e16}, {}, b"t=true&f=false&i=3&d=1e%2B16"),
        ({"t": "{{ x }}"}, {"x": []}, b""),
        ([["a", "1"], ["b", 2], ["a", "{{ x }}"]], {"x": True}, b"a=1&b=2&a=true"),
        ("a=1&b={{ x }}&&c&d=x{{ x }}+y%20%26", {"x": "&="}, b"a=1&b=%26%3D&c=&d=x%26%3D+y+%26"),
        ('a={{ x | default("&b=1") }}', {}, b"a=%26b%3D1"),
        ("a%5B%5D=%C3%B1&b=100%", {}, b"a%5B%5D=%C3%B1&b=100%25"),
        ("", {}, b""),
        ({"a": "\r\n"}, {}, b"a=%0D%0A"),
        ({"a": "\n"}, {}, b"a=%0A"),
        (Data({"a": "{{ x }}", "b": [1, 2]}), {}, b"a=%7B%7B+x+%7D%7D&b=1&b=2"),
        (Data("a={{ x }}"), {}, b"a=%7B%7B+x+%7D%7D"),
        (Data([["a", "{{ x }}"]]), {}, b"a=%7B%7B+x+%7D%7D"),
    ],
)
def test_golden_bytes(body: object, values: dict[str, object], expected: bytes) -> None:
    encoded = encode("form", body, values)
    assert encoded.content == expected
    assert encoded.content_type == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"a": {"b": 1}}, "the field 'a' contains an object"),
        ({"a": [[1]]}, "the field 'a' contains an object or a list within a list"),
        ({"a": Data({"b": 1})}, "the field 'a' contains an object"),
        ({"a": [Data({"b": 1})]}, "the field 'a' contains an object"),
        ({"{{ k }}": 1}, "never a name"),
        ([["a"]], "a pair must be"),
        ([["{{ k }}", 1]], "never a name"),
        ([[1, 1]], "must be text"),
        ("{{ k }}=1", "column 1 of the body"),
        ("a=1&b{{ k }}=1", "column 5 of the body"),
        ("a=1&b={{ 1+1 }}", "column 7 of the body"),
        ("a=%ff", "not UTF-8"),
        ('{"a": 1}', "the text of a form looks like a=1&b=2"),
        ({"a": "\ud800"}, "surrogate"),
        (41, "a form must be"),
        ("a={{ x", "never closed"),
    ],
)
def test_faults(body: object, message: str) -> None:
    assert message in fault_of("form", body).message


@pytest.mark.parametrize(
    ("value", "where"),
    [({"b": 1}, "a"), ([{"b": 1}], "a[0]"), ([[1]], "a[0]"), ("\ud800", "a"), (float("nan"), "a")],
)
def test_a_value_that_cannot_be_sent_is_named(value: object, where: str) -> None:
    with pytest.raises(RenderError) as caught:
        content("form", {"a": "{{ x }}"}, x=value)
    assert caught.value.where == where


def test_a_missing_value_is_named() -> None:
    with pytest.raises(MissingValueError) as caught:
        content("form", [["z", 1], ["a", "{{ x }}"]])
    assert caught.value.where == "[1]"


def test_templates() -> None:
    body = parse_body(BodyType.FORM, "a=1&b={{ x }}", LANGUAGE)
    assert [template.text for template in body.templates] == ["{{ x }}"]


def _read(encoded: bytes) -> list[tuple[str, str]]:
    pairs = parse_qsl(encoded.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=50)
    _, form, _ = FormDataParser().parse(BytesIO(encoded), "application/x-www-form-urlencoded", len(encoded))
    assert sorted(form.items(multi=True)) == sorted(pairs)
    return pairs


@pytest.mark.parametrize("value", INJECTIONS)
def test_an_answer_stays_text(value: str) -> None:
    assert _read(content("form", "a={{ x }}&b=<{{ x }}>", x=value)) == [("a", value), ("b", f"<{value}>")]


def test_naughty_strings() -> None:
    for value in naughty_strings():
        assert _read(content("form", {"a": "{{ x }}", "b": "1"}, x=value)) == [("a", value), ("b", "1")]


@given(TEXTS, TEXTS)
def test_every_text_round_trips(name: str, value: str) -> None:
    body = [["z", "1"]] if "{{" in name or "{%" in name else [["z", "1"], [name, "{{ x }}"]]
    expected = [("z", "1")] + ([(name, value)] if len(body) == 2 else [])
    assert _read(content("form", body, x=value)) == expected


def test_one_megabyte() -> None:
    assert parse_qsl(content("form", {"a": "{{ x }}"}, x="&=" * 500_000).decode()) == [("a", "&=" * 500_000)]

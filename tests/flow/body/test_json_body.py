"""``json``: values are sent with their types, and answers never become structure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.body import BodyType, parse_body
from airflow_whatsapp_flows.flow.body.json_body import parse_json
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import Data, TreeFault
from tests.flow.body.dict_language import INJECTIONS, LANGUAGE, content, encode, fault_of, naughty_strings

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("body", "values", "expected"),
    [
        pytest.param({"age": "{{ age }}"}, {"age": 41}, b'{"age":41}', id="a lone placeholder keeps its type"),
        pytest.param({"a": "n {{ age }}"}, {"age": 41}, b'{"a":"n 41"}', id="a joined one is text"),
        pytest.param({"p": "{{ p }}"}, {"p": "+52155"}, b'{"p":"+52155"}', id="a phone stays text"),
        pytest.param('{"age": {{ age }}, "n": "{{ age }}"}', {"age": 41}, b'{"age":41,"n":"41"}', id="unquoted"),
        pytest.param('{"caller": {{ a }}}', {"a": 'x"y'}, b'{"caller":"x\\"y"}', id="unquoted text is quoted"),
        pytest.param("{{ a }}", {"a": {"b": [1, None]}}, b'{"b":[1,null]}', id="the whole body"),
        pytest.param("[{{a}},{{b}}]", {"a": 1, "b": True}, b"[1,true]", id="compact"),
        pytest.param('{"a":{"b":{{a}}}}', {"a": 1.5}, b'{"a":{"b":1.5}}', id="closing braces"),
        pytest.param(r'{"a": "{{ x | default(\"a\") }}"}', {}, b'{"a":"a"}', id="escaped quotes"),
        pytest.param('{"a": "{{ x | default("a") }}", "b": 1}', {}, b'{"a":"a","b":1}', id="quotes as they are"),
        pytest.param(r'{"a": "\"{{ x }}\" \\"}', {"x": "v"}, rb'{"a":"\"v\" \\"}', id="escapes around"),
        pytest.param('{"a": "{{ x\n }}"}', {"x": "v"}, b'{"a":"v"}', id="a line break in a placeholder"),
        pytest.param('{"a": {{ x | default("}}") }}}', {}, b'{"a":"}}"}', id="braces in quotes"),
        pytest.param({}, {}, b"{}", id="empty object"),
        pytest.param([], {}, b"[]", id="empty list"),
        pytest.param("", {}, b"", id="empty text is empty content"),
        pytest.param(" \n", {}, b"", id="blank text is empty content"),
        pytest.param(None, {}, b"null", id="null"),
        pytest.param({"ñ": ["😀", 1e16, -0.0]}, {}, '{"ñ":["😀",1e+16,-0.0]}'.encode(), id="UTF-8"),
        pytest.param(Data({"a": "{{ x }}"}), {}, b'{"a":"{{ x }}"}', id="data is never a template"),
        pytest.param(Data('{"{{a": "{{ x }}"}'), {}, b'{"{{a":"{{ x }}"}', id="text from data is JSON, no template"),
        pytest.param({"a": Data(["{{ x }}"])}, {}, b'{"a":["{{ x }}"]}', id="data in a leaf"),
        pytest.param("{{ What's up }}", {"What's up": 1}, b"1", id="an apostrophe in a name"),
    ],
)
def test_golden_bytes(body: object, values: dict[str, object], expected: bytes) -> None:
    assert encode("json", body, values).content == expected


def test_content_type_has_no_charset() -> None:
    assert encode("json", {}).content_type == encode("json", "").content_type == "application/json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": hola}', 'line 1, column 7 of the body: text must be in double quotes: "hola"'),
        ('{\n  "a": {{ x }} {{ y }}}', "line 2, column 16 of the body: ',' or '}' is missing here"),
        ('{"a": hi {{ x }}}', 'column 7 of the body: text must be in double quotes: "hi"'),
        ("{'a': 1}", "column 2 of the body: a key in double quotes is expected here"),
        ("{\"a\": 'x'}", "double quotes, not in single quotes"),
        ('{"a": True}', "write true"),
        ('{"a": NaN}', "NaN is not JSON; write null"),
        ('{"a": -Infinity}', "write null"),
        ('{"a": 007}', "007 is not a JSON number"),
        ('{"a": +52}', "+52 is not a JSON number"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "1" * 5000 + "}", "too many digits"),
        ('{"a": 1,}', "remove the comma"),
        ('{"a": }', "a value is missing before '}'"),
        ("[1,]", "a value is missing before ']'"),
        ("[1,", "the text ends where a value is expected"),
        ('{"a": 1', "ends unexpectedly"),
        ('{"a": 1} x', "extra text after the JSON value"),
        ('{"a": 1} // x', "no comments"),
        ('{"a": "x', "never closed"),
        ('{"a": "x\ny"}', "control character"),
        (r'{"a": "\x"}', "backslash"),
        ('{"a": 1, "a": 2}', 'line 1, column 10 of the body: the key "a" appears twice'),
        (r'{"a": 1, "\u0061": 2}', "appears twice"),
        ('{"{{ k }}": 1}', "column 2 of the body: a placeholder cannot be in a key"),
        ("{ {{ k }}: 1}", "column 3 of the body: a placeholder cannot be a key"),
        ('{"a" 1}', "':' is missing"),
        ('{"a": {{ x }', "never closed"),
        ('{"a": "{{ x"}', "never closed"),
        ('{"a": {{ 1+1 }}}', "column 7 of the body: cannot read"),
        ('{"a": "b {{ 1+1 }}"}', "column 10 of the body: cannot read"),
        ("{% if x %}1{% endif %}", "only inside quotes"),
        ("[" * 65 + "]" * 65, "deeper than 64"),
        (r'{"a": "\ud800"}', "surrogate"),
        (" " * 70_000 + "1", "at most 65536"),
    ],
)
def test_faults_in_text(text: str, message: str) -> None:
    assert message in fault_of("json", text).message


def test_fault_has_the_offset_in_the_text() -> None:
    text = '{\n "a": "{{ x | default(\\"q\\") }}",\n "b": nope}'
    assert fault_of("json", text).offset == text.index("nope")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"a": [{"b": float("nan")}]}, ("a", 0, "b")),
        ({"a": "\ud800"}, ("a",)),
        ({"\ud800": 1}, ("\ud800",)),
        ({"a": {1, 2}}, None),
        ({"{{ k }}": 1}, ("{{ k }}",)),
        ({1: 1}, None),
        (Data({1: "a", "1": "b"}), None),
    ],
)
def test_faults_in_data(body: object, path: tuple[str | int, ...] | None) -> None:
    fault = fault_of("json", body)
    assert isinstance(fault, TreeFault)
    assert path is None or fault.path == path


def test_depth_is_limited() -> None:
    body: Any = 1
    for _ in range(5000):
        body = [body]
    assert "deeper than 64" in fault_of("json", body).message
    with pytest.raises(RenderError, match="deeper than 64"):
        content("json", {"a": "{{ x }}"}, x=body)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), "a[0].b"),
        (float("inf"), "a[0].b"),
        ("\ud800", "a[0].b"),
        ({"c": ["\udfff"]}, "a[0].b.c[0]"),
        ({"c": float("nan")}, "a[0].b.c"),
        ({1: "a", "1": "b"}, "a[0].b"),
        ({"\ud800": 1}, "a[0].b"),
        pytest.param(10**5000, "a[0].b", id="too many digits"),
        (object(), "a[0].b"),
    ],
)
def test_a_value_that_cannot_be_sent_is_named(value: object, where: str) -> None:
    for body in ({"a": [{"b": "{{ x }}"}]}, '{"a": [{"b": {{ x }}}]}'):
        with pytest.raises(RenderError) as caught:
            content("json", body, x=value)
        assert caught.value.where == where


def test_a_missing_value_is_named() -> None:
    with pytest.raises(MissingValueError) as caught:
        content("json", {"a": {"b": "{{ x }}"}})
    assert caught.value.where == "a.b"
    with pytest.raises(MissingValueError) as caught:
        content("json", "{{ x }}")
    assert caught.value.where == ""


def test_templates_are_those_of_the_language() -> None:
    body = parse_body(BodyType.JSON, '{"a": "{{ x }}!", "b": {{ y }}}', LANGUAGE)
    assert [template.text for template in body.templates] == ["{{ x }}!", "{{ y }}"]
    assert body.file_sources({}) == ()


@pytest.mark.parametrize("value", INJECTIONS)
def test_an_answer_stays_text(value: str) -> None:
    text = '{"q": "<{{ x }}>", "u": {{ x }}, "e": "{{ x | default(\\"a\\") }}"}'
    assert json.loads(content("json", text, x=value)) == {"q": f"<{value}>", "u": value, "e": value}
    assert json.loads(content("json", {"a": "{{ x }}"}, x=value)) == {"a": value}


def test_naughty_strings() -> None:
    for value in naughty_strings():
        assert json.loads(content("json", '["{{ x }}", {{ x }}]', x=value)) == [value, value]


@given(TREES)
def test_every_tree_round_trips(tree: object) -> None:
    assert json.loads(content("json", {"a": "{{ x }}"}, x=tree)) == {"a": tree}
    expected = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    assert content("json", [Data(tree)]) == b"[" + expected + b"]"
    assert content("json", "{{ x }}", x=tree) == expected


@given(TREES)
def test_every_json_text_reads_as_json_does(tree: object) -> None:
    text = json.dumps(tree, indent=1)
    if "{{" not in text and "{%" not in text:
        assert json.loads(content("json", text)) == tree


@given(st.text('{}[]",:\\ \n1e-truefalsn{{x}}', max_size=40))
def test_any_text_is_json_or_a_fault(text: str) -> None:
    """Whatever Python's strict parser accepts gives the same value; otherwise only a fault is raised."""
    try:
        expected = json.loads(text, object_pairs_hook=_without_duplicates)
    except ValueError:
        return
    if "{{" not in text:
        assert json.loads(content("json", text)) == expected


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def test_one_megabyte() -> None:
    value = '"\\\n' * 350_000
    assert json.loads(content("json", '{"a": {{ x }}}', x=value)) == {"a": value}


def test_content_that_is_too_large_names_the_value_that_does_not_fit() -> None:
    body = parse_body(BodyType.JSON, ["{{ contact.a }}"] * 2_100, CagedLanguage())

    with pytest.raises(RenderError) as raised:
        body.encode({"contact": {"a": "x" * 4_096}})

    assert raised.value.where == "[2046]"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | TREES


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), SCALARS))
def test_short_values_are_written_as_all_others(contact: dict[str, Any]) -> None:
    text = {"a": "{{ contact.a }}", "n": [1.5, "{{ contact.b }}"], "t": "{{ contact.c }}, {{ contact.d }}", "z": None}
    body = parse_json(text, CagedLanguage())

    def outcome(encode: Callable[[dict[str, Any]], bytes]) -> bytes | str:
        try:
            return encode({"contact": contact})
        except RenderError as error:
            return str(error)

    assert outcome(lambda values: body.encode(values).content) == outcome(body._encode_each)


def test_values_of_the_same_type_are_written_together() -> None:
    body = parse_json({"a": "{{ contact.a }}", "b": "x {{ contact.b }}", "c": "{{ contact.c }}"}, CagedLanguage())

    assert body._encode_scalars({"contact": {"a": "é", "b": "y", "c": 3}}) == '{"a":"é","b":"x y","c":3}'.encode()
    for unusual in ({"a": "é", "b": "y"}, {"a": [], "b": "", "c": 1}, {"a": "x" * 70_000, "b": "", "c": 1}):
        assert body._encode_scalars({"contact": unusual}) is None

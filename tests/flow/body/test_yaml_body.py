"""``yaml``: the same value for readers of YAML 1.1 (PyYAML) and 1.2 (ruamel.yaml)."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.body import BodyType, parse_body
from airflow_whatsapp_flows.flow.body.yaml_text import YamlTextError, load_yaml
from airflow_whatsapp_flows.flow.template.language import Data, TreeFault
from tests.flow.body.dict_language import INJECTIONS, LANGUAGE, content, encode, fault_of, naughty_strings

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), inner, max_size=4)
    ),
    max_leaves=20,
)


def _read(sent: bytes) -> Any:
    """The value on which both readers agree, with types."""
    text = sent.decode()
    old = yaml.safe_load(text)
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 2)
    new = reader.load(StringIO(text))
    assert old == new
    assert repr(old) == repr(new)
    assert load_yaml(text) == old
    return old


def test_golden_bytes() -> None:
    body = {
        "name": "{{ x }}",
        "n": [1, -2.5, 1e16, 1e-7, True, None, [], {}],
        "items": [{"a": "y", "b": [["q"], {"c": {}}]}],
        "": '\x85\u2028\ufeff\x00😀ñ"\\\n',
    }
    assert (
        encode("yaml", body, {"x": {"k": ["v", {"w": 1}]}}).content
        == (
            '"name":\n  "k":\n    - "v"\n    - "w": 1\n'
            '"n":\n  - 1\n  - -2.5\n  - 1.0e+16\n  - 1.0e-07\n  - true\n  - null\n  - []\n  - {}\n'
            '"items":\n  - "a": "y"\n    "b":\n      - - "q"\n      - "c": {}\n'
            '"": "\\x85\\u2028\\ufeff\\x00😀ñ\\"\\\\\\n"\n'
        ).encode()
    )
    assert encode("yaml", body, {"x": 1}).content_type == "application/yaml"


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("age: {{ age }}", {"age": 41}, b'"age": 41\n'),
        ('age: "{{ age }}"', {"age": 41}, b'"age": "41"\n'),
        ("age: '{{ age }}'", {"age": 41}, b'"age": "41"\n'),
        ("age: |\n  {{ age }}", {"age": 41}, b'"age": "41"\n'),
        ("a: >-\n  {{ x }}\n  b", {"x": "v\nw"}, b'"a": "v\\nw b"\n'),
        ("a: {{ x }} and {{ y }}", {"x": 1, "y": "z"}, b'"a": "1 and z"\n'),
        ("a: {{ x }}", {"x": [1]}, b'"a":\n  - 1\n'),
        ("{{ x }}", {"x": 1}, b"1\n"),
        ("- {{x}}\n- {a: {{x}}, b: [{{x}}]}", {"x": 1}, b'- 1\n- "a": 1\n  "b":\n    - 1\n'),
        ('a: "{{ x | default(\\"q\\") }}"', {}, b'"a": "q"\n'),
        ('a: "{{ x | default("q") }}"', {}, b'"a": "q"\n'),
        ("a: {{ x | default('#: q') }} # {{ y }}", {}, b'"a": "#: q"\n'),
        (
            "a: 2026-11-22\nb: no\nc: 1_000\nd: 12:30:45\ne: 0o17\nf: 0x1F\ng: 1e3\nh: ~\ni:\nj: TRUE\nk: .5\nl: y",
            {},
            b'"a": "2026-11-22"\n"b": "no"\n"c": "1_000"\n"d": "12:30:45"\n"e": 15\n"f": 31\n"g": 1000.0\n'
            b'"h": null\n"i": null\n"j": true\n"k": 0.5\n"l": "y"\n',
        ),
        ("1: a\ntrue: b", {}, b'"1": "a"\n"true": "b"\n'),
        ('{"json": [1, "{{ x }}"]}', {"x": 1}, b'"json":\n  - 1\n  - "1"\n'),
        ("", {}, b""),
        ("# nothing", {}, b"null\n"),
        ("%YAML 1.2\n---\na: 1\n...\n", {}, b'"a": 1\n'),
        (Data("a: '{{ x }}'"), {}, b'"a": "{{ x }}"\n'),
    ],
)
def test_text(text: object, values: dict[str, object], expected: bytes) -> None:
    assert encode("yaml", text, values).content == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2, column 1 of the body: the key 'a' appears twice"),
        ("a: &x 1", "line 1, column 4 of the body: the anchor &x"),
        ("a: &x 1\nb: *x", "the anchor &x"),
        ("a: *x", "column 4 of the body: the alias *x"),
        ("a: !!python/object:os.system x", "column 4 of the body: the tag"),
        ("a: !t x", "the tag !t"),
        ("!!set {a}", "the tag"),
        ("{{ k }}: 1", "column 1 of the body: a placeholder cannot be in a key"),
        ("a:\n  b{{ k }}: 1", "line 2, column 3 of the body: a placeholder cannot be in a key"),
        ("? [a]\n: 1", "a key must be text"),
        ("{? : 1}", "a key must be text"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("%TAG ! tag:x,2000:\n---\na: 1", "%TAG"),
        ("a: {{ x }} {{ y }}\n b: [", "line 2, column 3 of the body: not YAML"),
        ("a: [1", "not YAML"),
        ("a: \x08", "column 4 of the body: not YAML"),
        ("a: \ud800", "surrogate"),
        ("a: .inf", "cannot be sent"),
        ("a: 1e999", "too large"),
        ("a: " + "1" * 5000, "too many digits"),
        ("a: {{ x", "never closed"),
        ("a: {{ x }}\nb: {{ y", "line 2, column 4 of the body: '{{' is never closed"),
        ("a: {{ 1+1 }}", "line 1, column 4 of the body: cannot read"),
        ("[" * 65 + "]" * 65, "deeper than 64"),
        ('"' + "k" * 1001 + '": 1', "1003 characters"),
    ],
)
def test_faults_in_text(text: str, message: str) -> None:
    assert message in fault_of("yaml", text).message


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"a": [{"b": float("nan")}]}, ("a", 0, "b")),
        ({"a": {"\x01" * 300: 1}}, ("a",)),
        ({"a": ["\ud800"]}, ("a", 0)),
        ({"a": Data({1: 2})}, ("a",)),
    ],
)
def test_faults_in_data(body: object, path: tuple[str | int, ...]) -> None:
    fault = fault_of("yaml", body)
    assert isinstance(fault, TreeFault)
    assert fault.path == path


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("\ud800", "a[0]"),
        (float("nan"), "a[0]"),
        ({"b": ["\ud800"]}, "a[0].b[0]"),
        ({"k" * 1001: 1}, "a[0]"),
        ({1: 1}, "a[0]"),
        (object(), "a[0]"),
    ],
)
def test_a_value_that_cannot_be_sent_is_named(value: object, where: str) -> None:
    with pytest.raises(RenderError) as caught:
        content("yaml", {"a": ["{{ x }}"]}, x=value)
    assert caught.value.where == where


def test_depth_is_limited() -> None:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(RenderError, match="deeper than 64"):
        content("yaml", {"a": "{{ x }}"}, x=value)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(MissingValueError) as caught:
        content("yaml", "a: [b, {{ x }}]")
    assert caught.value.where == "a[1]"


def test_templates() -> None:
    body = parse_body(BodyType.YAML, 'a: "{{ x }}"\nb: {{ y }} # {{ z }}', LANGUAGE)
    assert [template.text for template in body.templates] == ["{{ x }}", "{{ y }}"]


def test_repeated_values_have_no_alias() -> None:
    shared = ["x"]
    assert _read(content("yaml", {"a": "{{ x }}", "b": "{{ x }}"}, x=shared)) == {"a": ["x"], "b": ["x"]}
    assert b"&" not in content("yaml", {"a": "{{ x }}", "b": "{{ x }}"}, x=shared)


@pytest.mark.parametrize("value", INJECTIONS)
def test_an_answer_stays_text(value: str) -> None:
    text = "plain: {{ x }}\ndouble: \"{{ x }}\"\nsingle: '{{ x }}'\nblock: |-\n  {{ x }}\nlist: [{{ x }}]"
    expected = {"plain": value, "double": value, "single": value, "block": value, "list": [value]}
    assert _read(content("yaml", text, x=value)) == expected
    assert _read(content("yaml", {"a": "{{ x }}", "b": "1"}, x={value: value})) == {"a": {value: value}, "b": "1"}


def test_naughty_strings() -> None:
    values = naughty_strings()
    assert _read(content("yaml", {"a": "{{ x }}"}, x=values)) == {"a": values}


@given(TREES)
def test_every_tree_round_trips(tree: object) -> None:
    assert _read(content("yaml", "{{ x }}", x=tree)) == tree
    assert content("yaml", Data(tree) if not isinstance(tree, str) else {"a": tree})


@pytest.mark.parametrize("text", ["a: &x 1", "a: 1\na: 2", "a: [", "!!python/name:os.system x", "\ud800", "\x00"])
def test_replies_are_parsed_as_strictly(text: str) -> None:
    with pytest.raises(YamlTextError):
        load_yaml(text)


def test_replies_are_never_templates() -> None:
    assert load_yaml("a: '{{ x }} {{'\n'{{ b }}': 1") == {"a": "{{ x }} {{", "{{ b }}": 1}


def test_one_megabyte() -> None:
    value = 'x: "\n' * 200_000
    assert yaml.load(content("yaml", {"a": "{{ x }}"}, x=value), Loader=yaml.CSafeLoader) == {"a": value}

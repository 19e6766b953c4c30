"""Trees of templates are rendered once, and every fault has its path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.template.language import (
    Data,
    TreeFault,
    faults_under,
    fill,
    leaves,
    parse_tree,
    tree_faults,
)
from airflow_whatsapp_flows.flow.template.variables import Variables
from tests.flow.samples import VALUES, language

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_every_text_is_a_template_and_a_lone_placeholder_keeps_its_type() -> None:
    tree = parse_tree({"a": ["{{ step.ask }}", "n {{ step.ask }}", 1, None, True], "b": {"c": "x"}}, language())

    assert fill(tree, VALUES) == {"a": [41, "n 41", 1, None, True], "b": {"c": "x"}}
    assert [template.text for template in leaves(tree)] == ["{{ step.ask }}", "n {{ step.ask }}"]


def test_data_is_never_inspected() -> None:
    tree = parse_tree({"a": Data("{{ step.ask }}"), "b": [Data({"{{ x }}": "{{ y }}"})]}, language())

    assert fill(tree, VALUES) == {"a": "{{ step.ask }}", "b": [{"{{ x }}": "{{ y }}"}]}
    assert list(leaves(tree)) == []


@given(PLAIN)
def test_data_passes_through_unchanged(value: Any) -> None:
    assert fill(parse_tree(Data(value), language()), VALUES) == value


@given(PLAIN)
def test_an_answer_passes_through_a_tree_unchanged(value: Any) -> None:
    tree = parse_tree({"a": ["{{ contact.a }}"]}, language())

    assert fill(tree, Variables(contact={"a": value})) == {"a": [value]}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": "{{ x }}"}]}, ("a", 1, "b")),
        ({"{{ a }}": 1}, ("{{ a }}",)),
        ({"a": {"{% b %}": 1}}, ("a", "{% b %}")),
        ({"a": {1: 2}}, ("a",)),
        (["x", {1, 2}], (1,)),
        ({"a": b"x"}, ("a",)),
    ],
    ids=str,
)
def test_a_fault_has_its_path(value: Any, path: tuple[str | int, ...]) -> None:
    with pytest.raises(TreeFault) as caught:
        parse_tree(value, language())
    assert caught.value.path == path


def test_every_fault_of_a_tree_is_found() -> None:
    value = {"a": "{{ x }}", "b": ["ok", "  {{ y }}", {"{{ k }}": "{{"}], "c": {1}}

    assert [(fault.path, fault.offset) for fault in tree_faults(value, language())] == [
        (("a",), 0),
        (("b", 1), 2),
        (("b", 2, "{{ k }}"), 0),
        (("b", 2, "{{ k }}"), 0),
        (("c",), 0),
    ]


def test_an_error_of_one_contact_has_its_path() -> None:
    tree = parse_tree({"tags": [{"name": "{{ contact.nope }}"}]}, language())

    with pytest.raises(RenderError) as caught:
        fill(tree, VALUES)
    assert caught.value.where == "tags[0].name"


def test_every_fault_of_one_text_of_a_tree_is_found() -> None:
    value = {"a": ["{{ x }} {{ y }}"], "b": "{{ z }}"}

    assert [(fault.path, fault.offset) for fault in tree_faults(value, language())] == [
        (("a", 0), 0),
        (("a", 0), 8),
        (("b",), 0),
    ]
    with pytest.raises(TreeFault) as caught:
        parse_tree(value, language())
    assert [(fault.path, fault.offset) for fault in faults_under(caught.value, "body")] == [
        (("body", "a", 0), 0),
        (("body", "a", 0), 8),
    ]

"""References in the platform's and in Jinja's syntax."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.references import (
    MISSING,
    list_position,
    parse_bare_reference,
    rewrite_references,
    unknown_name,
)
from tests.flow.samples import STEPS, VALUES


def bare(text: str) -> tuple[str, ...] | None:
    reference = parse_bare_reference(text, STEPS)
    return None if reference is None else (reference.scope, *reference.path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("contact.phone", ("contact", "phone")),
        ("contact . phone", ("contact", "phone")),
        ("contact.shoe size", ("contact", "shoe size")),
        ("contact.meta.plan", ("contact", "meta", "plan")),
        ("contact['shoe size']", ("contact", "shoe size")),
        ('contact["a"].b[0]', ("contact", "a", "b", "0")),
        ("global.Weekday", ("global", "Weekday")),
        ("flow_execution_variables.ids.0", ("flow_execution_variables", "ids", "0")),
        ("step.Ask name", ("step", "Ask name")),
        ("step.Ask name again", ("step", "Ask name again")),
        ("step.What's up?", ("step", "What's up?")),
        ("step.v1.2 rate", ("step", "v1.2 rate")),
        ("step.Start GPT thread.response.items.0.id", ("step", "Start GPT thread", "response", "items", "0", "id")),
        ("step.Start GPT thread.response.items[1].id", ("step", "Start GPT thread", "response", "items", "1", "id")),
        ('step["Ask name"]', ("step", "Ask name")),
        ("contact.correo electrónico", ("contact", "correo electrónico")),
        ("contact", None),
        ("x.y", None),
        ("contact.a | upper", None),
        ("contact.a if contact.b", None),
        ("contact.a + 1", None),
        ("contacts.a", None),
        ("contact.", None),
        ("contact.a == 'b'", None),
        ("contact[0:1]", None),
    ],
)
def test_a_lone_reference(text: str, path: tuple[str, ...] | None) -> None:
    assert bare(text) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step.Ask nme", "there is no step named 'Ask nme'; did you mean 'Ask name'?"),
        ("step.ask_name", "there is no step named 'ask_name'; did you mean 'Ask name'?"),
        ("step.askew", "there is no step named 'askew'"),
        ('step["Nope"]', "there is no step named 'Nope'"),
        ("step[0]", "write the name of a step"),
        ("contact.__class__", "belong to Python"),
        ("contact.a.__init__", "belong to Python"),
    ],
)
def test_rejects_an_invalid_reference(text: str, message: str) -> None:
    with pytest.raises(TemplateFault, match=message.replace("?", r"\?")):
        bare(text)


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("step.Ask name | upper", 'step["Ask name"] | upper'),
        ("'step.Nope' ~ step.ask", "'step.Nope' ~ step[\"ask\"]"),
        ("step.What's up? ~ 'x'", "step[\"What's up?\"] ~ 'x'"),
        ("(contact.a)[0]", '(contact["a"])[0]'),
        ("x.contact.a", "x.contact.a"),
        ("contact.a if step.ask else contact.b", 'contact["a"] if step["ask"] else contact["b"]'),
    ],
)
def test_translates_references_to_jinja(text: str, rewritten: str) -> None:
    assert rewrite_references(text, STEPS)[0] == rewritten


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_step_name_reaches_jinja_unchanged(name: str) -> None:
    reference = parse_bare_reference("step[" + repr("x") + "]", {"x"})
    assert reference is not None
    written = type(reference)("step", (name,), "").as_jinja()

    (node,) = jinja2.Environment().parse("{{ " + written + " }}").find_all(jinja2.nodes.Const)
    assert node.value == name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("contact.email", None),
        ("contact.nope", MISSING),
        ("contact.phone.x", MISSING),
        ("contact.plan", "pro"),
        ("step.Start GPT thread.response.items.1.id", 6),
        ("step.Start GPT thread.response.items.2.id", MISSING),
        ("step.Start GPT thread.response.items.x", MISSING),
        ("flow_execution_variables.ids[2]", 3),
        ("flow_execution_variables.ids." + "9" * 5000, MISSING),
        ("flow_execution_variables.ids.٣", MISSING),
        ("contact.email.a", MISSING),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_value_is_found_or_missing_and_null_is_a_value(text: str, value: Any) -> None:
    reference = parse_bare_reference(text, STEPS)

    assert reference is not None
    assert reference.resolve(VALUES) == value


def test_a_reference_knows_its_step() -> None:
    _, references = rewrite_references("step.ask + contact.a", STEPS)

    assert [reference.step for reference in references] == ["ask", None]


def test_positions_are_short_and_ascii() -> None:
    assert [list_position(name) for name in ("0", "007", "9" * 9, "9" * 10, "-1", "٣", "²", "")] == [
        0,
        7,
        999_999_999,
        None,
        None,
        None,
        None,
        None,
    ]


def test_suggestions() -> None:
    assert did_you_mean("uper", ["upper", "lower"]) == "; did you mean 'upper'?"
    assert did_you_mean("xyz", ["b", "a"]) == "; allowed: a, b"
    assert did_you_mean("xyz", [str(n) for n in range(13)]) == did_you_mean("xyz", []) == ""
    assert "connections" in unknown_name("conn")
    assert "connections" not in unknown_name("x")

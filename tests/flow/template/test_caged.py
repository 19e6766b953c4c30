"""Texts of a flow are rendered once, a lone placeholder keeps its type, and missing values are reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.template.caged import MAX_TEMPLATE_BYTES, CagedLanguage
from airflow_whatsapp_flows.flow.template.filters import MAX_TEXT
from airflow_whatsapp_flows.flow.template.language import MAX_FAULTS, TemplateFault
from airflow_whatsapp_flows.flow.template.variables import Variables
from tests.flow.samples import VALUES, evaluate, language, refusal, render

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def of_answer(text: str, answer: Any) -> object:
    template = CagedLanguage().parse(text)
    assert not isinstance(template, str)
    return template.evaluate(Variables(contact={"a": answer}))


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Hi {{ contact.first_name }}!", "Hi Ana!"),
        ("{{step.Start GPT thread.response.id}}", "t-1"),
        ("{{ step.Ask name }}/{{ step.Ask name again }}", "Ana/Ana María"),
        ("{{ step.What's up? }}", "nothing"),
        ("{{ step.What's up? | upper }} {{ step.What's up? | upper }}", "NOTHING NOTHING"),
        ("{{ step.v1.2 rate }}", "7"),
        ('{{ step["Ask name"] }}', "Ana"),
        ("{{ step.Start GPT thread.response.items.0.id }}", "5"),
        ("{{ step.Start GPT thread.response.items[1].id }}", "6"),
        ("{{ contact.plan }}{{ contact.meta.plan }}", "propro"),
        ("{{ contact.shoe size }}", "38"),
        ("a{{ contact.email }}b", "ab"),
        ("{{ global.Weekday }} {{ global.Time }}", "Sunday 16:04"),
        ("{{ flow_execution_variables.ids }}", "[1,2,3]"),
        ("{{ true }}{{ false }}{{ none }}", "truefalse"),
        ("{{- contact.plan -}}", "pro"),
        ("{ {contact.plan} }", "{ {contact.plan} }"),
        ("{# not a comment #}{{ contact.plan }}", "{# not a comment #}pro"),
        ("100 % }} {{ contact.plan }}", "100 % }} pro"),
        ("", ""),
    ],
)
def test_platform_texts_work_unedited(text: str, rendered: str) -> None:
    assert render(text) == rendered


@pytest.mark.parametrize(
    "value",
    [41, 1.5, True, None, "x", [1], {"a": [None]}, "+5215512345678", "007", "1e5", "None", "1_000", "1,2", "true"],
)
def test_a_lone_placeholder_keeps_the_type_of_its_value(value: Any) -> None:
    for text in ("{{ contact.a }}", "{{contact.a}}", "{{ (contact.a) }}"):
        found = of_answer(text, value)
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [(41, "n 41"), (None, "n "), (True, "n true"), (1.50, "n 1.5"), ([1, "é"], 'n [1,"é"]'), ({}, "n {}")],
)
def test_among_other_text_a_value_becomes_text(value: Any, text: str) -> None:
    assert of_answer("n {{ contact.a }}", value) == of_answer("n {{ (contact.a) }}", value) == text


@given(st.text())
def test_answers_are_never_templates(answer: str) -> None:
    for text in ("{{ contact.a }}", "{{ (contact.a) }}", "{{ contact.a ~ '' }}"):
        assert of_answer(text, answer) == answer
    assert of_answer("<{{ contact.a }}>", answer) == f"<{answer}>"


def test_naughty_strings_are_rendered_as_they_are(naughty_strings: list[str]) -> None:
    for text in [*naughty_strings, "{{ 7*7 }}", "{{ conn.crm.password }}", "{% x %}", "{{ contact.a }}"]:
        assert of_answer("<{{ contact.a }}|{{ (contact.a) }}>", text) == f"<{text}|{text}>"


@given(PLAIN)
def test_rendering_changes_no_value(value: Any) -> None:
    copy = repr(value)

    assert of_answer("{{ contact.a }}", value) == value
    assert repr(value) == copy


@pytest.mark.parametrize(
    "text",
    [
        "{{ contact.nope }}",
        "{{ contact.nope.a }}",
        "{{ (contact.nope) }}",
        "{{ contact.phone.a }}",
        "{{ step.ask.a }}",
        "{{ contact.email.a }}",
    ],
)
def test_a_missing_value_is_an_error_null_or_empty(text: str) -> None:
    with pytest.raises(MissingValueError, match=r"has no value for this contact"):
        render(text)
    assert evaluate(text, "null") is None
    assert evaluate(text, "empty") == ""
    assert render(f"<{text}>", "null") == render(f"<{text}>", "empty") == "<>"


def test_null_is_not_missing() -> None:
    assert evaluate("{{ contact.email }}") is None
    assert evaluate("{{ contact.email }}", "empty") is None


def test_the_name_of_a_missing_value_is_reported() -> None:
    with pytest.raises(MissingValueError, match=r"^contact\.nope has no value"):
        render("Hi {{ contact.nope }}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ }}", "is empty"),
        ("{{", "never closed"),
        ("{{ x.y }}", "'x' is not a variable of a flow"),
        ("{{ contact..a }}", "is not an expression"),
        ("{{ contact.a }} {{ step.Nope }}", "there is no step named 'Nope'"),
        ("{{ contact.a | uper }}", "did you mean 'upper'"),
        ("{{ contact.a is nonne }}", "did you mean 'none'"),
        ("{{ var.value.x }}", "never sees Airflow's connections"),
    ],
)
def test_a_fault_explains_what_is_allowed(text: str, message: str) -> None:
    assert message in refusal(text)


def test_a_fault_has_the_offset_of_its_placeholder() -> None:
    with pytest.raises(TemplateFault) as caught:
        language().parse("Hi {{ contact.a }} and {{ x }}")
    assert caught.value.offset == 23
    with pytest.raises(TemplateFault) as caught:
        language().parse("Hi {% x %}")
    assert caught.value.offset == 3


def test_limits_the_size_of_a_template() -> None:
    assert language().parse("é" * (MAX_TEMPLATE_BYTES // 2))
    assert refusal("é" * (MAX_TEMPLATE_BYTES // 2) + "a") == "the text has 64,001 bytes; at most 64,000 are allowed"
    assert "at most 64,000" in refusal("{{ contact.a }}" * 4400)


def test_limits_the_length_of_an_output() -> None:
    assert len(str(of_answer("{{ contact.a }}x", "a" * (MAX_TEXT - 1)))) == MAX_TEXT
    with pytest.raises(RenderError, match="more than 1,048,576 characters"):
        of_answer("{{ contact.a }}x", "a" * MAX_TEXT)


def test_without_a_known_flow_names_of_steps_need_quotes() -> None:
    template = CagedLanguage().parse('{{ step["Ask name"] | upper }} {{ step.ask }}')

    assert not isinstance(template, str)
    assert template.render(VALUES) == "ANA 41"


def test_references_are_known_in_order() -> None:
    template = language().parse("{{ contact.a }} {{ step.ask + step.v1.2 rate }} {{ 'step.ask' }}")

    assert not isinstance(template, str)
    assert [(reference.text, reference.step) for reference in template.references] == [
        ("contact.a", None),
        ("step.ask", "ask"),
        ("step.v1.2 rate", "v1.2 rate"),
    ]


def test_reports_every_faulty_placeholder_with_its_offset() -> None:
    with pytest.raises(TemplateFault) as caught:
        language().parse("{{ conn.a }} and {{ contact.a }}{{ nope.b }} {% x %} {{")

    assert [(fault.offset, fault.message[:12]) for fault in (caught.value, *caught.value.more)] == [
        (0, "'conn' is no"),
        (32, "'nope' is no"),
        (45, "flow templat"),
        (53, "'{{' is neve"),
    ]


def test_the_faults_of_one_text_are_limited() -> None:
    with pytest.raises(TemplateFault) as caught:
        language().parse("{{ a }}" * 1000)

    assert len(caught.value.more) + 1 == MAX_FAULTS


@given(st.dictionaries(st.sampled_from(["a", "b"]), PLAIN))
def test_texts_are_joined_as_all_other_values(contact: dict[str, Any]) -> None:
    template = CagedLanguage(missing="empty").parse("1 {{ contact.a }}{{ contact.b }} 2")
    assert not isinstance(template, str)

    assert template.render({"contact": contact}) == replace(template, lookups=None).render({"contact": contact})

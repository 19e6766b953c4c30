"""The trigger form of a flow's DAG."""

from __future__ import annotations

from typing import Any

from airflow_whatsapp_flows import load_flow
from airflow_whatsapp_flows.dag_factory.params import build_params
from tests.operators.flows import flow, message, step


def schema(made: dict[str, Any]) -> dict[str, Any]:
    params = build_params(load_flow(made))
    return {name: {**param.schema, "description": param.description} for name, param in params.items()}


def test_every_field_is_optional_and_accepts_any_value() -> None:
    made = flow(
        step("template", "Offer", options={"Yes": "Bye", "No": None}, whatsapp_template="offer", next=None),
        message("Bye", body="{{ contact.first_name }} {{ contact.meta.plan }}"),
        variables={"campaign": {"description": "of the year"}},
    )
    params = build_params(load_flow(made))
    assert all(param.value is None for param in params.values())
    assert all("type" not in param.schema and "enum" not in param.schema for param in params.values())
    assert list(params) == [
        "id", "contact.phone", "contact.first_name", "contact.plan", "step.Offer", "flow_execution_variables.campaign",
    ]  # fmt: skip


def test_shows_the_available_choices() -> None:
    rows = {"list": "flow_execution_variables.cities", "value": "code", "title": "name"}
    made = flow(
        step("menu", "Menu", options={"Sales": "City", "Help": "City"}),
        step("question", "City", options_from_variable=rows, next="Offer"),
        step("template", "Offer", options={"Yes": "Bye", "No": None}, whatsapp_template="offer"),
        message("Bye"),
    )
    found = schema(made)
    assert found["step.Menu"]["examples"] == ["Sales", "Help"]
    assert found["step.Offer"]["examples"] == ["Yes", "No"]
    assert (
        "one of the options in flow_execution_variables.cities, by its code or name"
        in found["step.City"]["description"]
    )


def test_a_field_shows_its_question_and_the_expected_answer() -> None:
    made = flow(
        step("question", "Name", answer_type="FREE_TEXT", body="Hi {{ contact.id }},\n what is your name?", next="Age"),
        step(
            "question", "Age", answer_type="NUMBER", answer_allow_decimals=False, answer_range={"min": 18, "max": 99},
            body="How old are you?", next="Mail",
        ),
        step("question", "Mail", answer_type="EMAIL", next="Menu"),
        step("menu", "Menu", options={"Sales": None}, body="What do you want?"),
    )  # fmt: skip
    found = schema(made)
    assert found["step.Name"]["description"] == "Hi {{ contact.id }}, what is your name?"
    assert found["step.Age"]["description"] == "How old are you? (a whole number, at least 18, at most 99)"
    assert found["step.Mail"]["description"] == "an e-mail address"
    assert found["step.Menu"]["description"] == "What do you want? (one of the options of the menu)"


def test_a_variable_has_its_declared_default_and_type() -> None:
    variables = {
        "campaign": {"default": "spring"},
        "discount": {"type": "number", "default": 5},
        "vip": {"type": "bool", "default": False},
        "cities": {"type": "list", "default": [{"code": 1}, "MX"]},
        "shop": {"type": "object"},
        "region": {"required": True, "description": "of the shop"},
    }
    params = build_params(load_flow(flow(message("Hi"), variables=variables)))
    found = {name.rpartition(".")[2]: params[name] for name in params if name.startswith("flow_execution_variables.")}
    assert {name: param.value for name, param in found.items()} == {
        "campaign": "spring", "discount": 5, "vip": False, "cities": [{"code": 1}, "MX"], "shop": None, "region": None,
    }  # fmt: skip
    assert {name: param.schema.get("type") for name, param in found.items()} == {
        "campaign": None, "discount": ["number", "null"], "vip": ["boolean", "null"], "cities": ["array", "null"],
        "shop": ["object", "null"], "region": None,
    }  # fmt: skip
    assert found["region"].description == "of the shop (required)"
    for param in found.values():
        param.resolve()


def test_a_template_message_that_nobody_answers_has_no_field() -> None:
    made = flow(step("template", "Hello", whatsapp_template="hello", next="Bye"), message("Bye"))
    assert "step.Hello" not in schema(made)


def test_a_file_may_be_given_as_an_object() -> None:
    made = flow({**step("question", "Photo"), "answer_type": "IMAGE"})
    assert schema(made)["step.Photo"]["type"] == ["object", "string", "null"]

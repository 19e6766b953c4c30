"""The form that triggers a flow's DAG."""

from __future__ import annotations

from typing import Any

from airflow_whatsapp_flows import load_flow
from airflow_whatsapp_flows.dag_factory.params import build_params
from tests.operators.flows import flow, message, step


def schema(made: dict[str, Any]) -> dict[str, Any]:
    params = build_params(load_flow(made))
    return {name: {**param.schema, "description": param.description} for name, param in params.items()}


def test_every_field_may_be_left_blank_and_takes_anything() -> None:
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


def test_what_can_be_chosen_is_shown() -> None:
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
    assert "one of those in flow_execution_variables.cities, by its code or name" in found["step.City"]["description"]


def test_a_template_message_that_nobody_answers_has_no_field() -> None:
    made = flow(step("template", "Hello", whatsapp_template="hello", next="Bye"), message("Bye"))
    assert "step.Hello" not in schema(made)


def test_a_file_may_be_given_as_an_object() -> None:
    made = flow({**step("question", "Photo"), "answer_type": "IMAGE"})
    assert schema(made)["step.Photo"]["type"] == ["object", "string", "null"]

"""Values of the trigger form, as opposed to repeated defaults."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.flow.format.flow import VariableFormat
from airflow_whatsapp_flows.operators.run_input import response_of


@pytest.mark.parametrize(
    ("kind", "default", "given"),
    [
        ("bool", False, 0),
        ("list", [True], [1]),
        ("list", [{"code": 1}], [{"code": True}]),
        ("object", {"vip": False}, {"vip": 0}),
        ("object", {"vip": False}, {"vip": False, "more": None}),
        ("list", [1, 2], [2, 1]),
    ],
)
def test_a_value_with_another_type_than_the_default_is_a_value(kind: Any, default: Any, given: Any) -> None:
    read = response_of({"params": {"flow_execution_variables.v": given}}, variables={"v": variable(kind, default)})

    assert repr(read.flow_execution_variables) == repr({"v": given})


@pytest.mark.parametrize(
    ("kind", "default", "given"), [("number", 1.0, 1), ("object", {"a": [1.0], "b": 2}, {"b": 2, "a": [1]})]
)
def test_a_browser_formatted_default_is_not_a_value(kind: Any, default: Any, given: Any) -> None:
    read = response_of({"params": {"flow_execution_variables.v": given}}, variables={"v": variable(kind, default)})

    assert read.flow_execution_variables == {}


def variable(kind: Any, default: Any) -> VariableFormat:
    return VariableFormat(type=kind, default=default)

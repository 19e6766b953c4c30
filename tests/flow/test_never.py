"""Conditions that no contact can meet are faults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.loading.load import load_flow


def faults(**step: Any) -> list[str]:
    text = json.dumps({"flow_format": 1, "id": "never", "steps": [{"name": "s", **step}]}, indent=1)
    try:
        load_flow(text)
    except FlowFileError as error:
        return [f"{fault.where()}: {fault.message}" for fault in error.faults]
    return []


def condition(comparison: str, value: object) -> list[str]:
    written = {"field": "global.Time", "comparison": comparison, "value": value}
    return faults(type="conditional", paths=[{"conditions": [written], "next": None}])


def action(success_when: str) -> list[str]:
    return faults(type="action", url="https://crm.example/", success_when=success_when)


@pytest.mark.parametrize("value", [5, "5", "2.5", "2026-11-22", "2026-11-22T16:04", "00:00", "9:30", "{{ contact.a }}"])
def test_an_order_of_numbers_dates_and_times_is_allowed(value: object) -> None:
    assert condition("gte", value) == []


@pytest.mark.parametrize("value", ["noon", "", None, True, "24:00", "22/11/2026"])
@pytest.mark.parametrize("comparison", ["gt", "gte", "lt", "lte"])
def test_an_order_of_anything_else_is_a_fault(comparison: str, value: object) -> None:
    (fault,) = condition(comparison, value)
    assert fault.split(": ", 1)[0] == "14:17"
    assert "compare numbers, dates, and times of day" in fault


@pytest.mark.parametrize(
    "success_when",
    [
        "status_code == 404 or response.id is defined",
        "status_code == 404",
        "response.ok and status_code >= 400",
        "status_code in [404, 409]",
        "500 < status_code",
        "100 < status_code < 200",
        "status_code == '200'",
    ],
)
def test_success_when_that_needs_an_impossible_status_is_a_fault(success_when: str) -> None:
    (fault,) = action(success_when)
    assert fault.startswith("9:")
    assert "evaluated only for replies with status 200 to 299" in fault


@pytest.mark.parametrize(
    "success_when",
    [
        "status_code == 201",
        "status_code in [200, 404]",
        "status_code != 204 and response.id",
        "not status_code == 404",
        "200 <= status_code < 300",
        "response.status_code == 404",
        "status_code == response.expected",
    ],
)
def test_success_when_may_need_a_possible_status(success_when: str) -> None:
    assert action(success_when) == []


def test_a_date_format_that_always_fails_is_a_fault() -> None:
    (fault,) = faults(type="message", body="On {{ contact.day | date('%s') }}")
    assert fault.startswith("8:16: date needs a format")


def test_a_misspelled_keyword_is_reported_once_with_a_suggestion() -> None:
    (fault,) = faults(type="delay", amount=1, unit="SECONDS")
    assert "'SECONDS' is not allowed; did you mean 'SECOND'? Allowed: 'SECOND', 'MINUTE', 'HOUR' or 'DAY'" in fault

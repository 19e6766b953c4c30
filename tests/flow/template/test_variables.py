"""The four read-only scopes of one contact's values."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from airflow_whatsapp_flows.flow.template.variables import SCOPES, Scope, Variables, global_variables


def test_there_are_exactly_four_scopes() -> None:
    values = Variables()

    assert set(values) == SCOPES == {"contact", "step", "global", "flow_execution_variables"}
    assert len(values) == len(Scope) == 4
    assert all(dict(values[scope]) == {} for scope in values)


def test_a_scope_reads_like_a_mapping() -> None:
    values = Variables(contact={"phone": "1"})

    assert values.get("contact") == values["contact"] == {"phone": "1"}
    assert (values.get("conn"), values.get("conn", 1)) == (None, 1)
    with pytest.raises(KeyError):
        values["conn"]


def test_reads_custom_fields_without_meta_after_built_in_ones() -> None:
    contact = Variables(contact={"phone": "+52", "meta": {"plan": "pro", "phone": "not this"}})["contact"]

    assert (contact["plan"], contact["phone"]) == ("pro", "+52")
    assert contact["meta"] == {"plan": "pro", "phone": "not this"}


@pytest.mark.parametrize("meta", [None, "", "text", [1]], ids=repr)
def test_ignores_meta_that_is_not_an_object(meta: object) -> None:
    assert dict(Variables(contact={"phone": "1", "meta": meta})["contact"]) == {"phone": "1", "meta": meta}  # type: ignore[dict-item]


def test_values_cannot_be_changed() -> None:
    answers = {"Ask": 1}
    values = Variables(step=answers)
    answers["Ask"] = 2

    assert values["step"]["Ask"] == 1
    with pytest.raises(TypeError):
        values["step"]["Ask"] = 3  # type: ignore[index]


def test_adding_a_step_copies_the_variables() -> None:
    before = Variables(contact={"phone": "1"}, step={"a": 1})
    after = before.with_step("b", 2).with_step("a", 3)

    assert dict(before["step"]) == {"a": 1}
    assert dict(after["step"]) == {"a": 3, "b": 2}
    assert after["contact"] == before["contact"]


def test_global_time_keeps_its_zone() -> None:
    now = dt.datetime(2026, 11, 23, 5, 4, 3, 999, tzinfo=dt.timezone.utc).astimezone(ZoneInfo("America/Mexico_City"))

    assert global_variables(now) == {
        "Weekday": "Sunday",
        "Date": "2026-11-22",
        "Time": "23:04",
        "Datetime": "2026-11-22T23:04:03-06:00",
    }

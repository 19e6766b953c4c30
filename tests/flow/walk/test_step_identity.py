"""The step that an attempt belongs to, whatever its name was when it was sent."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities


def a_flow(*steps: dict[str, Any]) -> Flow:
    made = [{"type": "action", "url": "https://crm.example/x", **step} for step in steps]
    for step, following in pairwise(made):
        step["on_success"] = following["name"]
    return load_flow(json.dumps({"flow_format": 1, "id": "lead", "steps": made}))


def identities(*steps: dict[str, Any], **renames: str | None) -> StepIdentities:
    return StepIdentities.of(a_flow(*steps), renames)


def test_identifies_a_step_by_platform_id_id_or_name() -> None:
    flow = a_flow({"name": "A"}, {"name": "B", "id": "b"}, {"name": "C", "id": "c", "platform_id": "7"})
    assert [step.identity for step in flow.steps.values()] == ["A", "b", "platform_id:7"]


@pytest.mark.parametrize(
    ("step", "renames", "recorded", "owner"),
    [
        pytest.param({"name": "A"}, {}, ("A", None), "A", id="the name"),
        pytest.param({"name": "B", "id": "A"}, {}, ("A", None), "B", id="the id is the old name"),
        pytest.param({"name": "B", "id": "x"}, {}, ("A", "x"), "B", id="the id"),
        pytest.param({"name": "A", "platform_id": "7"}, {}, ("A", None), "A", id="a platform id came"),
        pytest.param({"name": "A"}, {}, ("A", "platform_id:7"), "A", id="a platform id went"),
        pytest.param({"name": "B", "platform_id": "7"}, {}, ("A", "platform_id:7"), "B", id="the platform id"),
        pytest.param({"name": "B", "id": "A", "platform_id": "7"}, {}, ("A", None), "B", id="the id beside it"),
        pytest.param({"name": "B"}, {"A": "B"}, ("A", None), "B", id="renamed"),
        pytest.param({"name": "C"}, {"A": "B", "B": "C"}, ("A", None), "C", id="renamed twice"),
        pytest.param({"name": "A"}, {"A": "B", "B": "A"}, ("B", None), "A", id="renamed back"),
        pytest.param({"name": "B"}, {}, ("A", None), None, id="gone"),
        pytest.param({"name": "B"}, {"A": None}, ("A", None), None, id="removed"),
        pytest.param({"name": "D"}, {"A": "B", "B": "A"}, ("A", None), None, id="a circle"),
    ],
)
def test_an_attempt_belongs_to_the_step_that_sent_it(
    step: dict[str, Any], renames: dict[str, str | None], recorded: tuple[str, str | None], owner: str | None
) -> None:
    steps = identities(step, **renames)
    assert steps.owner(*recorded) == owner
    assert steps.is_lost(*recorded) is (owner is None and renames != {"A": None})
    if owner is not None:
        assert {recorded[0], recorded[1]} & set(steps.names_and_ids(owner))
        assert steps.first_known([recorded, ("other", None)])[owner] == (recorded[1] or recorded[0])


def test_detects_a_new_step_with_an_old_name() -> None:
    steps = identities({"name": "Primary"}, {"name": "First"}, First="Primary")
    assert steps.name_conflicts == [("First", "Primary")]
    assert identities({"name": "Primary"}, {"name": "First", "id": "x"}, First="Primary").name_conflicts == []


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        pytest.param(
            [{"name": "A", "id": "x"}, {"name": "B", "id": "x"}], "the id 'x' is already used on line 1", id="one id"
        ),
        pytest.param(
            [{"name": "A", "platform_id": "x"}, {"name": "B", "platform_id": "x"}],
            "the platform_id 'x' is already used on line 1",
            id="one platform id",
        ),
        pytest.param(
            [{"name": "A"}, {"name": "B", "id": "A"}], "'A' has no id, so its name identifies it", id="a name"
        ),
    ],
)
def test_no_two_steps_have_the_same_identity(steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(FlowFileError, match=message):
        a_flow(*steps)


def test_steps_with_ids_may_exchange_names() -> None:
    steps = identities({"name": "B", "id": "A"}, {"name": "A", "id": "B"})
    assert (steps.owner("A", None), steps.owner("B", None)) == ("B", "A")

"""The type of a step: by its filled fields, with ``step_type`` as a hint."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.hilos import read_step_records
from tests.hilos.samples import notes, only, read, request, step, steps_of, uuid

_CONDITION = {"id": 1, "field": "contact.x", "comparison": "exact", "value": "1"}
_MENU = {"answer_options": ["a"], "next_steps_for_options": [uuid(1)]}
_FIELDS: dict[str, dict[str, Any]] = {
    "action": request("GET", "https://a.example/"),
    "conditional": {"conditions": [_CONDITION]},
    "trigger_flow": {"next_flow": uuid(5)},
    "template": {"whatsapp_template": uuid(6)},
    "assignation": {"assign_to_users": [1]},
    "tag": {"conversation_tags": ["x"]},
    "contact_update": {"contact_email": "a@b.example"},
    "menu": _MENU,
    "question": {"body": "?", "answer_type": "EMAIL"},
    "delay": {"delay_type": "AMOUNT"},
    "message": {"body": "Hi"},
    "go_to": {"next_step_default": uuid(1)},
    "end": {"body": " "},
}


@pytest.mark.parametrize("kind", _FIELDS)
@pytest.mark.parametrize("step_type", ["", "9f3c", None, 7])
def test_the_filled_fields_decide_without_a_known_step_type(kind: str, step_type: object) -> None:
    imported = read(step(1, "A", **{"step_type": step_type, **_FIELDS[kind]}))

    assert steps_of(imported)[0]["type"] == kind
    assert notes(imported, "inferred", "A")[0].field == "step_type"


@pytest.mark.parametrize(
    ("step_type", "fields", "kind"),
    [
        ("MESSAGE", {"body": "Hi", "answer_type": "ANY"}, "message"),
        ("question", {"body": "Hi"}, "question"),
        ("Question", {"body": "?", **_MENU}, "question"),
        ("go-to", {"next_step_default": uuid(1), "max_wait_time_amount": 24}, "go_to"),
        ("Delay", {"has_max_wait_time": True, "max_wait_time_amount": 3}, "delay"),
        ("Send Template", {"body": "Hi"}, "template"),
        ("TAG", {}, "tag"),
    ],
)
def test_a_hint_decides_where_several_types_fit(step_type: str, fields: dict[str, Any], kind: str) -> None:
    imported = read(step(1, "A", step_type, **fields))

    assert steps_of(imported)[0]["type"] == kind
    assert [note for note in notes(imported, "inferred", "A") if note.field == "step_type"] == []


def test_fields_win_over_a_hint_that_they_contradict() -> None:
    imported = read(step(1, "A", "MESSAGE", **request("GET", "https://a.example/")))

    assert steps_of(imported)[0]["type"] == "action"
    assert "means message, but the step has the fields of action" in notes(imported, "inferred", "A")[0].message


def test_the_map_of_hints_is_the_callers() -> None:
    one = step(1, "A", "Pregunta", body="¿Qué?")

    assert only(one)["type"] == "message"
    imported = read_step_records([one], flow_id="a_flow", step_types={"PREGUNTA": "question"})
    assert steps_of(imported)[0]["type"] == "question"


def test_a_jump_without_a_target_is_an_end() -> None:
    imported = read(step(1, "Jump", "GO_TO", next_step_default=uuid(9)))

    assert steps_of(imported)[0]["type"] == "end"
    assert imported.loads

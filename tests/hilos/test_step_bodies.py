"""Conditions, delays, contact updates, assignations, and other steps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hilos.samples import full_text, notes, only, read, step, steps_of, uuid

_SAY = step(2, "Say", "MESSAGE", body="x")
_OTHER = step(3, "Other", "MESSAGE", body="x")


def _condition(field: str = "contact.x", comparison: str = "exact", value: object = "1") -> dict[str, Any]:
    return {"id": 1, "field": field, "comparison": comparison, "value": value}


def test_imports_the_older_conditional() -> None:
    exits = {"next_step_default": uuid(2), "next_step_alternate": uuid(3)}

    found = only(
        step(1, "If", "CONDITIONAL", conditions=[_condition(), _condition("contact.y")], **exits), _SAY, _OTHER
    )

    assert [len(path["conditions"]) for path in found["paths"]] == [2]
    assert (found["paths"][0]["next"], found["otherwise"]) == ("Say", "Other")


def test_imports_the_newer_conditional_by_position() -> None:
    paths = [{"conditions": [_condition("contact.a")]}, {"conditions": [_condition("contact.b")]}]
    targets = {"next_steps_for_options": [uuid(2), uuid(3)], "next_step_default": uuid(4)}

    found = only(
        step(1, "If", "CONDITIONAL", paths=paths, **targets), _SAY, _OTHER, step(4, "Else", "MESSAGE", body="x")
    )

    assert [(path["conditions"][0]["field"], path["next"]) for path in found["paths"]] == [
        ("contact.a", "Say"),
        ("contact.b", "Other"),
    ]
    assert found["otherwise"] == "Else"


@pytest.mark.parametrize("field", ["contact.x", "{{ contact.x }}", "%contact.x%", "  contact.x "])
def test_condition_fields_have_no_braces(field: str) -> None:
    found = only(step(1, "If", conditions=[_condition(field)], next_step_default=uuid(2)), _SAY)

    assert found["paths"][0]["conditions"][0]["field"] == "contact.x"


@pytest.mark.parametrize(
    ("comparison", "value", "read_as"),
    [
        ("isnull", "true", "isnull"),
        ("isnull", "", "isnull"),
        ("isnull", "False", "!isnull"),
        ("!isnull", "", "!isnull"),
        ("!isnull", "false", "isnull"),
        ("isnull", False, "!isnull"),
    ],
)
def test_null_tests_become_is_null_or_is_not_null(comparison: str, value: object, read_as: str) -> None:
    found = only(
        step(1, "If", conditions=[_condition("contact.x", comparison, value)], next_step_default=uuid(2)), _SAY
    )

    assert found["paths"][0]["conditions"] == [{"field": "contact.x", "comparison": read_as}]


@pytest.mark.parametrize("broken", [{"comparison": "almost"}, {"comparison": None}, {"field": None}, {"field": 3}])
def test_an_unreadable_condition_is_a_fault(broken: dict[str, Any]) -> None:
    """Without the condition, the path would be taken too often."""
    imported = read(
        step(1, "If", conditions=[_condition(), {**_condition(), **broken}], next_step_default=uuid(2)), _SAY
    )

    assert not imported.loads
    assert len(steps_of(imported)[0]["paths"][0]["conditions"]) == 2


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"max_wait_time_amount": 10, "max_wait_time_unit": "SECOND"}, {"amount": 10, "unit": "SECOND"}),
        ({"max_wait_time_amount": 0, "delay_until": "2026-12-01T08:00:00Z"}, {"until": "2026-12-01T08:00:00Z"}),
        ({"delay_type": "UNTIL", "delay_until": "2026-12-01T08:00:00Z"}, {"until": "2026-12-01T08:00:00Z"}),
        (
            {
                "set_time_window": True,
                "time_window_type": "CUSTOM",
                "time_windows": [
                    {"weekday": 0, "is_available": True, "start_at": "09:00:00", "end_at": "18:30:15"},
                    {"weekday": 5, "is_available": False, "start_at": "09:00:00", "end_at": "18:00:00"},
                    {"weekday": 6, "is_available": True, "start_at": None, "end_at": None},
                ],
            },
            {
                "amount": 24,
                "unit": "HOUR",
                "time_windows": [{"weekday": 0, "start_at": "09:00", "end_at": "18:30:15"}, {"weekday": 6}],
            },
        ),
    ],
)
def test_imports_delay_lengths_times_and_hours(fields: dict[str, Any], keys: dict[str, Any]) -> None:
    imported = read(step(1, "Wait", "DELAY", **{"delay_type": "AMOUNT", **fields}))

    assert imported.loads
    assert steps_of(imported)[0] == {"name": "Wait", "type": "delay", **keys, "platform_id": uuid(1)}
    assert notes(imported, "lost", "Wait") == []


def test_working_hours_are_not_in_the_records() -> None:
    imported = read(step(1, "Wait", "DELAY", set_time_window=True, time_window_type="IN_WORKING_HOURS"))

    assert [note.field for note in notes(imported, "lost", "Wait")] == ["time_window_type"]
    assert imported.loads


@pytest.mark.parametrize(
    ("first", "custom"),
    [("contact_first_name", "contact_last_name"), ("firstname", "lastname")],
    ids=["hilos", "activecampaign"],
)
def test_a_contact_update_is_read_in_both_dialects(first: str, custom: str) -> None:
    properties = [{"key": " plan ", "value": "{{ contact.x }}"}, {"key": "", "value": "?"}]

    imported = read(step(1, "Up", **{first: "{{contact.a}}", custom: "B", "contact_custom_properties": properties}))

    assert steps_of(imported)[0] == {
        "name": "Up",
        "type": "contact_update",
        "first_name": "{{contact.a}}",
        "last_name": "B",
        "meta": {"plan": "{{ contact.x }}"},
        "platform_id": uuid(1),
    }
    assert [note.field for note in notes(imported, "lost")] == ["contact_custom_properties[1]"]


def test_an_assignation_and_another_flow_are_kept() -> None:
    assigned = step(1, "Hand", "ASSIGN", assign_to_users=[4], assign_to_teams=[2], next_step_default=uuid(2))

    imported = read(assigned, step(2, "Go", "TRIGGER_FLOW", next_flow="other"))

    first, second = steps_of(imported)
    assert (first["assign_to_users"], first["assign_to_teams"], first["next"]) == ([4], [2], "Go")
    assert second == {"name": "Go", "type": "trigger_flow", "next_flow": "other", "platform_id": uuid(2)}


def test_omits_the_signature_of_an_uploaded_file() -> None:
    file = {"id": uuid(7), "url": "https://files.example/a.png?X-Amz-Signature=0123456789abcdef", "uploaded_file": "a"}

    imported = read(step(1, "Show", "MESSAGE", body="x", body_type="image", body_file=file, body_file_type="UPLOAD"))

    assert steps_of(imported)[0]["file_url"] == "https://files.example/a.png"
    assert "0123456789abcdef" not in full_text(imported)
    assert [note.field for note in notes(imported, "secret")] == ["body_file"]

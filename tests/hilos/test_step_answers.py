"""Questions, menus and templates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hilos.samples import notes, only, read, step, steps_of, uuid

_SAY = step(2, "Say", "MESSAGE", body="x")
_OTHER = step(3, "Other", "MESSAGE", body="x")


def _question(**fields: Any) -> dict[str, Any]:
    return step(1, "Ask", "QUESTION", body="?", **fields)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        pytest.param({"answer_type": "ANY"}, {}, id="any answer is the default"),
        pytest.param({"answer_type": "email"}, {"answer_type": "EMAIL"}, id="type"),
        pytest.param(
            {"answer_type": "SINGLE_OPTION", "answer_options": ["a", "b", "a", " "]},
            {"answer_type": "SINGLE_OPTION", "answer_options": ["a", "b"]},
            id="options",
        ),
        pytest.param(
            {"answer_type": "NUMBER", "answer_has_range": True, "answer_range_min": "1.5", "answer_range_max": 9},
            {"answer_type": "NUMBER", "answer_range": {"min": 1.5, "max": 9}},
            id="range of numbers",
        ),
        pytest.param(
            {"answer_type": "DATE", "answer_has_range": True, "answer_range_min": "2026-01-01"},
            {"answer_type": "DATE", "answer_range": {"min": "2026-01-01"}},
            id="range of dates",
        ),
        pytest.param(
            {"answer_type": "NUMBER", "answer_range_min": "1", "answer_allow_decimals": False},
            {"answer_type": "NUMBER", "answer_allow_decimals": False},
            id="a range that is switched off",
        ),
        pytest.param(
            {"answer_type": "PHONE", "answer_phone_default_country": "mx"},
            {"answer_type": "PHONE", "answer_phone_default_country": "MX"},
            id="country",
        ),
        pytest.param(
            {"answer_type": "EMAIL", "answer_phone_default_country": "MX"}, {"answer_type": "EMAIL"}, id="no phone"
        ),
        pytest.param(
            {
                "answer_type": "SINGLE_OPTION",
                "has_options_from_variable": True,
                "options_from_variable": "{{ contact.pets }}",
                "option_from_variable_value": "id",
                "option_from_variable_title": "name",
            },
            {
                "answer_type": "SINGLE_OPTION",
                "options_from_variable": {"list": "contact.pets", "value": "id", "title": "name"},
            },
            id="options from a variable",
        ),
        pytest.param(
            {"has_max_wait_time": True, "max_wait_time_amount": 30, "max_wait_time_unit": "minute"},
            {"wait": {"amount": 30, "unit": "MINUTE"}},
            id="wait",
        ),
        pytest.param(
            {"has_max_answer_attempts": True, "max_answer_attempts": 2}, {"max_answer_attempts": 2}, id="attempts"
        ),
        pytest.param(
            {"body_type": "image", "body_file_type": "URL", "body_file_url": "https://a.example/{{contact.x}}.png"},
            {"message_type": "IMAGE", "file_url": "https://a.example/{{contact.x}}.png"},
            id="media",
        ),
    ],
)
def test_a_question_keeps_its_answer_rules(fields: dict[str, Any], keys: dict[str, Any]) -> None:
    imported = read(_question(**fields))

    assert imported.loads
    assert steps_of(imported)[0] == {
        "name": "Ask", "type": "question", "body": "?", **keys, "platform_id": uuid(1),
    }  # fmt: skip
    assert notes(imported, "lost") == []


def test_a_question_has_three_exits() -> None:
    exits = {"next_step_default": uuid(2), "next_step_alternate": uuid(3), "answer_failed_next_step": uuid(3)}

    asked = only(_question(**exits), _SAY, _OTHER)

    assert (asked["next"], asked["on_no_answer"], asked["on_answer_failed"]) == ("Say", "Other", "Other")


def test_options_without_an_exit_use_the_default_exit() -> None:
    menu = step(
        1, "Menu", "MENU", answer_options=["a", "b"], next_steps_for_options=[uuid(2)], next_step_default=uuid(3)
    )

    imported = read(menu, _SAY, _OTHER)

    assert steps_of(imported)[0]["options"] == {"a": "Say", "b": "Other"}
    assert "next_steps_for_options[1]" in [note.field for note in notes(imported, "inferred", "Menu")]


def test_reports_missing_and_duplicate_exit_labels() -> None:
    exits = [uuid(2), uuid(3), uuid(3)]
    imported = read(step(1, "Menu", "MENU", answer_options=["a", "a"], next_steps_for_options=exits), _SAY, _OTHER)

    assert steps_of(imported)[0]["options"] == {"a": "Say", "Option 3": "Other"}
    assert [note.field for note in notes(imported, "lost", "Menu")] == ["answer_options[1]"]


def test_a_template_has_its_buttons_and_its_variables() -> None:
    template = step(
        1,
        "Hello",
        "TEMPLATE",
        whatsapp_template="offer_1",
        whatsapp_template_variables={"1": "{{contact.first_name}}"},
        answer_options=["Yes", "No"],
        next_steps_for_options=[uuid(2), uuid(3)],
    )

    assert only(template, _SAY, _OTHER) == {
        "name": "Hello",
        "type": "template",
        "whatsapp_template": "offer_1",
        "whatsapp_template_variables": {"1": "{{contact.first_name}}"},
        "options": {"Yes": "Say", "No": "Other"},
        "platform_id": uuid(1),
    }


@pytest.mark.parametrize(
    ("action", "keys"),
    [
        ("CONTINUE", {"next": "Other", "on_no_answer": "Other"}),
        ("ANY_RESPONSE", {"wait": {"amount": 24, "unit": "HOUR"}, "next": "Other"}),
    ],
)
def test_next_action_decides_whether_a_template_waits(action: str, keys: dict[str, Any]) -> None:
    buttons = {"answer_options": ["Yes"], "next_steps_for_options": [uuid(2)]}
    template = step(1, "Hello", "", whatsapp_template="t", **buttons, next_action=action, next_step_default=uuid(3))

    found = only(template, _SAY, _OTHER, syntax="activecampaign")

    assert {key: value for key, value in found.items() if key in ("wait", "next", "on_no_answer")} == keys

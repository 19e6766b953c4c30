"""One step as the platforms record it, read leniently: an invalid field is noted and left out."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_whatsapp_flows.flow.numbers import parse_number
from airflow_whatsapp_flows.hilos.names import Names
from airflow_whatsapp_flows.hilos.notes import NoteKind, Report
from airflow_whatsapp_flows.hilos.record_masking import Syntax
from airflow_whatsapp_flows.hilos.record_versions import Plain

# Fields that matter only if another field is filled; otherwise they hold the platform's defaults.
_MEANS_NOTHING_WITHOUT: Mapping[str, tuple[str, ...]] = {
    "max_wait_time_amount": ("has_max_wait_time",),
    "max_wait_time_unit": ("has_max_wait_time",),
    "max_answer_attempts": ("has_max_answer_attempts",),
    "answer_range_min": ("answer_has_range",),
    "answer_range_max": ("answer_has_range",),
    "time_window_type": ("set_time_window",),
    "time_windows": ("set_time_window",),
    "options_from_variable": ("has_options_from_variable",),
    "option_from_variable_value": ("has_options_from_variable",),
    "option_from_variable_title": ("has_options_from_variable",),
    "option_from_variable_description": ("has_options_from_variable",),
    "missing_options_message": ("has_options_from_variable",),
    "answer_options_render": ("answer_options", "has_options_from_variable"),
    "answer_options_render_list_button_title": ("answer_options", "has_options_from_variable"),
    "answer_options_render_list_section_title": ("answer_options", "has_options_from_variable"),
    "body_type": ("body", "body_file", "body_file_url"),
    "body_file_type": ("body_file", "body_file_url"),
    "next_action": ("whatsapp_template",),
    "append_tags": ("contact_tags", "conversation_tags"),
}
_OF_NO_MEANING = frozenset(
    ["id", "name", "flow_version", "step_type", "ordering_idx", "action_test_response_data", "answer_type",
     "answer_phone_default_country", "answer_allow_decimals", "created_on", "last_updated_on"]
)  # fmt: skip
_WHY_LOST: Mapping[str, str] = {
    "answer_validation_message": "the platform's message for an answer that does not fit is not part of the flow",
    "answer_instructions": "hints to the contact are not part of the flow",
    "answer_options_render": "how options are displayed is up to the platform",
    "answer_options_render_list_button_title": "how options are displayed is up to the platform",
    "answer_options_render_list_section_title": "how options are displayed is up to the platform",
    "answer_option_descriptions": "how options are displayed is up to the platform",
    "option_from_variable_description": "how options are displayed is up to the platform",
    "missing_options_message": "the platform's message for an empty list of options is not part of the flow",
    "save_contact_answer": "the platform saves this answer in the contact; add a contact_update step to do so here",
    "validate_answer_with_buttons": "the platform accepts only its buttons; here other answers take the exit 'next'",
    "set_time_window": "only a delay has time windows",
    "time_windows": "only a delay has time windows",
    "time_window_type": "only a delay has time windows",
    "custom_properties": "its text does not show which property gets which value; write them under 'meta'",
}


class Record:
    """Reads the fields of one step and keeps track of which were read.

    Attributes:
        name: name of the step in the flow.
        raw: its fields, as plain data.
        syntax: syntax of the variables in its texts.
    """

    def __init__(self, raw: Plain, name: str, names: Names, report: Report, syntax: Syntax) -> None:
        self.raw = raw
        self.name = name
        self.syntax: Syntax = syntax
        self._names = names
        self._report = report
        self._read: set[str] = set()

    def note(self, kind: NoteKind, field: str, message: str) -> None:
        """Add a note about a field of this step."""
        self._report.add(kind, self.name, field, message)

    def filled(self, *fields: str) -> bool:
        """Whether at least one of the fields is filled."""
        return any(is_filled(self.raw.get(field)) for field in fields)

    def take(self, field: str) -> object:
        """Return the value of a field and mark it as read."""
        self._read.add(field)
        return self.raw.get(field)

    def text(self, field: str) -> str | None:
        """Read a text, with current step names in its placeholders; ``None`` if it is blank."""
        value = self.take(field)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str):
            return self.rename_references(value, field) if value.strip() else None
        self._expect(field, value, "text")
        return None

    def texts(self, field: str) -> list[str | None]:
        """Read a list of texts; an item that is not a text becomes ``None``, so positions stay the same."""
        value = self.take(field)
        if not isinstance(value, list):
            self._expect(field, value, "a list")
            return []
        for index, item in enumerate(value):
            if not isinstance(item, str):
                self._expect(f"{field}[{index}]", item, "text")
        return [self.rename_references(item, field) if isinstance(item, str) else None for item in value]

    def reference(self, field: str) -> str | None:
        """Read a reference without braces or percent signs; ``None`` if it is blank."""
        value = self.take(field)
        if not isinstance(value, str):
            self._expect(field, value, "text")
            return None
        return self.bare(value, field) or None

    def bare(self, text: str, field: str) -> str:
        """Convert a reference to the form used outside texts: ``step.Ask name``."""
        text = text.strip()
        for start, end in (("{{", "}}"), ("%", "%")):
            if text.startswith(start) and text.endswith(end) and len(text) > len(start + end):
                text = text[len(start) : -len(end)].strip()
        return self._note_rename(field, text, self._names.reference(text))

    def rename_references(self, text: str, field: str) -> str:
        """Update the step names in another text of this step."""
        return self._note_rename(field, text, self._names.text(text))

    def _note_rename(self, field: str, written: str, text: str) -> str:
        if text != written:
            self.note("renamed", field, "a step that it refers to was renamed or misspelled; the reference was changed")
        return text

    def flag(self, field: str) -> bool:
        """Read a boolean; anything but true is false."""
        value = self.take(field)
        if isinstance(value, str) and value.strip().lower() in ("true", "false", ""):
            return value.strip().lower() == "true"
        if value is not None and not isinstance(value, bool):
            self._expect(field, value, "true or false")
        return value is True

    def number(self, field: str) -> int | float | None:
        """Read a number, also one written as text."""
        value = self.take(field)
        number = parse_number(value) if isinstance(value, str) else value
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return number
        self._expect(field, value, "a number")
        return None

    def objects(self, field: str) -> list[Plain]:
        """Read a list of objects; anything else in it is left out."""
        value = self.take(field)
        if not isinstance(value, list):
            self._expect(field, value, "a list")
            return []
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                self._expect(f"{field}[{index}]", item, "an object")
        return [item for item in value if isinstance(item, dict)]

    def mapping(self, field: str) -> Plain:
        """Read an object; empty if the field holds something else."""
        value = self.take(field)
        if isinstance(value, dict):
            return value
        self._expect(field, value, "an object")
        return {}

    def note_left_over(self) -> None:
        """Note every filled field that was not read."""
        for field, value in self.raw.items():
            if field in self._read or field in _OF_NO_MEANING or not is_filled(value):
                continue
            needed = _MEANS_NOTHING_WITHOUT.get(field)
            if needed is not None and not self.filled(*needed):
                continue
            if field == "answer_options_render" and value == "BUTTONS":
                continue
            known = field.removesuffix("_idx")
            if known != field and (known in self._read or not is_filled([item for item in _items(value) if item])):
                continue
            self.note("lost", field, _WHY_LOST.get(field, "steps of this type do not have this key"))

    def _expect(self, field: str, value: object, expected: str) -> None:
        if is_filled(value):
            self.note("lost", field, f"it is not {expected}")


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def is_filled(value: object) -> bool:
    """Whether a value is anything but null, blank, false, 0 or empty."""
    return bool(value.strip()) if isinstance(value, str) else bool(value)

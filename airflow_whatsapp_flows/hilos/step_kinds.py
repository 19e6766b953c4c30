"""Finds the type of a recorded step: ``step_type`` is free text, so the filled fields decide."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_whatsapp_flows.hilos.record import Record, is_filled

STEP_TYPES: Mapping[str, str] = {
    **dict.fromkeys(["MESSAGE", "SEND_MESSAGE", "TEXT"], "message"),
    **dict.fromkeys(["TEMPLATE", "WHATSAPP_TEMPLATE", "SEND_TEMPLATE"], "template"),
    **dict.fromkeys(["QUESTION", "ASK", "ASK_QUESTION"], "question"),
    **dict.fromkeys(["MENU", "OPTIONS"], "menu"),
    **dict.fromkeys(["CONDITIONAL", "CONDITION", "CONDITIONS", "BRANCH"], "conditional"),
    **dict.fromkeys(["DELAY", "WAIT"], "delay"),
    **dict.fromkeys(["ACTION", "API", "CONNECT_API", "API_REQUEST", "WEBHOOK", "REQUEST"], "action"),
    **dict.fromkeys(["CONTACT_UPDATE", "UPDATE_CONTACT", "CONTACT"], "contact_update"),
    **dict.fromkeys(["TAG", "TAGS"], "tag"),
    **dict.fromkeys(["ASSIGNATION", "ASSIGN", "ASSIGNMENT", "TEAM"], "assignation"),
    **dict.fromkeys(["GO_TO", "GOTO", "JUMP"], "go_to"),
    **dict.fromkeys(["TRIGGER_FLOW", "FLOW", "START_FLOW"], "trigger_flow"),
    "END": "end",
}
"""Step kinds by ``step_type``, in uppercase with ``_`` for spaces and hyphens; no platform publishes its own list."""

CONTACT_FIELDS = (
    "contact_first_name", "contact_last_name", "contact_email", "contact_external_url", "contact_custom_properties",
    "firstname", "lastname", "email", "custom_properties",
)  # fmt: skip
_ONLY_OF: Mapping[str, tuple[str, ...]] = {
    "action": ("action_request_url",),
    "conditional": ("paths", "conditions"),
    "trigger_flow": ("next_flow",),
    "template": ("whatsapp_template",),
    "assignation": ("assign_to_users", "assign_to_teams"),
    "tag": ("contact_tags", "conversation_tags"),
    "contact_update": CONTACT_FIELDS,
}
_ANSWER_SIGNS = (
    "answer_type", "answer_options", "has_options_from_variable", "has_max_answer_attempts", "answer_failed_next_step",
)  # fmt: skip
# These may be empty; the other types require a field that would be missing.
_MAY_BE_EMPTY = ("message", "question", "template", "contact_update", "tag", "assignation")


def kind_of(record: Record, step_types: Mapping[str, str]) -> str:
    """Return the type of a step in format 1.

    Args:
        step_types: type suggested by each ``step_type``, as in :data:`STEP_TYPES`.
    """
    written = record.raw.get("step_type")
    shown = written.strip() if isinstance(written, str) else ""
    hint = step_types.get(re.sub(r"[\s\-]+", "_", shown).upper())
    fitting = _candidates(record)
    if hint in fitting:
        return str(hint)
    own = any(kind in _ONLY_OF for kind in fitting)
    if hint in _MAY_BE_EMPTY and not own:
        return str(hint)
    kind = fitting[0]
    if hint is not None:
        message = f"step_type {shown[:40]!r} means {hint}, but the step has the fields of {kind}"
    elif shown:
        message = f"step_type {shown[:40]!r} is unknown; its fields are those of {kind}"
    else:
        message = f"it is missing; its fields are those of {kind}"
    record.note("inferred", "step_type", message)
    return kind


def _candidates(record: Record) -> list[str]:
    """List the types that the filled fields allow, likeliest first."""
    kinds = [kind for kind, fields in _ONLY_OF.items() if record.filled(*fields)]
    if _has_option_links(record) and "conditional" not in kinds and not record.filled("has_options_from_variable"):
        kinds.append("menu")
    if record.filled("delay_type", "delay_until"):
        kinds.append("delay")
    if record.filled(*_ANSWER_SIGNS) or (record.filled("has_max_wait_time") and record.filled("body")):
        kinds.append("question")
        if record.filled("answer_options") and "menu" not in kinds and not record.filled("has_options_from_variable"):
            kinds.append("menu")
    if record.filled("body", "body_file", "body_file_url"):
        kinds.append("message")
    elif record.filled("has_max_wait_time", "set_time_window") and "delay" not in kinds:
        kinds.append("delay")
    links = ("next_step_default", "next_step_default_idx", "next_step_alternate")
    if record.filled(*links) or record.raw.get("next_step_default_idx") == 0:
        kinds.append("go_to")
    kinds = kinds or ["end"]
    if record.filled("max_wait_time_amount"):
        kinds.append("delay")  # last: the platform fills in an amount even if the step does not wait
    return kinds


def _has_option_links(record: Record) -> bool:
    values = (record.raw.get("next_steps_for_options"), record.raw.get("next_steps_for_options_idx"))
    return any(isinstance(value, list) and any(is_filled(item) or item == 0 for item in value) for value in values)

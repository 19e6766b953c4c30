"""What a step adds to the record of a walk: its message, and its effects on the platform."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import cast
from zoneinfo import ZoneInfo

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.model.messages import MessageContent
from airflow_whatsapp_flows.flow.model.routing import Assignation, Delay, GoTo, Tag
from airflow_whatsapp_flows.flow.model.step import Text
from airflow_whatsapp_flows.flow.moments import parse_moment
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.storable import clean, storable_text
from airflow_whatsapp_flows.flow.template.filters import MAX_TEXT
from airflow_whatsapp_flows.flow.template.language import Value, fill
from airflow_whatsapp_flows.flow.template.sizes import Room, least_size

_TOO_MUCH = f"the values would have more than {MAX_TEXT:,} characters in total"
_CUT = f"… (truncated: the messages of a walk can have {MAX_TEXT:,} characters in total)"
_LEFT_OUT = f"the messages of a walk can have {MAX_TEXT:,} characters in total"
_DEEPEST = 1000  # both the flow's own trees and the values in them are limited already


def render_text(text: Text, values: Mapping[str, object]) -> str | None:
    """A text for one contact.

    Raises:
        RenderError: a value is missing, or cannot be converted to text.
    """
    if text is None or isinstance(text, str):
        return text
    # It is only stored, not sent, and databases do not accept NUL or half of a surrogate pair.
    return storable_text(text.render(values))


def storable_details(details: Mapping[str, Value] | None) -> Mapping[str, Value] | None:
    """What stands beside a step's text, as every database keeps it; what is sent stays as it was."""
    return None if details is None else cast(dict[str, Value], clean(dict(details), _DEEPEST))


class MessageRecorder:
    """The messages of one walk, limited in total: a loop may say a long text thousands of times.

    Args:
        room: characters that are kept.
    """

    __slots__ = ("_left",)

    def __init__(self, room: int = MAX_TEXT) -> None:
        self._left = room

    def keep(
        self, text: str | None, details: Mapping[str, Value] | None, hidden: Hidden
    ) -> tuple[str | None, Mapping[str, Value] | None]:
        """What the record of a visit keeps; what is cut or left out says so.

        Args:
            text: that the step says.
            details: what stands beside it.
            hidden: values that nobody is to read.
        """
        if text:
            text = self._cut(hidden.conceal(text)) if self._left > 0 else _CUT
        if details is not None:
            size = least_size(details, self._left)
            fits = size <= self._left
            self._left -= min(size, self._left)
            details = hidden.conceal(storable_details(details)) if fits else {"left_out": _LEFT_OUT}
        return text, details

    def _cut(self, text: str) -> str:
        left = self._left
        self._left -= min(len(text), left)
        return text if len(text) <= left else text[:left] + _CUT


def render_message(
    content: MessageContent, values: Mapping[str, object]
) -> tuple[str | None, Mapping[str, Value] | None]:
    """The text that a step says, and what stands beside it.

    Raises:
        RenderError: a value is missing, or cannot be converted to text.
    """
    text = render_text(content.body, values)
    if content.file_url is None and content.whatsapp_template is None and not content.whatsapp_template_variables:
        return text, None
    details: dict[str, Value] = {}
    if content.file_url is not None:
        details["file_url"] = render_text(content.file_url, values)
    if content.whatsapp_template is not None:
        details["whatsapp_template"] = content.whatsapp_template
    if content.whatsapp_template_variables:
        details["whatsapp_template_variables"] = fill(dict(content.whatsapp_template_variables), values, _room())
    return text, details


def render_changes(changes: Mapping[str, Text | bool | int | float], values: Mapping[str, object]) -> dict[str, Value]:
    """The new values of a contact's fields; one that is a lone placeholder keeps its type.

    Raises:
        RenderError: a value is missing.
    """
    room = _room()
    filled: dict[str, Value] = {}
    for name, value in changes.items():
        plain = value is None or isinstance(value, (str, bool, int, float))
        filled[name] = value if plain else value.evaluate(values)  # type: ignore[union-attr, assignment]
        room.take_value(filled[name])
    return filled


def _room() -> Room:
    return Room(MAX_TEXT, _TOO_MUCH)


def platform_details(step: Tag | Assignation | GoTo, values: Mapping[str, object]) -> Mapping[str, Value] | None:
    """What a step would have done on the platform.

    Raises:
        RenderError: a value is missing, or cannot be converted to text.
    """
    if isinstance(step, Tag):
        return {
            "contact_tags": [render_text(tag, values) for tag in step.contact_tags],
            "conversation_tags": [render_text(tag, values) for tag in step.conversation_tags],
            "append_tags": step.append_tags,
        }
    if isinstance(step, Assignation):
        return {"assign_to_users": list(step.users), "assign_to_teams": list(step.teams)}
    return None


def moment_of(step: Delay, values: Mapping[str, object]) -> dt.datetime | None:
    """The time until which a delay waits; ``None`` if it has a duration.

    Raises:
        RenderError: it is not a date and time for this contact.
    """
    if step.until is None:
        return None
    try:
        return parse_moment(render_text(step.until, values) or "", ZoneInfo(step.rule.timezone))
    except ValueError as error:
        raise RenderError(str(error), "until") from None

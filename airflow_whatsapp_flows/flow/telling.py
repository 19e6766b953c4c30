"""What a step leaves in the record of a walk: what it said, and what it would have done on the platform."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar, cast
from zoneinfo import ZoneInfo

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.content import clean, storable_text
from airflow_whatsapp_flows.flow.model import Assignation, Delay, GoTo, Said, Tag, Text
from airflow_whatsapp_flows.flow.moments import parse_moment
from airflow_whatsapp_flows.flow.template.filters import MAX_TEXT, json_text, text_of
from airflow_whatsapp_flows.flow.template.language import Value, fill
from airflow_whatsapp_flows.flow.template.references import Missing, Reference
from airflow_whatsapp_flows.flow.template.sizes import Room

_Shown = TypeVar("_Shown")
_TOO_MUCH = f"the values would have more than {MAX_TEXT:,} characters in all"
_DEEPEST = 1000  # both the flow's own trees and the values in them are limited already


class Hidden:
    """What nobody is to read of one contact: the values that some variables have, and have had.

    Args:
        references: the variables.
    """

    def __init__(self, references: Iterable[Reference]) -> None:
        self._references = tuple(references)
        self._texts: set[str] = set()

    def note(self, values: Mapping[str, object]) -> None:
        """Note the values at this moment: what they are copied to may be shown when they are others."""
        for reference in self._references:
            found = reference.resolve(values)
            if not isinstance(found, Missing):
                self._texts.update(_texts_of(found))

    def conceal(self, value: _Shown) -> _Shown:
        """The same, with ``***`` where one of the values stands, in any case."""
        return cast(_Shown, self._concealed(value)) if self._texts else value

    def _concealed(self, value: object) -> object:
        if isinstance(value, Mapping):
            return {key: self._concealed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._concealed(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        text = value if isinstance(value, str) else text_of(value)
        folded = text.casefold()
        standing = [hidden for hidden in self._texts if hidden.casefold() in folded]
        if not standing:
            return value
        standing.sort(key=lambda hidden: (-len(hidden), hidden))
        return re.sub("|".join(map(re.escape, standing)), "***", text, flags=re.IGNORECASE)


def _texts_of(value: Value) -> Iterable[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts_of(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts_of(item)]
    text = "" if value is None or isinstance(value, bool) else text_of(value).strip()
    return {text, json_text([text])[2:-2]} if text else ()  # the latter as it stands within an object


def rendered(text: Text, values: Mapping[str, object]) -> str | None:
    """A text for one contact.

    Raises:
        RenderError: a value is missing, or cannot be shown as text.
    """
    if text is None or isinstance(text, str):
        return text
    # Nothing of it is sent; it is kept, and no database keeps NUL or half of a surrogate pair.
    return storable_text(text.render(values))


def kept(details: Mapping[str, Value] | None) -> Mapping[str, Value] | None:
    """What stands beside a step's text, as every database keeps it; what is sent stays as it was."""
    return None if details is None else cast(dict[str, Value], clean(dict(details), _DEEPEST))


def told(said: Said, values: Mapping[str, object]) -> tuple[str | None, Mapping[str, Value] | None]:
    """The text that a step says, and what stands beside it.

    Raises:
        RenderError: a value is missing, or cannot be shown as text.
    """
    text = rendered(said.body, values)
    if said.file_url is None and said.whatsapp_template is None and not said.whatsapp_template_variables:
        return text, None
    details: dict[str, Value] = {}
    if said.file_url is not None:
        details["file_url"] = rendered(said.file_url, values)
    if said.whatsapp_template is not None:
        details["whatsapp_template"] = said.whatsapp_template
    if said.whatsapp_template_variables:
        details["whatsapp_template_variables"] = fill(dict(said.whatsapp_template_variables), values, _room())
    return text, details


def changed(changes: Mapping[str, Text | bool | int | float], values: Mapping[str, object]) -> dict[str, Value]:
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


def noted(step: Tag | Assignation | GoTo, values: Mapping[str, object]) -> Mapping[str, Value] | None:
    """What a step would have done on the platform.

    Raises:
        RenderError: a value is missing, or cannot be shown as text.
    """
    if isinstance(step, Tag):
        return {
            "contact_tags": [rendered(tag, values) for tag in step.contact_tags],
            "conversation_tags": [rendered(tag, values) for tag in step.conversation_tags],
            "append_tags": step.append_tags,
        }
    if isinstance(step, Assignation):
        return {"assign_to_users": list(step.users), "assign_to_teams": list(step.teams)}
    return None


def moment_of(step: Delay, values: Mapping[str, object]) -> dt.datetime | None:
    """The moment that a delay waits for; ``None`` when it has a length instead.

    Raises:
        RenderError: it is no moment for this contact.
    """
    if step.until is None:
        return None
    try:
        return parse_moment(rendered(step.until, values) or "", ZoneInfo(step.rule.timezone))
    except ValueError as error:
        raise RenderError(str(error), "until") from None

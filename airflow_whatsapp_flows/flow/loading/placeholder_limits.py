"""How many placeholders a flow may have, and how long they may be: what bounds the time that loading takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_whatsapp_flows.flow.json_source import FlowFault, Path, step_name_at, texts_in
from airflow_whatsapp_flows.flow.loading.builder import FlowTexts
from airflow_whatsapp_flows.flow.template.caged import MAX_IN_TEXT, CagedLanguage, too_many_in_text
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders

MAX_PLACEHOLDERS = 10_000
"""Placeholders in one flow: 20 in each of 500 steps."""
MAX_CHARACTERS = 200_000
"""Characters in all placeholders of one flow, braces included."""
_EXPRESSION_KEYS = frozenset({"success_when", "slow_down_when"})
"""Keys whose entire text is an expression, without braces."""


def may_have_too_many(text: str) -> bool:
    """Whether a file may have too many placeholders, or too long ones: :func:`check_placeholders` counts them.

    Args:
        text: the file. Each placeholder has at least one of these characters in it, or is all of a text.
    """
    openings = text.count("{") + text.count("%") + text.count("\\")
    return openings + text.count('_when"') > MAX_IN_TEXT or len(text) > MAX_CHARACTERS


def check_placeholders(value: Mapping[str, Any]) -> list[FlowFault]:
    """The fault of a flow with more or longer placeholders than may be parsed; no more than one.

    Args:
        value: the file as plain data.
    """
    language = FlowTexts(value, frozenset()).language
    number = characters = 0
    for path, text in texts_in(value.get("steps"), ("steps",)):
        try:
            for offset, length in _placeholders(path, text, language):
                number += 1
                characters += length
                if number > MAX_PLACEHOLDERS:
                    raise TemplateFault(f"the flow has more than {MAX_PLACEHOLDERS:,} placeholders; split it", offset)
                if characters > MAX_CHARACTERS:
                    message = f"the placeholders of the flow have more than {MAX_CHARACTERS:,} characters; split it"
                    raise TemplateFault(message, offset)
        except TemplateFault as fault:
            return [FlowFault(fault.message, path, step_name_at(value, path), fault.offset)]
    return []


def _placeholders(path: Path, text: str, language: CagedLanguage) -> Iterator[tuple[int, int]]:
    """Offset and length of each; what is wrong with a single one is told when it is parsed."""
    if path[-1] in _EXPRESSION_KEYS:
        yield 0, len(text)
        return
    found = find_placeholders(text, language)
    number = 0
    while True:
        try:
            placeholder = next(found, None)
        except TemplateFault:
            return
        if placeholder is None:
            return
        number += 1
        if number > MAX_IN_TEXT:
            raise too_many_in_text(placeholder.start)
        yield placeholder.start, len(placeholder.source)

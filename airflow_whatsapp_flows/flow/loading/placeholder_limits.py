"""How many placeholders a flow may have, and how long they may be: what bounds the time that loading takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_whatsapp_flows.flow.json_source import FlowFault, Path
from airflow_whatsapp_flows.flow.template.caged import MAX_IN_TEXT, CagedLanguage, too_many_in_text
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders

MAX_PLACEHOLDERS = 10_000
"""Placeholders in one flow: 20 in each of 500 steps."""
MAX_CHARACTERS = 200_000
"""Characters in all placeholders of one flow, braces included."""
_EXPRESSION_KEYS = frozenset({"success_when", "slow_down_when"})
"""Keys whose entire text is an expression, without braces."""


def check_placeholders(value: Mapping[str, Any]) -> list[FlowFault]:
    """The fault of a flow with more or longer placeholders than may be parsed; no more than one.

    Args:
        value: the file as plain data.
    """
    language = CagedLanguage(syntax="activecampaign" if value.get("syntax") == "activecampaign" else "hilos")
    number = characters = 0
    for path, text in _texts(value.get("steps"), ("steps",)):
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
            return [FlowFault(fault.message, path, _step_name(value, path), fault.offset)]
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


def _texts(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text of plain data with its path, in the order of the file."""
    waiting: list[tuple[Path, object]] = [(path, value)]
    while waiting:
        here, item = waiting.pop()
        if isinstance(item, str):
            yield here, item
        elif isinstance(item, dict):
            waiting.extend(((*here, key), inner) for key, inner in reversed(item.items()))
        elif isinstance(item, list):
            waiting.extend(((*here, index), inner) for index, inner in reversed(list(enumerate(item))))


def _step_name(value: Mapping[str, Any], path: Path) -> str | None:
    step = value["steps"][path[1]] if len(path) > 1 else None
    name = step.get("name") if isinstance(step, dict) else None
    return name if isinstance(name, str) else None

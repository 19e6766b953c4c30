"""Which characters of a text are placeholders, so that the rest can be searched."""

from __future__ import annotations

import re

from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders
from airflow_whatsapp_flows.flow.template.spelling import Syntax

__all__ = ["MASK", "Syntax", "mask_placeholders", "placeholder_spans"]

MASK = "\x00"
"""Replaces each character of a placeholder."""


def mask_placeholders(text: str, syntax: Syntax) -> str:
    """The text with :data:`MASK` for every character of its placeholders: what is left is literal.

    Args:
        text: of a record.
        syntax: ``activecampaign`` has placeholders between percent signs too.
    """
    text = text.replace(MASK, "\ufffd")
    pieces: list[str] = []
    copied = 0
    try:
        for placeholder in find_placeholders(text, CagedLanguage(syntax=syntax)):
            pieces += [text[copied : placeholder.start], MASK * len(placeholder.source)]
            copied = placeholder.end
    except TemplateFault:
        pass  # one that is never closed: the flow's own check tells it
    return "".join([*pieces, text[copied:]])


def placeholder_spans(text: str, syntax: Syntax) -> list[tuple[int, int]]:
    """Where the placeholders of a text are; those without anything between them are one."""
    return [match.span() for match in re.finditer(f"{MASK}+", mask_placeholders(text, syntax))]

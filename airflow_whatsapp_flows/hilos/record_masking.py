"""Masks the placeholders of a text, so that the literal rest can be searched."""

from __future__ import annotations

import re

from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders
from airflow_whatsapp_flows.flow.template.spelling import Syntax

__all__ = ["MASK", "Syntax", "mask_placeholders", "placeholder_spans"]

MASK = "\x00"
"""Replacement for each character of a placeholder."""


def mask_placeholders(text: str, syntax: Syntax) -> str:
    """Replace every character of the text's placeholders with :data:`MASK`; the rest is literal.

    Args:
        syntax: ``activecampaign`` also has placeholders between percent signs.
    """
    text = text.replace(MASK, "\ufffd")
    pieces: list[str] = []
    copied = 0
    try:
        for placeholder in find_placeholders(text, CagedLanguage(syntax=syntax)):
            pieces += [text[copied : placeholder.start], MASK * len(placeholder.source)]
            copied = placeholder.end
    except TemplateFault:
        pass  # never closed; the flow's own check reports it
    return "".join([*pieces, text[copied:]])


def placeholder_spans(text: str, syntax: Syntax) -> list[tuple[int, int]]:
    """Return the spans of a text's placeholders; adjacent ones are merged."""
    return [match.span() for match in re.finditer(f"{MASK}+", mask_placeholders(text, syntax))]

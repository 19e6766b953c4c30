"""The syntax of placeholders: ``{{ … }}``, and also ``%contact.first_name%`` in flows of ActiveCampaign."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

Syntax = Literal["hilos", "activecampaign"]
"""The platform whose placeholder syntax a flow uses."""

# A percent sign is also a part of prices, of %20 and of statements: only a scope and a dot behind it make it a
# variable, and only a second sign on the same line, before the next placeholder, ends one.
_PERCENT = r"%(?:contact|step|global|flow_execution_variables)\.(?:(?!\{\{|\}\})[^%\r\n])*%"
_OPENING: Final[Mapping[Syntax, re.Pattern[str]]] = {
    "hilos": re.compile(r"\{\{"),
    "activecampaign": re.compile(rf"\{{\{{|{_PERCENT}"),
}
_STATEMENT: Final[Mapping[Syntax, re.Pattern[str]]] = {
    "hilos": re.compile(r"\{%"),
    "activecampaign": re.compile(rf"\{{(?!{_PERCENT})%"),
}


def syntax_of(language: object) -> Syntax:
    """The syntax of a template language; braces only by default."""
    syntax: Syntax = getattr(language, "syntax", "hilos")
    return syntax


def find_opening(text: str, language: object, start: int = 0) -> re.Match[str] | None:
    """The next start of a placeholder: ``{{``, or a complete ``%…%``."""
    return _OPENING[syntax_of(language)].search(text, start)


def opens_at(text: str, position: int, language: object) -> bool:
    """Whether a placeholder starts at a position."""
    return _OPENING[syntax_of(language)].match(text, position) is not None


def opens_statement(text: str, position: int, language: object) -> bool:
    """Whether there is a ``{%`` at a position whose sign does not start a variable."""
    return _STATEMENT[syntax_of(language)].match(text, position) is not None


def find_statement(text: str, language: object) -> int | None:
    """Offset of the first ``{%`` whose sign does not start a variable."""
    if "{%" not in text:
        return None
    match = _STATEMENT[syntax_of(language)].search(text)
    return match.start() if match else None


def holds_placeholder(text: str, language: object) -> bool:
    """Whether a text, such as a name, contains any template syntax."""
    return find_opening(text, language) is not None or "{%" in text


def literal_start(text: str) -> str:
    """The text before the first placeholder in any syntax, excluding anything that looks like a variable."""
    opening = _OPENING["activecampaign"].search(text)
    return text[: opening.start()] if opening else text

"""Finds ``{{ … }}`` and ``%…%`` in text, without parsing their content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.spelling import find_opening

# An apostrophe behind a letter stands in a name: no text of an expression begins there. The length is limited
# because a quote without its pair would be searched for in all of the text, again for every placeholder.
_QUOTED_OR_END = re.compile(r"""(?<!\w)'(?:\\.|[^'\\]){0,2000}'|"(?:\\.|[^"\\]){0,2000}"|(?<!\w)'|"|\}\}""", re.DOTALL)
_EXPRESSION_SIGNS = re.compile(r"[|~()=<>+\"\[]|(?<!\w)'")

MAX_PLACEHOLDER = 4_000
"""Characters in one placeholder of a flow, braces included; the longest found in real flows has about 100."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One ``{{ … }}`` or ``%…%``.

    Attributes:
        source: the entire placeholder, braces or percent signs included.
        start: its offset in the text.
    """

    source: str
    start: int

    @property
    def is_percent(self) -> bool:
        """Whether it is written ``%…%``: one variable, without filters and operators."""
        return self.source[0] == "%"

    @property
    def expression(self) -> str:
        """Its content, without surrounding spaces and Jinja's ``-``."""
        return self.source[1:-1].strip() if self.is_percent else self.source[2:-2].strip("-").strip()

    @property
    def end(self) -> int:
        """Offset of the first character after it."""
        return self.start + len(self.source)


def find_placeholders(
    text: str, language: object = None, start: int = 0, *, longest: int = MAX_PLACEHOLDER
) -> Iterator[Placeholder]:
    """Every placeholder of a text, in order.

    Args:
        text: any text.
        language: the language of the text; by default, placeholders have braces.
        start: offset at which to start searching.
        longest: maximum characters of one placeholder. Searching for its end takes time for every placeholder.

    Raises:
        TemplateFault: one is not closed, or is too long.
    """
    while opening := find_opening(text, language, start):
        begin, start = opening.span()
        if opening.group() == "{{":
            end = _end(text, start, begin + longest)
            if end is None:
                raise TemplateFault("'{{' is never closed; write '}}' after the name", begin)
            start = end
        if start - begin > longest:
            raise TemplateFault(f"a placeholder can have at most {longest:,} characters; split it", begin)
        yield Placeholder(text[begin:start], begin)


def _end(text: str, start: int, last: int) -> int | None:
    """Offset behind the braces that close a placeholder; braces in quotes do not. Nothing behind ``last`` counts."""
    nearest = text.find("}}", start)
    if nearest < 0:
        return None
    # A step may be called "What's your name": in a bare name an apostrophe opens nothing.
    if not _EXPRESSION_SIGNS.search(text, start, nearest):
        return nearest + 2
    if nearest >= last:
        return nearest + 2
    for match in _QUOTED_OR_END.finditer(text, start, last + 1):
        if match.group() == "}}":
            return match.end()
        if len(match.group()) == 1:
            break
    # A quote without its pair: the apostrophe of a name, or quotes that JSON or YAML text escapes.
    return None if '\\"' in text[start:nearest] else nearest + 2

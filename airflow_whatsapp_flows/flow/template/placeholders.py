"""Finding ``{{ … }}`` in text, without knowing what stands inside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.template.language import TemplateFault

# An apostrophe behind a letter stands in a name: no text of an expression begins there. The length is limited
# because a quote without its pair would be searched for in all of the text, again for every placeholder.
_QUOTED_OR_END = re.compile(r"""(?<!\w)'(?:\\.|[^'\\]){0,2000}'|"(?:\\.|[^"\\]){0,2000}"|(?<!\w)'|"|\}\}""", re.DOTALL)
_EXPRESSION_SIGNS = re.compile(r"[|~()=<>+\"\[]|(?<!\w)'")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One ``{{ … }}``.

    Attributes:
        source: the whole of it, braces included.
        start: characters before it in the text.
    """

    source: str
    start: int

    @property
    def expression(self) -> str:
        """What stands between the braces, without the blanks and Jinja's ``-`` at its ends."""
        return self.source[2:-2].strip("-").strip()

    @property
    def end(self) -> int:
        """Offset of the first character behind it."""
        return self.start + len(self.source)


def find_placeholders(text: str) -> Iterator[Placeholder]:
    """Every ``{{ … }}`` of a text, in order.

    Raises:
        TemplateFault: one is opened and not closed.
    """
    start = text.find("{{")
    while start >= 0:
        end = _end(text, start + 2)
        if end is None:
            raise TemplateFault("'{{' is never closed; write '}}' behind the name", start)
        yield Placeholder(text[start:end], start)
        start = text.find("{{", end)


def _end(text: str, start: int) -> int | None:
    """Offset behind the braces that close a placeholder; braces in quotes do not."""
    nearest = text.find("}}", start)
    if nearest < 0:
        return None
    # A step may be called "What's your name": in a bare name an apostrophe opens nothing.
    if not _EXPRESSION_SIGNS.search(text, start, nearest):
        return nearest + 2
    for match in _QUOTED_OR_END.finditer(text, start):
        if match.group() == "}}":
            return match.end()
        if len(match.group()) == 1:
            break
    # A quote without its pair: the apostrophe of a name, or quotes that JSON or YAML text escapes.
    return None if '\\"' in text[start:nearest] else nearest + 2

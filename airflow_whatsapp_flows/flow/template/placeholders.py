"""Finding ``{{ … }}`` in text, without knowing what stands inside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.template.language import TemplateFault

_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_EXPRESSION_SIGNS = re.compile(r"[|~()=<>+\"\[]")


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
        end = text.find("}}", start + 2)
        while end >= 0 and _ends_inside_quotes(text[start + 2 : end]):
            end = text.find("}}", end + 2)
        if end < 0:
            raise TemplateFault("'{{' is never closed; write '}}' behind the name", start)
        yield Placeholder(text[start : end + 2], start)
        start = text.find("{{", end + 2)


def _ends_inside_quotes(expression: str) -> bool:
    # A step may be called "What's your name": in a bare name an apostrophe opens nothing.
    if not _EXPRESSION_SIGNS.search(expression):
        return False
    rest = _QUOTED.sub("", expression)
    return "'" in rest or '"' in rest

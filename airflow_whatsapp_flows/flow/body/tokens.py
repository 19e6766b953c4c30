"""Private tokens: they replace the placeholders of a text before an XML, YAML, or form parser reads it.

The token contains a hash of the text, so the text cannot contain the token, not even escaped (``&#120;``, ``%78``): it
would have to contain its own hash. Values are never searched for tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from airflow_whatsapp_flows.flow.body.faults import text_fault
from airflow_whatsapp_flows.flow.template.language import LITERAL, Template, TemplateFault, TemplateLanguage
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders


@dataclass(frozen=True, slots=True)
class Span:
    """One placeholder of a text.

    Attributes:
        start: offset of its first brace or percent sign.
        end: offset after its last one.
        source: its template text, unescaped, braces or percent signs included.
    """

    start: int
    end: int
    source: str


def find_spans(text: str, language: TemplateLanguage) -> list[Span]:
    """Every placeholder of a text in source form; none if it contains no template.

    Raises:
        TemplateFault: one is not closed.
    """
    if language is LITERAL:
        return []
    try:
        return [Span(found.start, found.end, found.source) for found in find_placeholders(text, language)]
    except TemplateFault as fault:
        raise text_fault(text, fault.offset, fault.message) from None


class TokenText:
    """A text whose placeholders are replaced with private tokens of letters and digits.

    Attributes:
        original: the original text.
        text: the text with tokens.
        spans: the placeholders, in order; token ``n`` represents the one at position ``n``.
    """

    def __init__(self, original: str, spans: Iterable[Span]) -> None:
        self.original = original
        self.spans = tuple(spans)
        self._mark = "x" + sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._token = re.compile(self._mark + "n([0-9]+)x")
        self._starts: list[int] = []
        self._lines: list[int] | None = None
        pieces = []
        copied = length = 0
        for index, span in enumerate(self.spans):
            pieces += [original[copied : span.start], self.token(index)]
            self._starts.append(length + span.start - copied)
            length = self._starts[-1] + len(pieces[-1])
            copied = span.end
        self.text = "".join(pieces) + original[copied:]

    def token(self, index: int) -> str:
        """The token for one placeholder, or for anything else that is numbered."""
        return f"{self._mark}n{index}x"

    def indexes(self, text: str) -> list[int]:
        """The numbers of the tokens in a part of the parsed text, in order."""
        return [int(number) for number in self._token.findall(text)]

    def split(self, text: str) -> list[str]:
        """Text, number, text, number, …, text."""
        return self._token.split(text)

    def restore(self, text: str) -> str:
        """Replace the tokens in a part of the parsed text with their placeholders."""
        return self._token.sub(lambda match: self.spans[int(match.group(1))].source, text)

    def parse(self, text: str, language: TemplateLanguage, offset: int = 0) -> Template | str:
        """Parse a part of the parsed text as a template.

        Args:
            text: the part, unescaped, with tokens.
            language: the language to parse it in.
            offset: its offset in the original, for faults; not needed if it contains a placeholder.

        Raises:
            TemplateFault: it cannot be a template; has the offset in the original.
        """
        try:
            return language.parse(self.restore(text))
        except TemplateFault as fault:
            if first := self._token.search(text):
                offset = self.spans[int(first.group(1))].start - first.start()
            raise self.fault(fault.message, offset + fault.offset) from None

    def offset_of(self, parsed: int) -> int:
        """The offset in the original of an offset in the text with tokens."""
        index = bisect_right(self._starts, parsed) - 1
        if index < 0:
            return parsed
        behind = parsed - self._starts[index] - len(self.token(index))
        return self.spans[index].start if behind < 0 else self.spans[index].end + behind

    def offset_at(self, line: int, column: int) -> int:
        """The offset in the original of a line and a column, both from 0, of the text with tokens."""
        if self._lines is None:
            self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        start = self._lines[line] if line < len(self._lines) else len(self.text)
        return self.offset_of(min(start + column, len(self.text)))

    def fault(self, message: str, offset: int) -> TemplateFault:
        """A fault at an offset in the original."""
        return text_fault(self.original, offset, message)

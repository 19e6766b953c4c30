"""JSON text with placeholders, parsed before values are inserted, so that an answer cannot become structure.

A placeholder inside quotes is part of that text. Outside quotes it is a separate value and keeps its type, as in
``{"age": {{ step.age }}}``, which is common in real flows and is not JSON.
"""

from __future__ import annotations

import json
import re
from math import isfinite

from airflow_whatsapp_flows.flow.body.faults import MAX_DEPTH, check_length, text_fault
from airflow_whatsapp_flows.flow.body.leaves import AsText
from airflow_whatsapp_flows.flow.template.language import LITERAL, Template, TemplateFault, TemplateLanguage, Tree
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders
from airflow_whatsapp_flows.flow.template.spelling import holds_placeholder, opens_at, opens_statement

_BLANKS = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[^\s,\[\]{}\":]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_STOP_IN_STRING = re.compile(r'["\\]|\{\{')
_UNTIL_QUOTE = re.compile(r'(?:\\.|[^"\\])*', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_FOREIGN = {"True": "true", "False": "false", "None": "null", "undefined": "null", "nil": "null", "NULL": "null"}


def parse_json_text(text: str, language: TemplateLanguage) -> Tree:
    """Parse a JSON template.

    Args:
        text: JSON with placeholders, at most 65,536 characters, not blank.
        language: the language of its texts and placeholders.

    Returns:
        The value, with templates as leaves; templates inside quotes are always text.

    Raises:
        TemplateFault: it is not JSON, has a duplicate key, or a placeholder where none is allowed.
    """
    check_length(text)
    return _Parser(text, language).document()


class _Parser:
    """A recursive descent over RFC 8259 §2 to §7, with one addition: a placeholder is a value."""

    def __init__(self, text: str, language: TemplateLanguage) -> None:
        self._text = text
        self._language = language
        self._at = 0

    def document(self) -> Tree:
        tree = self._value(0)
        if self._next():
            raise self._fault(f"there is extra text after the JSON value; {self._advice()}")
        return tree

    def _next(self) -> str:
        """Skip whitespace and return the next character; empty at the end."""
        match = _BLANKS.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _fault(self, message: str, offset: int | None = None) -> TemplateFault:
        return text_fault(self._text, self._at if offset is None else offset, message)

    def _at_placeholder(self) -> bool:
        return self._language is not LITERAL and opens_at(self._text, self._at, self._language)

    def _value(self, depth: int) -> Tree:
        sign = self._next()
        if self._at_placeholder():
            return self._placeholder()
        if opens_statement(self._text, self._at, self._language):
            raise self._fault("a block {% … %} is allowed only inside quotes")
        if sign in ("{", "["):
            if depth >= MAX_DEPTH:
                raise self._fault(f"the body is nested deeper than {MAX_DEPTH} levels; flatten it")
            return self._object(depth + 1) if sign == "{" else self._list(depth + 1)
        if sign == '"':
            start = self._at + 1
            parsed = self._parse(self._text_in_quotes(), start)
            return parsed if isinstance(parsed, str) else AsText(parsed)
        return self._word(sign)

    def _object(self, depth: int) -> Tree:
        members: dict[str, Tree] = {}
        self._at += 1
        while self._next() != "}" or members:
            start = self._at
            key = self._key()
            if key in members:
                raise self._fault(f"the key {json.dumps(key)} appears twice in one object; keep one", start)
            if self._next() != ":":
                raise self._fault(f"':' is missing after the key {json.dumps(key)}")
            self._at += 1
            members[key] = self._value(depth)
            if self._ends("}"):
                return members
        self._at += 1
        return members

    def _list(self, depth: int) -> Tree:
        items: list[Tree] = []
        self._at += 1
        while self._next() != "]" or items:
            items.append(self._value(depth))
            if self._ends("]"):
                return items
        self._at += 1
        return items

    def _ends(self, closing: str) -> bool:
        sign = self._next()
        if sign not in (",", closing) or not sign:
            raise self._fault(f"',' or '{closing}' is missing here; {self._advice()}")
        self._at += 1
        return sign == closing

    def _advice(self) -> str:
        rest = self._text[self._at : self._at + 2]
        if not rest:
            return "the text ends unexpectedly"
        if rest in ("//", "/*"):
            return "JSON has no comments; remove it"
        return 'text, and a placeholder joined with text, must be in double quotes: "Hi {{ contact.first_name }}"'

    def _key(self) -> str:
        sign = self._next()
        start = self._at
        if self._at_placeholder():
            raise self._fault("a placeholder cannot be a key; an answer may be a value, never a name")
        if sign == "}":
            raise self._fault("a key must follow ','; remove the comma before '}'")
        if sign != '"':
            raise self._fault('a key in double quotes is expected here: "name"' if sign else "'}' is missing")
        key = self._text_in_quotes()
        if self._language is not LITERAL and holds_placeholder(key, self._language):
            raise self._fault("a placeholder cannot be in a key; an answer may be a value, never a name", start)
        return key

    def _placeholder(self) -> Tree:
        start = self._at
        source = self._source_at(start)
        self._at += len(source)
        return self._parse(source, start)

    def _source_at(self, start: int) -> str:
        try:
            return next(find_placeholders(self._text, self._language, start)).source
        except TemplateFault as fault:
            raise self._fault(fault.message, fault.offset) from None

    def _parse(self, text: str, start: int) -> Template | str:
        try:
            return self._language.parse(text)
        except TemplateFault as fault:
            raise self._fault(fault.message, start + fault.offset) from None

    def _word(self, sign: str) -> Tree:
        match = _WORD.match(self._text, self._at)
        word = match.group() if match else ""
        if word in _CONSTANTS:
            self._at += len(word)
            return _CONSTANTS[word]
        number = _NUMBER.fullmatch(word)
        if not number:
            raise self._fault(_about_word(word, sign))
        whole = number.group(1) is None and number.group(2) is None
        try:
            value: int | float = int(word) if whole else float(word)
        except ValueError:
            raise self._fault("the number has too many digits; put it in double quotes to send it as text") from None
        if isinstance(value, float) and not isfinite(value):
            raise self._fault(f"{word} is too large for a number; put it in double quotes to send it as text")
        self._at += len(word)
        return value

    def _text_in_quotes(self) -> str:
        """Parse the string at the current position, unescaped; moves to after its closing quote."""
        opening = copied = self._at
        at = opening + 1
        pieces = []
        while True:
            stop = _STOP_IN_STRING.search(self._text, at)
            if stop is None:
                raise self._fault("this text is never closed; write '\"' at its end", opening)
            if stop.group() == '"':
                break
            at = stop.end() + (1 if stop.group() == "\\" else 0)
            if stop.group() == "{{" and self._language is not LITERAL:
                at, source = self._placeholder_in_quotes(stop.start())
                pieces += [self._text[copied : stop.start()], source]
                copied = at
        self._at = stop.end()
        pieces.append(self._text[copied : self._at])
        try:
            return str(json.loads("".join(pieces)))
        except json.JSONDecodeError as error:
            raise self._fault(_about_string(error.msg), opening + error.pos) from None

    def _placeholder_in_quotes(self, start: int) -> tuple[int, str]:
        """The end of a placeholder inside quotes, and its source in JSON."""
        closing = self._text.find("}}", start + 2)
        until_quote = _UNTIL_QUOTE.match(self._text, start, max(closing, start))
        if closing >= 0 and until_quote and until_quote.end() == closing:
            source = self._text[start : closing + 2]
            return closing + 2, _CONTROL.sub(lambda sign: f"\\u{ord(sign.group()):04x}", source)
        # {{ x | default("a") }}: these quotes belong to the placeholder, although JSON wants them escaped.
        source = self._source_at(start)
        return start + len(source), json.dumps(source)[1:-1]


def _about_word(word: str, sign: str) -> str:
    if not word:
        if not sign:
            return "the text ends where a value is expected"
        return f"a value is missing before {sign!r}; remove the comma or write the value"
    if word in _FOREIGN:
        return f"{word} is not JSON; write {_FOREIGN[word]}"
    if word.lstrip("+-") in ("NaN", "Infinity"):
        return f"{word} is not JSON; write null"
    if word[0] == "'":
        return "text must be in double quotes, not in single quotes"
    if word.startswith(("//", "/*")):
        return "JSON has no comments; remove it"
    if word.lstrip("+-.")[:1].isdigit():
        return f'{word} is not a JSON number; to send it as text, put it in double quotes: "{word}"'
    return f'text must be in double quotes: "{word}"'


def _about_string(reason: str) -> str:
    if "control character" in reason:
        return r"a line break or other control character is inside quotes; write \n, \t or \u00XX"
    return rf"{reason[:1].lower()}{reason[1:]}; write a backslash as \\"

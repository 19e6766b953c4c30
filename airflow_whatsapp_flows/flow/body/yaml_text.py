"""YAML text with placeholders, parsed by the core schema of YAML 1.2.2 (§10.3) before values are inserted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.faults import MAX_DEPTH, check_length, text_fault
from airflow_whatsapp_flows.flow.body.leaves import AsText
from airflow_whatsapp_flows.flow.body.scalars import utf8
from airflow_whatsapp_flows.flow.body.tokens import Span, TokenText
from airflow_whatsapp_flows.flow.template.language import LITERAL, TemplateFault, TemplateLanguage, Tree, Value, fill
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders
from airflow_whatsapp_flows.flow.template.spelling import find_opening, find_statement

if TYPE_CHECKING:
    from yaml import Event, ScalarEvent

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|(false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


_SHORT = 10_000
"""Characters in a text that is parsed twice."""

MAX_VALUES = 20_000
"""Keys, scalars, lists, and objects in one document."""


class YamlTextError(ValueError):
    """Text that is not YAML, or contains more than plain data."""


def parse_yaml_text(text: str, language: TemplateLanguage) -> Tree:
    """Parse a YAML template.

    Args:
        text: one YAML document with placeholders, at most 65,536 characters.
        language: the language of its texts and placeholders.

    Returns:
        The value, with templates as leaves. A single placeholder without quotes keeps its type; in quotes or a block
        scalar it is text.

    Raises:
        TemplateFault: it is not YAML, has anchors, aliases, tags, several documents, or a duplicate key, or a
            placeholder in a key.
    """
    check_length(text)
    return _read(text, language)


def load_yaml(text: str) -> Value:
    """Parse YAML without placeholders, such as a reply: only plain data by the core schema.

    Args:
        text: one YAML document, of any length.

    Raises:
        YamlTextError: it is not YAML, has anchors, aliases, tags, several documents, or a duplicate key, or more values
            than :data:`MAX_VALUES`.
    """
    try:
        return fill(_read(text, LITERAL), {})
    except TemplateFault as fault:
        raise YamlTextError(fault.message) from None


def _read(text: str, language: TemplateLanguage) -> Tree:
    import yaml  # imported lazily: flows without YAML don't need it

    try:
        utf8(text)
    except RenderError as error:
        raise TemplateFault(str(error)) from None
    tokens = TokenText(text, _find_yaml_spans(text, language))
    try:
        return _parse_events(tokens, language)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        offset = tokens.offset_of(mark.index) if mark else 0
        raise tokens.fault(f"not YAML: {error.problem or error.context}", offset) from None
    except yaml.reader.ReaderError as error:
        offset = tokens.offset_of(error.position)
        raise tokens.fault(f"not YAML: {error.reason}; escape it, in double quotes", offset) from None


def _parse_events(tokens: TokenText, language: TemplateLanguage) -> Tree:
    import yaml

    if not yaml.__with_libyaml__:
        return _Reader(tokens, language, yaml.parse(tokens.text, Loader=yaml.SafeLoader)).document()
    try:
        # PyYAML's own scanner takes ten times as long, and checks up to a thousand open brackets for every next one.
        return _Reader(tokens, language, yaml.parse(tokens.text, Loader=yaml.CSafeLoader)).document()
    except yaml.YAMLError:
        if language is LITERAL or len(tokens.text) > _SHORT:
            raise
    # But it has better messages for faults in a template.
    return _Reader(tokens, language, yaml.parse(tokens.text, Loader=yaml.SafeLoader)).document()


def _find_yaml_spans(text: str, language: TemplateLanguage) -> Iterator[Span]:
    r"""Every placeholder; in double quotes its own quotes may be escaped: ``"{{ x | default(\"a\") }}"``."""
    if language is LITERAL:
        return
    end = 0
    while opening := find_opening(text, language, end):
        span = _span_with_escapes(text, opening) or _plain_span(text, opening.start(), language)
        yield span
        end = span.end


def _plain_span(text: str, start: int, language: TemplateLanguage) -> Span:
    try:
        found = next(find_placeholders(text, language, start))
    except TemplateFault as fault:
        raise text_fault(text, fault.offset, fault.message) from None
    return Span(found.start, found.end, found.source)


def _span_with_escapes(text: str, opening: re.Match[str]) -> Span | None:
    start, braces = opening.start(), opening.group() == "{{"
    end = text.find("}}", start) + 2 if braces else opening.end()
    source = text[start:end]
    if end < 2 or '\\"' not in source or (braces and _is_closed(source)):
        return None
    unescaped = re.sub(r"\\(.)", r"\1", source)
    return Span(start, end, unescaped) if not braces or _is_closed(unescaped) else None


def _is_closed(source: str) -> bool:
    try:
        return next(find_placeholders(source)).source == source
    except TemplateFault:
        return False


class _Reader:
    """Builds a tree from the parser's events, which are not resolved to types."""

    def __init__(self, tokens: TokenText, language: TemplateLanguage, events: Iterator[Event]) -> None:
        self._tokens = tokens
        self._language = language
        self._events = events
        self._values = 0

    def document(self) -> Tree:
        from yaml import DocumentEndEvent, DocumentStartEvent, StreamEndEvent, StreamStartEvent

        tree: Tree = None
        documents = 0
        for event in self._events:
            if isinstance(event, (StreamStartEvent, DocumentEndEvent, StreamEndEvent)):
                continue
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fault("a second document starts here; a body must be one document", event)
                if event.tags:
                    raise self._fault("%TAG is not allowed; a body contains plain data only", event)
            else:
                tree = self._node(event, 0)
        return tree

    def _fault(self, message: str, event: Event) -> TemplateFault:
        mark = event.start_mark
        return self._tokens.fault(message, self._tokens.offset_of(mark.index if mark else 0))

    def _node(self, event: Event, depth: int) -> Tree:
        from yaml import AliasEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent

        self._values += 1
        if self._values > MAX_VALUES:
            raise self._fault(f"more than {MAX_VALUES:,} values", event)
        if isinstance(event, AliasEvent):
            raise self._fault(f"the alias *{event.anchor} is not allowed; repeat the value", event)
        if not isinstance(event, (MappingStartEvent, ScalarEvent, SequenceStartEvent)):
            raise self._fault("a value is missing here", event)
        if event.anchor is not None:
            raise self._fault(f"the anchor &{event.anchor} is not allowed; remove it", event)
        if event.tag is not None:
            raise self._fault(
                f"the tag {event.tag} is not allowed; quotes make a value text, and without quotes it is a number",
                event,
            )
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if depth >= MAX_DEPTH:
            raise self._fault(f"the body is nested deeper than {MAX_DEPTH} levels; flatten it", event)
        return self._object(depth + 1) if isinstance(event, MappingStartEvent) else self._list(depth + 1)

    def _list(self, depth: int) -> Tree:
        from yaml import SequenceEndEvent

        items: list[Tree] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, depth))
        return items

    def _object(self, depth: int) -> Tree:
        from yaml import MappingEndEvent

        members: dict[str, Tree] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event)
            if key in members:
                raise self._fault(f"the key {key!r} appears twice in one object; keep one", event)
            members[key] = self._node(next(self._events), depth)
        return members

    def _key(self, event: Event) -> str:
        """Parse a key, which is always text: ``1:`` and ``"1":`` are the same."""
        from yaml import ScalarEvent

        if not isinstance(event, ScalarEvent) or (not event.value and not event.style):
            raise self._fault("a key must be text; put it in double quotes", event)
        self._node(event, 0)
        key = str(event.value)
        if self._tokens.indexes(key) or (
            find_statement(key, self._language) is not None and self._language is not LITERAL
        ):
            raise self._fault("a placeholder cannot be in a key; an answer may be a value, never a name", event)
        return key

    def _scalar(self, event: ScalarEvent) -> Tree:
        text = str(event.value)
        mark = event.start_mark
        offset = self._tokens.offset_of(mark.index if mark else 0)
        plain = not event.style  # libyaml says "" of plain text
        if plain and not self._tokens.indexes(text):
            known, value = self._resolve(text, event)
            if known:
                return value
        parsed = self._tokens.parse(text, self._language, offset)
        return parsed if plain or isinstance(parsed, str) else AsText(parsed)

    def _resolve(self, text: str, event: Event) -> tuple[bool, Tree]:
        if _NULL.fullmatch(text):
            return True, None
        if match := _BOOL.fullmatch(text):
            return True, match.group(1) is None
        if _NOT_FINITE.fullmatch(text):
            raise self._fault(f"{text} cannot be sent; write null, or put it in quotes", event)
        try:
            if _INT.fullmatch(text):
                return True, int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if not _FLOAT.fullmatch(text):
                return False, None
            value = float(text)
        except ValueError:
            raise self._fault("the number has too many digits; put it in quotes to send it as text", event) from None
        if not isfinite(value):
            raise self._fault(f"{text} is too large for a number; put it in quotes to send it as text", event)
        return True, value

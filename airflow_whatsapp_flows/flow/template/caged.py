"""The language of flow files: text with ``{{ … }}`` or ``%…%``, in a cage."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from airflow_whatsapp_flows.errors import MissingValueError
from airflow_whatsapp_flows.flow.template.cage import Expression, MissingPolicy, room_for_results
from airflow_whatsapp_flows.flow.template.filters import join_texts
from airflow_whatsapp_flows.flow.template.language import MAX_FAULTS, TemplateFault, Value
from airflow_whatsapp_flows.flow.template.placeholders import Placeholder, find_placeholders
from airflow_whatsapp_flows.flow.template.references import (
    Missing,
    Reference,
    parse_bare_reference,
    rewrite_references,
    unknown_name,
)
from airflow_whatsapp_flows.flow.template.sizes import Room
from airflow_whatsapp_flows.flow.template.spelling import Syntax, find_opening, find_statement
from airflow_whatsapp_flows.flow.template.variables import SCOPES, Lookups

MAX_TEMPLATE_BYTES = 64_000
"""Size that one text of a flow may have, in bytes of UTF-8."""

_SHORT = 65_536
"""Values of a text that have more characters than this are joined one by one, within its limit."""

MAX_IN_TEXT = 1_000
"""Placeholders in one text; each takes time to parse, and one with a filter takes as long as twenty without."""


def too_many_in_text(offset: int) -> TemplateFault:
    """The fault of the first placeholder beyond the limit."""
    return TemplateFault(f"the text has more than {MAX_IN_TEXT:,} placeholders; split it, or send fewer values", offset)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """The most frequent placeholder by far: one reference, without Jinja."""

    reference: Reference
    missing: MissingPolicy

    def evaluate(self, values: Mapping[str, object], _: Room | None = None) -> Value:
        value = self.reference.resolve(values)
        if not isinstance(value, Missing):
            return value
        if self.missing == "error":
            raise MissingValueError(f"{self.reference.text} has no value for this contact")
        return None if self.missing == "null" else ""


@dataclass(frozen=True, slots=True)
class CagedTemplate:
    """Parsed text of a flow.

    Attributes:
        text: the original text.
        parts: literal texts and placeholders, in order.
        references: every reference in it, in order.
        computes: whether any placeholder is more than a variable.
        lookups: the placeholders, if all are variables right below their scopes.
        frame: the literal texts before, between and behind those; empty ones too.
    """

    text: str
    parts: tuple[str | _Lookup | Expression, ...]
    references: tuple[Reference, ...]
    computes: bool
    lookups: Lookups | None = None
    frame: tuple[str, ...] = ()

    @property
    def variable(self) -> tuple[str, str] | None:
        """Scope and name, if it is a variable of a scope and nothing else."""
        part = self.parts[0] if len(self.parts) == 1 else None
        if not isinstance(part, _Lookup) or len(part.reference.path) != 1:
            return None
        return part.reference.scope, part.reference.path[0]

    def render(self, values: Mapping[str, object]) -> str:
        """See :class:`~airflow_whatsapp_flows.flow.template.language.Template`."""
        if self.lookups is not None:
            short = self._render_texts(self.lookups, values)
            if short is not None:
                return short
        room = room_for_results() if self.computes else None
        return join_texts(part if isinstance(part, str) else part.evaluate(values, room) for part in self.parts)

    def _render_texts(self, lookups: Lookups, values: Mapping[str, object]) -> str | None:
        """The text if all values are texts, as most are; ``None`` if there is anything unusual."""
        try:
            found: Sequence[Any] = lookups.find(values)
            if sum(map(len, found)) > _SHORT:  # a number has no length
                return None
            text = "".join(chain.from_iterable(zip(self.frame, found, strict=False)))
        except (LookupError, TypeError):
            return None
        return f"{text}{self.frame[-1]}"

    def evaluate(self, values: Mapping[str, object]) -> Value:
        """See :class:`~airflow_whatsapp_flows.flow.template.language.Template`."""
        if len(self.parts) == 1 and not isinstance(self.parts[0], str):
            return self.parts[0].evaluate(values)
        return self.render(values)


def _frame_of(parts: Sequence[str | _Lookup | Expression]) -> tuple[Lookups | None, tuple[str, ...]]:
    """What :attr:`CagedTemplate.lookups` and :attr:`CagedTemplate.frame` hold."""
    frame = [""]
    found: list[Reference] = []
    for part in parts:
        if isinstance(part, str):
            frame[-1] = part
            continue
        if not isinstance(part, _Lookup) or len(part.reference.path) != 1:
            return None, ()
        found.append(part.reference)
        frame.append("")
    return Lookups(tuple(one.scope for one in found), tuple(one.path[0] for one in found)), tuple(frame)


@dataclass(frozen=True, slots=True)
class CagedLanguage:
    """Parses the text of one flow.

    Attributes:
        steps: names of the flow's steps; ``None`` without a flow (then names need quotes).
        missing: what a reference without a value becomes.
        syntax: whether ``%contact.first_name%`` is also a placeholder.
        names: that placeholders may use; other than the scopes, they are plain expressions.
    """

    steps: Collection[str] | None = None
    missing: MissingPolicy = "error"
    syntax: Syntax = "hilos"
    names: Collection[str] = SCOPES

    def parse(self, text: str) -> CagedTemplate | str:
        """Parse one text.

        Returns:
            The text itself if it contains no placeholder.

        Raises:
            TemplateFault: it is too long, contains a statement, or a placeholder is not allowed; includes the other
                faults of the text, up to :data:`MAX_FAULTS`.
        """
        if len(text) > MAX_TEMPLATE_BYTES // 4 and (size := len(text.encode("utf-8", "replace"))) > MAX_TEMPLATE_BYTES:
            raise TemplateFault(f"the text has {size:,} bytes; at most {MAX_TEMPLATE_BYTES:,} are allowed")
        faults: list[TemplateFault] = []
        if (statement := find_statement(text, self)) is not None:
            message = (
                "flow templates have no statements ({% … %}); use a conditional expression: "
                "{{ 'a' if contact.first_name else 'b' }}"
            )
            faults.append(TemplateFault(message, statement))
        template = self._parse_placeholders(text, faults) if find_opening(text, self) else text
        if faults:
            first, *more = sorted(faults, key=lambda fault: fault.offset)
            raise TemplateFault(first.message, first.offset, more)
        return template

    def _parse_placeholders(self, text: str, faults: list[TemplateFault]) -> CagedTemplate:
        parts: list[str | _Lookup | Expression] = []
        references: list[Reference] = []
        position = 0
        try:
            for number, placeholder in enumerate(find_placeholders(text, self)):
                if number == MAX_IN_TEXT:
                    raise too_many_in_text(placeholder.start)
                if placeholder.start > position:
                    parts.append(text[position : placeholder.start])
                try:
                    part, read = self._parse_placeholder(placeholder)
                    parts.append(part)
                    references.extend(read)
                except TemplateFault as fault:
                    faults.append(TemplateFault(fault.message, placeholder.start))
                    if len(faults) == MAX_FAULTS:
                        break
                position = placeholder.end
        except TemplateFault as fault:  # nothing after an unclosed placeholder is a placeholder
            faults.append(fault)
        if position < len(text):
            parts.append(text[position:])
        computes = any(isinstance(part, Expression) for part in parts)
        return CagedTemplate(text, tuple(parts), tuple(references), computes, *_frame_of(parts))

    def parse_variable(self, text: str) -> Reference:
        """Parse a text that must be one variable, such as the field of a condition: bare, or as a placeholder.

        Raises:
            TemplateFault: it is not a variable, or refers to a step that the flow does not have.
        """
        name = text.strip()
        placeholder = next(find_placeholders(name, self), None)
        if placeholder is not None and placeholder.source == name:
            name = placeholder.expression
        reference = parse_bare_reference(name, self.steps)
        if reference is not None:
            return reference
        first = re.split(r"\W", name, maxsplit=1)[0]
        if first in SCOPES:
            raise TemplateFault(f"write one variable, such as {first}.name, without filters and operators")
        raise TemplateFault(unknown_name(first or name))

    def _parse_placeholder(self, placeholder: Placeholder) -> tuple[_Lookup | Expression, tuple[Reference, ...]]:
        expression = placeholder.expression
        if not expression:
            raise TemplateFault("'{{ }}' is empty; write a variable such as {{ contact.phone }}")
        if self.names is not SCOPES:
            return Expression(expression, self.names, self.missing), ()
        reference = parse_bare_reference(expression, self.steps)
        if reference is not None:
            return _Lookup(reference, self.missing), (reference,)
        if placeholder.is_percent:
            raise TemplateFault(
                f"{placeholder.source} is not a single variable; filters and operators need braces, such as "
                "{{ contact.first_name | upper }}"
            )
        source, references = rewrite_references(expression, self.steps)
        return Expression(source, SCOPES, self.missing), references

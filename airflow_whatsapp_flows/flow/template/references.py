"""References: ``contact.phone``, ``step.Ask name``, ``step.Start thread.response.items.0.id``."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.template.language import TemplateFault, Value
from airflow_whatsapp_flows.flow.template.variables import SCOPES, Scope

_SCOPE = re.compile(r"(?<![\w.\])])(contact|step|global|flow_execution_variables)\b(?=\s*[.\[])")
_SEGMENT = re.compile(
    r"""\s*\.\s*(?P<name>[^\W\d]\w*|\d+)
      | \s*\[\s*(?P<index>\d+)\s*\]
      | \s*\[\s*(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*\]""",
    re.VERBOSE,
)
_BARE_SEGMENT = re.compile(r"\s*\.\s*(?P<name>[^.\[\]|~()\"'=<>+*/%,{}]+)")
_OPERATOR_WORD = re.compile(r"(?:^|\s)(?:if|else|and|or|not|in|is)(?:\s|$)")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)


# Values consist of the first two; checking for Mapping itself costs five times as much.
_MAPPINGS = (dict, MappingProxyType, Mapping)


_STEP = Scope.STEP.value


class Missing:
    """The type of :data:`MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""What :meth:`Reference.resolve` returns when there is no value; ``None`` is a value."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A path to one value.

    Attributes:
        scope: ``contact``, ``step``, ``global`` or ``flow_execution_variables``.
        path: names below it; a name of digits is a position where a list stands.
        text: the original text.
    """

    scope: str
    path: tuple[str, ...]
    text: str

    def resolve(self, values: Mapping[str, object]) -> Value | Missing:
        """The value, or :data:`MISSING`."""
        value: object = values.get(self.scope)
        for name in self.path:
            if isinstance(value, _MAPPINGS):
                value = value.get(name, MISSING)
            elif isinstance(value, list) and (index := list_position(name)) is not None and index < len(value):
                value = value[index]
            else:
                return MISSING
        return value  # type: ignore[return-value]  # values hold plain data by contract

    def as_jinja(self) -> str:
        """The reference in Jinja syntax, ``step["Ask name"]["response"]``."""
        return self.scope + "".join(f"[{json.dumps(name, ensure_ascii=False)}]" for name in self.path)

    @property
    def step(self) -> str | None:
        """Name of the step that it refers to, if any."""
        return self.path[0] if self.scope == _STEP else None


def parse_bare_reference(expression: str, steps: Collection[str] | None) -> Reference | None:
    """Parse an entire expression as one reference in the platform's syntax: unquoted, spaces allowed.

    Args:
        expression: the text between ``{{`` and ``}}``, stripped.
        steps: names of the flow's steps; ``None`` when no flow is known.

    Returns:
        ``None`` if it is not a single reference; it may be an expression.

    Raises:
        TemplateFault: it reads a step that the flow does not have.
    """
    match = _SCOPE.match(expression)
    if match is None:
        return None
    scope, end = match.group(1), match.end()
    path: list[str] = []
    if scope == _STEP and steps is not None:
        name, end = _step_name(expression, end, steps)
        path.append(name)
    while end < len(expression):
        segment = _segment(expression, end, bare=True)
        if segment is None:
            return None
        name, end = segment
        path.append(name)
    if any(name.startswith("__") for name in path):
        raise TemplateFault(f"{expression!r}: names that start with '__' belong to Python, not to data")
    return Reference(scope, tuple(path), expression)


def rewrite_references(expression: str, steps: Collection[str] | None) -> tuple[str, tuple[Reference, ...]]:
    """Turn every reference in an expression into Jinja's syntax.

    Step names are matched against the flow's own, longest first, so they may contain spaces and dots.

    Returns:
        The expression for Jinja, and the references in it.

    Raises:
        TemplateFault: it reads a step that the flow does not have.
    """
    pieces: list[str] = []
    references: list[Reference] = []
    position = 0
    while position < len(expression):
        quoted = _QUOTED.match(expression, position)
        if quoted:
            pieces.append(quoted.group())
            position = quoted.end()
            continue
        match = _SCOPE.match(expression, position)
        if match is None:
            pieces.append(expression[position])
            position += 1
            continue
        start, end, path = position, match.end(), list[str]()
        if match.group(1) == _STEP and steps is not None:
            name, end = _step_name(expression, end, steps)
            path.append(name)
        while (segment := _segment(expression, end, bare=False)) is not None:
            name, end = segment
            path.append(name)
        reference = Reference(match.group(1), tuple(path), expression[start:end])
        references.append(reference)
        pieces.append(reference.as_jinja())
        position = end
    return "".join(pieces), tuple(references)


def _segment(text: str, position: int, *, bare: bool) -> tuple[str, int] | None:
    match = _BARE_SEGMENT.match(text, position) if bare else None
    if match is not None:
        name = match.group("name").strip()
        return None if not name or _OPERATOR_WORD.search(name) else (name, match.end())
    match = _SEGMENT.match(text, position)
    if match is None:
        return None
    if match.group("quoted"):
        return _unquote(match.group("quoted")), match.end()
    return match.group("name") or match.group("index"), match.end()


def _step_name(text: str, position: int, steps: Collection[str]) -> tuple[str, int]:
    rest = text[position:].lstrip()
    start = len(text) - len(rest)
    if rest.startswith("["):
        match = _SEGMENT.match(text, position)
        if match is None or not match.group("quoted"):
            raise TemplateFault('write the name of a step, such as step.Ask name or step["Ask name"]', position)
        name, end = _unquote(match.group("quoted")), match.end()
        if name not in steps:
            raise TemplateFault(_unknown_step(name, steps), start)
        return name, end
    after_dot = rest[1:].lstrip()
    start = len(text) - len(after_dot)
    for name in _longest_first(frozenset(steps)):
        if after_dot.startswith(name) and not re.match(r"\w", after_dot[len(name) :]):
            return name, start + len(name)
    written = re.split(r"\.response\b|[|~()\[\]=<>,}]|\.", after_dot, maxsplit=1)[0].strip()
    raise TemplateFault(_unknown_step(written, steps), start)


@lru_cache(maxsize=16)
def _longest_first(steps: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(steps, key=len, reverse=True))


def list_position(name: str) -> int | None:
    """The list position for a name of digits; ``None`` for any other name."""
    return int(name) if name.isascii() and name.isdecimal() and len(name) <= 9 else None


def _unknown_step(name: str, steps: Collection[str]) -> str:
    return f"there is no step named {name!r}{did_you_mean(name, steps)}"


def _unquote(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1])


def unknown_name(name: str) -> str:
    """The message for a first word that is not a scope."""
    hint = ""
    if name in {"conn", "var", "macros", "ti", "dag", "dag_run", "task", "params", "ds"}:
        hint = "; a flow never sees Airflow's connections, variables, macros or context"
    return f"{name!r} is not a variable of a flow{hint}; allowed: {', '.join(sorted(SCOPES))}"

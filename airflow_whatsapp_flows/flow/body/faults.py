"""Faults in the body of a flow, with their locations, and limits on its size."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping

from airflow_whatsapp_flows.flow.template.language import MAX_FAULTS, Data, TemplateFault, TemplateLanguage, TreeFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders

MAX_DEPTH = 64
"""Nesting depth of objects and lists; deeper ones exhaust the stack of common parsers."""

MAX_TEXT = 65_536
"""Characters in a text body, which is the limit of every template."""

_ESCAPE = re.compile(r"[\\&%+]")

Path = tuple[str | int, ...]
"""Keys and list positions from the top of a body to a leaf."""


def where_of(path: Path) -> str:
    """Format a path, such as ``tags[0].name``; empty for the root."""
    place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return place.removeprefix(".")


def text_fault(text: str, offset: int, message: str) -> TemplateFault:
    """A fault in the text of a body; the message starts with line and column, counted from 1."""
    offset = max(0, min(offset, len(text)))
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return TemplateFault(f"line {line}, column {column} of the body: {message}", offset)


def with_other_faults(text: str, fault: TemplateFault, language: TemplateLanguage) -> TemplateFault:
    """Add the faults of the other placeholders to the fault that stopped the parser of a text."""
    if len(text) > MAX_TEXT or isinstance(fault, TreeFault):
        return fault
    found = [fault, *fault.more]
    reported = {one.offset for one in found}
    with contextlib.suppress(TemplateFault):  # the parser reports an unclosed placeholder
        for placeholder in find_placeholders(text, language):
            if len(found) >= MAX_FAULTS:
                break
            # Escapes of the body's syntax are not yet removed from the expression.
            if placeholder.start in reported or _ESCAPE.search(placeholder.expression):
                continue
            try:
                language.parse(placeholder.source)
            except TemplateFault as other:
                found.append(text_fault(text, placeholder.start, other.message))
    return TemplateFault(fault.message, fault.offset, found[1:])


def check_length(text: str) -> None:
    """Check the length of a body text before it is parsed.

    Raises:
        TemplateFault: it has more than :data:`MAX_TEXT` characters.
    """
    if len(text) > MAX_TEXT:
        raise TemplateFault(f"the body has {len(text)} characters; a template can have at most {MAX_TEXT}")


def check_depth(value: object, path: Path = ()) -> None:
    """Check the nesting depth of data before anything else traverses it.

    Raises:
        TreeFault: it is nested more than :data:`MAX_DEPTH` deep; has the path.
    """
    if isinstance(value, Data):
        value = value.value
    if isinstance(value, (Mapping, list, tuple)) and len(path) >= MAX_DEPTH:
        raise TreeFault(f"the body is nested deeper than {MAX_DEPTH} levels; flatten it", path=path)
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_depth(item, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check_depth(item, (*path, index))

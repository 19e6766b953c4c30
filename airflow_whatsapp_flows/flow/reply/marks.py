"""Marks in recorded texts: each names the value that was there, and the form and case that it was written in.

``***{contact.email}***``, ``***{contact.email|base64}***``, ``***{contact.email||upper}***``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from airflow_whatsapp_flows.flow.secrets import HIDDEN

_Shown = TypeVar("_Shown")

OPEN = f"{HIDDEN}{{"
"""The start of a mark."""
MARK = re.compile(r"\*\*\*\{([^{}]*)\}\*\*\*")
"""One mark; its group holds the name, the form, and the case."""
_WRITTEN = f"{HIDDEN}{{=}}{HIDDEN}{{"
"""Replaces ``***{`` in text from a server, which would otherwise be taken for a mark."""
NUMBER = f"{HIDDEN}{{#}}{HIDDEN}"
"""Precedes what was a number, not a string."""


def mark(name: str, form: str, text: str, found: str) -> str:
    """The mark for a text.

    Args:
        name: of the value.
        form: of :data:`~airflow_whatsapp_flows.flow.secrets.FORMS`.
        text: the value in this form.
        found: the same as it was found, perhaps in another case.
    """
    parts = [name, form, _case_of(text, found)]
    return f"{OPEN}{'|'.join(parts).rstrip('|')}}}{HIDDEN}"


def in_case(text: str, case: str) -> str:
    """A text in the case that a mark says."""
    if case in ("", "lower", "upper"):
        return text.lower() if case == "lower" else text.upper() if case == "upper" else text
    try:
        swapped = int(case, 16)
    except ValueError:
        return text
    return "".join(one.swapcase() if swapped >> index & 1 else one for index, one in enumerate(text))


def escape(value: Any) -> Any:
    """Plain data in which what a server wrote is no mark."""
    if isinstance(value, str):
        return value.replace(OPEN, _WRITTEN)
    if isinstance(value, Mapping):
        return {escape(key): escape(item) for key, item in value.items()}
    return [escape(item) for item in value] if isinstance(value, list) else value


def without_marks(value: _Shown) -> _Shown:
    """A recorded text, or other plain data, with ``***`` for each mark: for what people read."""
    return cast(_Shown, _without_marks(value))


def _without_marks(value: Any) -> Any:
    if isinstance(value, str):
        if OPEN not in value:
            return value
        return MARK.sub(HIDDEN, value.removeprefix(NUMBER).replace(_WRITTEN, OPEN))
    if isinstance(value, Mapping):
        return {_without_marks(key): _without_marks(item) for key, item in value.items()}
    return [_without_marks(item) for item in value] if isinstance(value, list) else value


def _case_of(text: str, found: str) -> str:
    """In which case a text was found; empty where it is as the text itself has it."""
    if found == text:
        return ""
    if found in (text.lower(), text.upper()):
        return "lower" if found == text.lower() else "upper"
    swapped = sum(1 << index for index, pair in enumerate(zip(text, found, strict=False)) if pair[0] != pair[1])
    return f"{swapped:x}"

"""The platform's ten comparisons."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_whatsapp_flows.flow.moments import parse_iso
from airflow_whatsapp_flows.flow.numbers import parse_number
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import Template, Value
from airflow_whatsapp_flows.flow.template.references import Missing, Reference

if TYPE_CHECKING:
    from airflow_whatsapp_flows.flow.format import Comparison

_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_LONGEST_TIME = 100
_PART = 65_536


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a contact's value.

    Attributes:
        field: what is compared; where it has no value, it counts as ``null``.
        comparison: one of the ten.
        value: what it is compared with.
    """

    field: Reference
    comparison: Comparison
    value: Template | str | int | float | bool | None

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it is true of a contact.

        Raises:
            RenderError: its value is a template that cannot be rendered.
        """
        found = self.field.resolve(values)
        actual: Value = None if isinstance(found, Missing) else found
        expected = self.value
        if expected is None or isinstance(expected, (str, int, float, bool)):
            return compare(actual, self.comparison, expected)
        return compare(actual, self.comparison, expected.evaluate(values))


def compare(actual: Value, comparison: Comparison, expected: Value) -> bool:
    """Compare two values.

    ``exact`` compares as text, since the platform keeps every value as text; ``icontains`` folds case;
    ``gt``, ``gte``, ``lt``, ``lte`` compare numbers, else dates, else times of day, and are false of all else; an empty
    text counts as null; ``isnull`` with the value ``"false"`` asks for the opposite, as the editor's
    "is empty: No" does.

    Args:
        actual: the contact's value.
        comparison: one of the ten; a leading ``!`` negates.
        expected: what the flow says.
    """
    negated = comparison.startswith("!")
    name = comparison.lstrip("!")
    if name == "isnull":
        wanted = text_of(expected).strip().lower() not in ("false", "no", "0")
        result = (actual is None or actual in ("", [], {})) == wanted
    elif name == "exact":
        result = actual is not None and text_of(actual) == text_of(expected)
    elif name == "icontains":
        result = actual is not None and _contains(actual, text_of(expected).casefold())
    else:
        return _ordered(actual, expected, _ORDER[name])
    return result != negated


def _contains(actual: Value, wanted: str) -> bool:
    if isinstance(actual, list):
        return any(_is_in(wanted, text_of(item)) for item in actual)
    return _is_in(wanted, text_of(actual))


def _is_in(wanted: str, text: str) -> bool:
    """Whether a folded text is in a text, in any case."""
    if len(text) <= _PART:
        return wanted in text.casefold()
    # Folding takes room for three times as many letters. Each is folded by itself, so a long text is searched in parts.
    window = ""
    for at in range(0, len(text), _PART):
        window = window[max(0, len(window) - len(wanted)) :] + text[at : at + _PART].casefold()
        if wanted in window:
            return True
    return False


def _ordered(actual: Value, expected: Value, order: Callable[[float, float], bool]) -> bool:
    for read in _ORDERED:
        left, right = read(actual), read(expected)
        if left is not None and right is not None:
            return order(left, right)
    return False


def check_ordered(expected: Value) -> None:
    """Check that a literal of the flow can be compared by ``gt``, ``gte``, ``lt`` or ``lte``.

    Raises:
        ValueError: it is neither a number, a date nor a time of day, so the comparison would be false of everything.
    """
    if all(read(expected) is None for read in _ORDERED):
        raise ValueError(
            "gt, gte, lt, and lte compare numbers, dates, and times of day; write a number, a date such as 2026-11-22 "
            "or a time such as 21:30"
        )


def _number(value: Value) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        # A whole number may be too large for a float.
        return value if isinstance(value, int) or math.isfinite(value) else None
    return parse_number(value) if isinstance(value, str) else None


def _moment(value: Value) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = parse_iso(value.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)).timestamp()


def _time_of_day(value: Value) -> float | None:
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) and len(value) < _LONGEST_TIME else None
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)


_ORDERED: tuple[Callable[[Value], float | None], ...] = (_number, _moment, _time_of_day)
"""Types to compare both sides as; the first that both sides have is used."""

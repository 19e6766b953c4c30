"""The platform's ten comparisons."""

from __future__ import annotations

import datetime as dt
import math
import operator
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
    ``gt``, ``gte``, ``lt``, ``lte`` compare numbers, else dates, and are false of anything else; an empty
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
        return any(wanted in text_of(item).casefold() for item in actual)
    return wanted in text_of(actual).casefold()


def _ordered(actual: Value, expected: Value, order: Callable[[float, float], bool]) -> bool:
    for read in (_number, _moment):
        left, right = read(actual), read(expected)
        if left is not None and right is not None:
            return order(left, right)
    return False


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

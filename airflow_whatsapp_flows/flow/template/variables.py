"""The values of one contact at one point in time, by scope."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from operator import getitem
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from airflow_whatsapp_flows.flow.template.language import Value

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Scope(str, Enum):
    """Where a value comes from; the first word of every reference.

    The four scopes of the platform (Hilos, "Flow variables").
    """

    CONTACT = "contact"
    STEP = "step"
    GLOBAL = "global"
    FLOW_EXECUTION_VARIABLES = "flow_execution_variables"


SCOPES = frozenset(scope.value for scope in Scope)
BUILT_IN_FIELDS = ("first_name", "last_name", "phone", "email", "external_url")
"""The platform's own fields of a contact."""
_NOTHING: Mapping[str, Value] = MappingProxyType({})


class Variables(Mapping[str, Mapping[str, Value]]):
    """The immutable values of one contact at one point in time: a mapping from scope to values.

    Args:
        contact: ``phone``, ``first_name``, …; keys of its ``meta`` can also be read without ``meta``, and a built-in
            field wins over a custom one with the same name.
        step: answers by question name, results by action name.
        global_variables: see :func:`global_variables`.
        flow_execution_variables: values passed when the flow started.
    """

    __slots__ = ("_scopes", "get")

    get: Callable[..., Any]
    """The values of a scope: the method of the dict itself, because it is called for every placeholder."""

    def __init__(
        self,
        *,
        contact: Mapping[str, Value] | None = None,
        step: Mapping[str, Value] | None = None,
        global_variables: Mapping[str, Value] | None = None,
        flow_execution_variables: Mapping[str, Value] | None = None,
    ) -> None:
        contact = contact or _NOTHING
        meta = contact.get("meta")
        self._scopes: dict[str, Mapping[str, Value]] = {
            "contact": MappingProxyType({**meta, **contact} if isinstance(meta, dict) else dict(contact)),
            "step": MappingProxyType(dict(step)) if step else _NOTHING,
            "global": MappingProxyType(dict(global_variables)) if global_variables else _NOTHING,
            "flow_execution_variables": (
                MappingProxyType(dict(flow_execution_variables)) if flow_execution_variables else _NOTHING
            ),
        }
        self.get = self._scopes.get

    def __getitem__(self, scope: str) -> Mapping[str, Value]:
        return self._scopes[scope]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scopes)

    def __len__(self) -> int:
        return len(self._scopes)

    def with_step(self, name: str, value: Value) -> Variables:
        """The same values plus ``step.<name>``."""
        return self._with_scope("step", {**self._scopes["step"], name: value})

    def with_contact(self, changes: Mapping[str, Value], meta: Mapping[str, Value]) -> Variables:
        """The same values, with some contact fields changed.

        Args:
            changes: built-in fields.
            meta: custom fields; one with the name of a built-in field can only be read as ``contact.meta.<name>``.
        """
        contact = dict(self._scopes["contact"])
        if meta:
            known = contact.get("meta")
            contact["meta"] = {**(known if isinstance(known, dict) else {}), **meta}
            contact.update((name, value) for name, value in meta.items() if name not in (*BUILT_IN_FIELDS, "meta"))
        contact.update(changes)
        return self._with_scope("contact", contact)

    def _with_scope(self, scope: str, values: dict[str, Value]) -> Variables:
        other = object.__new__(Variables)
        other._scopes = scopes = self._scopes.copy()
        scopes[scope] = MappingProxyType(values)
        other.get = scopes.get
        return other


_look_up: Callable[[Any, str], Value] = getitem


class Lookups(Struct, frozen=True):
    """Variables right below their scopes, which are looked up without a step in Python for each.

    Attributes:
        scopes: of each variable.
        names: of each variable.
    """

    scopes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def find(self, values: Mapping[str, Any]) -> list[Value]:
        """The values of the variables, in order.

        Raises:
            LookupError: one is missing.
            TypeError: there is no such scope.
        """
        return list(map(_look_up, map(values.get, self.scopes), self.names))


def global_variables(now: dt.datetime) -> dict[str, Value]:
    """The platform's ``global`` values at one point in time.

    The platform documents only ``Weekday``; the other names are ours.

    Args:
        now: an aware time in the flow's own zone.

    Returns:
        ``Weekday`` (``"Monday"``), ``Date`` (``"2026-11-22"``), ``Time`` (``"16:04"``) and
        ``Datetime`` (ISO 8601 with offset, to the second).
    """
    iso = now.isoformat(timespec="seconds")
    return {"Weekday": _WEEKDAYS[now.weekday()], "Date": iso[:10], "Time": iso[11:16], "Datetime": iso}

"""A contact response: the recorded answers of one contact, from which a walk starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.format import VariableFormat
from airflow_whatsapp_flows.flow.phones import has_several_phones
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.template.language import Value

_NOTHING: Mapping[str, Any] = {}
_SCOPES = ("contact", "step", "global", "flow_execution_variables")
_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "bool": (bool,),
    "list": (list,),
    "object": (dict,),
}


class ContactResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The recorded answers of one contact.

    Attributes:
        id: identifies the response; part of every idempotency key.
        contact: ``phone``, ``first_name``, …; custom fields in ``meta``.
        step: answers by the name of their question or menu; ``null`` is an answer, an absent name is none.
        global_variables: added to the flow's own ``global`` values.
        flow_execution_variables: values passed when the flow started.
        created_on: when it was recorded, as written.
        history: every answer of a question or menu that was answered more than once, by step, in order; a visit takes
            the next one that fits. Without a history there is one answer, that of ``step``; each is used once.
        actions: results of actions that ran already, by step, one per visit. A walk uses successes and sends the
            others again.
        exits: by which exit a step was left, where that is known and no more. A walk takes an action that was left by
            ``success`` as done, without a reply that later steps could read.
    """

    id: str | None = None
    contact: Mapping[str, Value] = msgspec.field(default_factory=dict)
    step: Mapping[str, Value] = msgspec.field(default_factory=dict)
    global_variables: Mapping[str, Value] = msgspec.field(name="global", default_factory=dict)
    flow_execution_variables: Mapping[str, Value] = msgspec.field(default_factory=dict)
    created_on: str | None = None
    history: Mapping[str, tuple[Value, ...]] = msgspec.field(default_factory=dict)
    actions: Mapping[str, tuple[Mapping[str, Value], ...]] = msgspec.field(default_factory=dict)
    exits: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Its ID, or a hash of the answers: two contacts without an ID must not share an idempotency key."""
        if self.id is not None:
            return self.id
        parts: list[object] = [self.contact, self.step, self.flow_execution_variables, self.created_on]
        if self.history:
            parts.append(self.history)
        text = json.dumps(parts, sort_keys=True, default=str)
        return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"

    def answers(self, step: str, used: int = 0) -> tuple[Value, ...]:
        """The remaining answers to a question or menu, in order; empty if there are none.

        Args:
            step: its name.
            used: answers that are over: each was given once, and a later visit does not get it again.
        """
        if not self.history:
            return (self.step[step],) if not used and step in self.step else ()
        answers = self.history.get(step, ())
        # The last answer of a history stands in 'step' too.
        if step in self.step and (not answers or answers[-1] != self.step[step]):
            answers = (*answers, self.step[step])
        return answers[used:]

    def check_actions(self) -> None:
        """Check that recorded results can be read.

        Raises:
            ResponseError: one is not the result of an action; names the step.
        """
        for step, results in self.actions.items():
            for result in results:
                try:
                    ActionResult.from_value(result)
                except ResponseError as error:
                    raise ResponseError(f"actions.{step}: {error}") from None


KEYS = dict.fromkeys(ContactResponse.__struct_encode_fields__)
"""Keys of a contact response as plain data, in the order of its fields."""


def read_response(value: object) -> ContactResponse:
    """Read a contact response from plain data.

    Args:
        value: ``{"id", "contact", "step", "flow_execution_variables", "created_on", "history", "actions",
            "exits"}``, all optional, nested or with dotted names as in CSV:
            ``{"contact.phone": "+52…", "step.Ask name": "Ana"}``. A dotted name goes before a nested one, and says
            nothing when it is ``null``.

    Raises:
        ResponseError: it is not an object, contains an unknown key, or a part has the wrong type.
    """
    response = None
    if type(value) is dict:  # of any other mapping, msgspec would drop the keys that it does not know
        with suppress(msgspec.ValidationError, UnicodeEncodeError):  # a history, dotted names, or what is wrong
            response = msgspec.convert(value, PlainResponse).as_response()
    return response or _read_each(value)


class PlainResponse(Struct, forbid_unknown_fields=True):
    """A response as most are: with plain parts only, and without results of the platform."""

    id: str | None = None
    contact: dict[str, Any] = {}
    step: dict[str, Any] = {}
    global_variables: dict[str, Any] = msgspec.field(name="global", default_factory=dict)
    flow_execution_variables: dict[str, Any] = {}
    created_on: str | None = None

    def as_response(self) -> ContactResponse | None:
        """The response; ``None`` if a phone number may be several."""
        phone, canonical = self.contact.get("phone"), self.contact.get("canonical_phone")
        if (phone is not None and has_several_phones(phone)) or (
            canonical is not None and has_several_phones(canonical)
        ):
            return None
        return ContactResponse(
            id=self.id or None,
            contact=self.contact,
            step=self.step,
            global_variables=self.global_variables,
            flow_execution_variables=self.flow_execution_variables,
            created_on=self.created_on or None,
        )


def _read_each(value: object) -> ContactResponse:
    """Read a response part by part, and say what is wrong with it."""
    if not isinstance(value, Mapping):
        raise ResponseError(f"a contact response must be an object, not {_kind(value)}")
    nested = _nest(value)
    if not nested.keys() <= KEYS.keys():
        key = next(key for key in nested if key not in KEYS)
        raise ResponseError(f"unknown key {str(key)!r} in the contact response{did_you_mean(str(key), KEYS)}")
    contact = _scope(nested, "contact")
    for key in ("phone", "canonical_phone"):
        if key in contact and has_several_phones(contact[key]):
            raise ResponseError(
                f"contact.{key} must be one phone number, not a list; make a separate response for each"
            )
    return ContactResponse(
        id=_text(nested, "id"),
        contact=contact,
        step=_scope(nested, "step"),
        global_variables=_scope(nested, "global"),
        flow_execution_variables=_scope(nested, "flow_execution_variables"),
        created_on=_text(nested, "created_on"),
        history=_history(nested["history"]) if "history" in nested else {},
        actions=_actions(nested["actions"]) if "actions" in nested else {},
        exits=_exits(nested["exits"]) if "exits" in nested else {},
    )


def _scope(nested: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = nested.get(name, _NOTHING)
    if not isinstance(value, (dict, Mapping)):  # a check for Mapping itself costs five times as much
        raise ResponseError(f"{name!r} of a contact response must be an object, not {_kind(value)}")
    return value


def _nest(value: Mapping[Any, Any]) -> Mapping[str, Any]:
    if "." not in "".join(map(str, value)):
        return value
    nested: dict[str, Any] = {str(key): item for key, item in value.items() if "." not in str(key)}
    for key, item in value.items():
        scope, dot, name = str(key).partition(".")
        # A cell of a table and a field of a form have no null: left blank, they say nothing.
        if not dot or item is None:
            continue
        if scope not in _SCOPES:
            raise ResponseError(f"unknown key {key!r} in the contact response; dotted names start with {_SCOPES}")
        inner = nested.setdefault(scope, {})
        if not isinstance(inner, Mapping):
            raise ResponseError(f"{scope!r} and {key!r} cannot both be in the contact response")
        nested[scope] = _with(dict(inner), name, item, scope)
    return nested


def _with(inner: dict[str, Any], name: str, item: Any, scope: str) -> dict[str, Any]:
    head, dot, rest = name.partition(".")
    # Only contact.meta has a level of its own; the name of a step may hold dots.
    if scope != "contact" or not dot or head != "meta":
        return {**inner, name: item}
    meta = inner.get("meta")
    if meta is not None and not isinstance(meta, Mapping):
        raise ResponseError(f"'contact.meta' and 'contact.{name}' cannot both be in the contact response")
    return {**inner, "meta": {**(meta or {}), rest: item}}


def _text(nested: Mapping[str, Any], key: str) -> str | None:
    value = nested.get(key)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ResponseError(f"{key!r} of a contact response must be text, not {_kind(value)}")


def _actions(value: object) -> dict[str, tuple[Mapping[str, Value], ...]]:
    if not isinstance(value, Mapping):
        raise ResponseError(f"'actions' of a contact response must be an object, not {_kind(value)}")
    actions: dict[str, tuple[Mapping[str, Value], ...]] = {}
    for step, results in value.items():
        listed = results if isinstance(results, list) else [results]
        if not all(isinstance(result, Mapping) for result in listed):
            raise ResponseError(f"'actions.{step}' must be a list of results, one per visit")
        actions[str(step)] = tuple(listed)
    return actions


def _history(value: object) -> dict[str, tuple[Value, ...]]:
    if not isinstance(value, (list, tuple)):
        raise ResponseError(f"'history' of a contact response must be a list, not {_kind(value)}")
    history: dict[str, tuple[Value, ...]] = {}
    for index, entry in enumerate(value):
        if not isinstance(entry, Mapping) or set(entry) != {"step", "value"} or not isinstance(entry["step"], str):
            raise ResponseError(f"'history[{index}]' must be an object with 'step', a name, and 'value'")
        history[entry["step"]] = (*history.get(entry["step"], ()), entry["value"])
    return history


def _exits(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ResponseError(f"'exits' of a contact response must be an object, not {_kind(value)}")
    for step, taken in value.items():
        if not isinstance(taken, str):
            raise ResponseError(f"'exits.{step}' must be the name of an exit, not {_kind(taken)}")
    return {str(step): taken for step, taken in value.items()}


def with_defaults(values: Mapping[str, Value], declared: Mapping[str, VariableFormat]) -> dict[str, Value]:
    """The flow's execution variables, with defaults.

    Args:
        values: as given.
        declared: what the flow declares.

    Raises:
        ResponseError: a required one is absent, or one has another type than declared.
    """
    complete = dict(values)
    for name, variable in declared.items():
        if name not in complete:
            if variable.required:
                raise ResponseError(f"flow_execution_variables.{name} is required, but is missing")
            complete[name] = variable.default
            continue
        value = complete[name]
        kinds = _KINDS[variable.type]
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise ResponseError(f"flow_execution_variables.{name} must be a {variable.type}, not {_kind(value)}")
    return complete


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), "a list" if isinstance(value, (list, tuple)) else "an object")

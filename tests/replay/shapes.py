"""The flows used in replay tests, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A flow to replay, and what the checker must know of it.

    Attributes:
        steps: of the flow file; ``{url}`` stands for the CRM.
        paths: path at the CRM to the step's name.
        delivery: mode of each action.
        safe: steps that change nothing.
    """

    steps: Sequence[Mapping[str, Any]]
    paths: Mapping[str, str]
    delivery: Mapping[str, str]
    safe: frozenset[str] = frozenset()


def _action(name: str, path: str, **keys: Any) -> dict[str, Any]:
    body = {"body_type": "json", "body": {"phone": "{{ contact.phone }}", "step": name}}
    if keys.get("method") == "GET":
        body = {"query_params": {"phone": "{{ contact.phone }}"}}
    retry = {"attempts": 3, "wait": 0.05, "max_wait": 1}
    return {"name": name, "type": "action", "url": "{url}" + path, "timeout": 5, "retry": retry, **body, **keys}


_SYNCED = {"phone": "{{ contact.phone }}", "name": "{{ contact.first_name }}"}

SHAPES: Mapping[str, Shape] = {
    "post": Shape([_action("Create", "/create")], {"/create": "Create"}, {"Create": "at_most_once"}),
    "two_steps": Shape(
        [
            _action("Create", "/create", on_success="Note", on_error="Tell"),
            _action("Note", "/note"),
            _action("Tell", "/tell", method="PUT"),
        ],
        {"/create": "Create", "/note": "Note", "/tell": "Tell"},
        {"Create": "at_most_once", "Note": "at_most_once", "Tell": "idempotent"},
    ),
    "loop": Shape(
        [
            _action("Create", "/create", max_visits=3, on_max_visits="Give up", on_error="Create"),
            {"name": "Give up", "type": "end", "state": "failed", "reason": "three times in vain"},
        ],
        {"/create": "Create"},
        {"Create": "at_most_once"},
    ),
    "keyed": Shape([_action("Create", "/create", delivery="keyed")], {"/create": "Create"}, {"Create": "keyed"}),
    "sync_keyed": Shape(
        [_action("Save", "/save", delivery="keyed", body=_SYNCED)], {"/save": "Save"}, {"Save": "keyed"}
    ),
    "sync_put": Shape(
        [_action("Save", "/save", method="PUT", body=_SYNCED)], {"/save": "Save"}, {"Save": "idempotent"}
    ),
    "idempotent": Shape([_action("Put", "/put", method="PUT")], {"/put": "Put"}, {"Put": "idempotent"}),
    "get_then_post": Shape(
        [_action("Find", "/find", method="GET", on_success="Create"), _action("Create", "/create")],
        {"/find": "Find", "/create": "Create"},
        {"Find": "idempotent", "Create": "at_most_once"},
        frozenset({"Find"}),
    ),
    "polling": Shape(
        [
            _action("Find", "/find", method="GET", on_success="Pause", max_visits=2, on_max_visits="Create"),
            {"name": "Pause", "type": "delay", "amount": 1, "unit": "SECOND", "next": "Find"},
            _action("Create", "/create"),
        ],
        {"/find": "Find", "/create": "Create"},
        {"Find": "idempotent", "Create": "at_most_once"},
        frozenset({"Find"}),
    ),
    "some_wait": Shape(
        [
            {
                "name": "Is there a 9 in it?",
                "type": "conditional",
                "paths": [
                    {
                        "name": "yes",
                        "conditions": [{"field": "contact.phone", "comparison": "icontains", "value": "9"}],
                        "next": "Pause",
                    }
                ],
                "otherwise": "Create",
            },
            {
                "name": "Pause",
                "type": "delay",
                "amount": 1,
                "unit": "SECOND",
                "when_replayed": "wait",
                "next": "Create",
            },
            _action("Create", "/create"),
        ],
        {"/create": "Create"},
        {"Create": "at_most_once"},
    ),
}

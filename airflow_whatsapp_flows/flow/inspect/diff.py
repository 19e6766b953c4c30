"""What two flows mean differently: not how their files are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.format import FlowFormat
from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model
from airflow_whatsapp_flows.flow.inspect.step_matching import Renaming, match_steps
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.secrets import HIDDEN, names_secret

What = Literal["added", "removed", "renamed", "changed"]
Part = Literal["flow", "start", "step", "type", "exit", "request", "text", "setting"]

_EXITS = frozenset(
    {"next", "on_success", "on_error", "otherwise", "on_no_answer", "on_answer_failed", "on_max_visits", "options"}
)
_REQUEST = frozenset({"connection", "method", "url", "headers", "query_params", "body_type", "body"})
_TEXTS = frozenset({"body", "file_url", "whatsapp_template", "whatsapp_template_variables", "reason"})
_NAMES_STEPS = frozenset({"exit", "start", "type"})
_Key = str | int


class Absent(Enum):
    """What stands for a value that is not there; ``null`` is a value."""

    ABSENT = "(none)"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was.

    Attributes:
        what: whether it came, went, got another name or another value.
        part: of the flow: a key of it, its start, a step as a whole, or of a step its type, an exit, its request, a
            text, or another key.
        step: name of the step, in the new flow if it is there; ``None`` for the flow's own.
        path: where: ``headers.X-Source``, ``body.tags[0]``, ``options["Sales"]``; empty for a step as a whole.
        old: what was there, with the names that steps have in the new flow; secrets are ``***``.
        new: what is there now; secrets are ``***``.
        hidden: whether something in ``old`` or ``new`` is not shown.
    """

    what: What
    part: Part
    step: str | None
    path: str
    old: Any = ABSENT
    new: Any = ABSENT
    hidden: bool = False


def differences(old: Flow, new: Flow) -> list[Change]:
    """What a flow means differently from another: empty for two files that mean the same.

    Order and spelling of the JSON do not count, nor do keys that are given their default, nor the order of steps. The
    order of a body's keys does, for its bytes are written in it. What is renamed is told once, and not again wherever
    it is named.
    """
    before, after = _Plain(old), _Plain(new)
    pairs = match_steps(before.steps, after.steps)
    renaming = Renaming(before.steps, pairs)
    changes = list(_flow_changes(renaming.value(before.keys), after.keys))
    start = pairs.get(old.start, old.start)
    if pairs.get(old.start) != new.start:
        changes.append(Change("changed", "start", None, "start", start, new.start))
    for name, step in before.steps.items():
        if name not in pairs:
            changes.append(Change("removed", "step", name, "", old=step["type"]))
    by_new = {other: name for name, other in pairs.items()}
    for name, step in after.steps.items():
        if name not in by_new:
            changes.append(Change("added", "step", name, "", new=step["type"]))
        elif by_new[name] != name:
            changes.append(Change("renamed", "step", name, "", by_new[name], name))
    for name in after.steps:
        if name in by_new:
            changes += _step_changes(name, before.formats[by_new[name]], after.formats[name], renaming)
    return changes


def step_pairs(old: Flow, new: Flow) -> dict[str, str]:
    """Name in the old flow to the name in the new one, of the steps that are in both; see :func:`match_steps`."""
    return match_steps(_Plain(old).steps, _Plain(new).steps)


def same_request(old: Flow, name: str, new: Flow, other: str) -> bool | None:
    """Whether two actions send the same, whatever steps are called; ``None`` where one of them is not there.

    Args:
        old: a version of a flow.
        name: of an action in it.
        new: another version of it.
        other: name of an action in that.
    """
    requests = []
    for flow, step in ((old, name), (new, other)):
        plain = _Plain(flow)
        if step not in plain.steps:
            return None
        nameless = Renaming(plain.steps, dict.fromkeys(plain.steps, "\0"))
        request = {key: value for key, value in plain.steps[step].items() if key in _REQUEST}
        requests.append(json.dumps({"type": plain.steps[step]["type"], **nameless.value(request)}, sort_keys=True))
    return requests[0] == requests[1]


class _Plain:
    """A flow as plain data, every key with its value."""

    def __init__(self, flow: Flow) -> None:
        written: Any = pydantic_model(FlowFormat).model_validate_json(json.dumps(flow.source))
        self.formats = {step.name: step for step in written.steps}
        self.steps = {name: _plain(step) for name, step in self.formats.items()}
        # An editor's business, and what is told of the start.
        self.keys = written.model_dump(mode="json", exclude={"steps", "start", "schema_"})


def _plain(step: Any, *, given_only: bool = False) -> dict[str, Any]:
    value: dict[str, Any] = step.model_dump(mode="json", exclude_defaults=given_only)
    # Two keys that mean something else when they are null than when they are not there.
    for kind, key in (("template", "next"), ("action", "body")):
        if value["type"] == kind and key not in step.model_fields_set:
            value.pop(key, None)
    if isinstance(value.get("query_params"), dict):
        value["query_params"] = [[name, item] for name, item in value["query_params"].items()]
    return value


def _flow_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for path, before, after in _leaves(old, new, ()):
        yield _change("flow", None, path, before, after)


def _step_changes(name: str, old: Any, new: Any, renaming: Renaming) -> Iterator[Change]:
    if old.type != new.type:
        # What the one type has and the other has not is of interest only where it was given.
        before, after = _plain(old, given_only=True), _plain(new, given_only=True)
    else:
        before, after = _plain(old), _plain(new)
    before = renaming.value(before)
    for plain in (before, after):
        del plain["name"]
    queries = before.pop("query_params", []), after.pop("query_params", [])
    for path, was, is_now in _leaves(before, after, ()):
        yield _change(_part(path, new.type), name, path, was, is_now)
    for path, was, is_now in _query_leaves(*queries):
        yield _change("request", name, path, was, is_now)


def _part(path: tuple[_Key, ...], step_type: str) -> Part:
    top = path[0]
    if top == "type":
        return "type"
    if top in _EXITS or (top == "paths" and path[-1] == "next"):
        return "exit"
    if step_type == "action":
        return "request" if top in _REQUEST else "setting"
    return "text" if top in _TEXTS else "setting"


_Leaf = tuple[tuple[_Key, ...], Any, Any]


def _leaves(old: Any, new: Any, path: tuple[_Key, ...]) -> Iterator[_Leaf]:
    """Where two values differ, as deep down as both go; a field with a secret is one whole."""
    if _names_a_secret(old) or _names_a_secret(new):
        if not _same(old, new):
            yield path, old, new
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _leaves(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
        if path[:1] == ("body",):
            # A body is written in the order of its keys.
            yield from _order(list(old), list(new), path)
    elif isinstance(old, list) and isinstance(new, list):
        if _named(old) and _named(new):
            names = [item["name"] for item in old], [item["name"] for item in new]
            yield from _leaves(dict(zip(names[0], old, strict=True)), dict(zip(names[1], new, strict=True)), path)
            yield from _order(*names, path)
        else:
            for number in range(max(len(old), len(new))):
                pair = [value[number] if number < len(value) else ABSENT for value in (old, new)]
                yield from _leaves(pair[0], pair[1], (*path, number))
    elif not _same(old, new):
        yield path, old, new


def _query_leaves(old: Sequence[Sequence[Any]], new: Sequence[Sequence[Any]]) -> Iterator[_Leaf]:
    before, after = _by_name(old), _by_name(new)
    for name in {**before, **after}:
        values = before.get(name, []), after.get(name, [])
        if max(map(len, values)) == 1:
            one = [value[0] if value else ABSENT for value in values]
            yield from _leaves(one[0], one[1], ("query_params", name))
        else:
            yield from _leaves(*values, ("query_params", name))
    yield from _order([pair[0] for pair in old], [pair[0] for pair in new], ("query_params",))


def _by_name(pairs: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _order(old: Sequence[str], new: Sequence[str], path: tuple[_Key, ...]) -> Iterator[_Leaf]:
    kept = [[name for name in names if name in other] for names, other in ((old, new), (new, old))]
    if kept[0] != kept[1] and sorted(kept[0]) == sorted(kept[1]):
        yield (*path, "(order)"), kept[0], kept[1]


def _named(items: Sequence[Any]) -> bool:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _names_a_secret(value: Any) -> bool:
    """Whether it is a field of a body, as a pair or as a part, whose name says that its value is a secret."""
    pair = value if isinstance(value, list) and len(value) == 2 else [None]
    name = value.get("name") if isinstance(value, dict) and "value" in value else pair[0]
    return isinstance(name, str) and names_secret(name)


def _same(old: Any, new: Any) -> bool:
    # To Python True is 1 and 1 is 1.0; in a body they are not.
    if isinstance(old, (dict, list)) and isinstance(new, (dict, list)):
        return json.dumps(old) == json.dumps(new)
    return type(old) is type(new) and bool(old == new)


def _change(part: Part, step: str | None, path: tuple[_Key, ...], old: Any, new: Any) -> Change:
    what: What = "added" if old is ABSENT else "removed" if new is ABSENT else "changed"
    if part in _NAMES_STEPS:
        return Change(what, part, step, _format_path(path), old, new)
    # The format's own keys name no secret.
    secret = any(isinstance(key, str) and names_secret(key) for key in path[1:])
    shown_old, shown_new = _show(old, secret), _show(new, secret)
    hidden = not (_same(shown_old, old) and _same(shown_new, new))
    return Change(what, part, step, _format_path(path), shown_old, shown_new, hidden)


def _show(value: Any, secret: bool) -> Any:
    if _names_a_secret(value):
        return dict(value, value=HIDDEN) if isinstance(value, dict) else [value[0], HIDDEN]
    if isinstance(value, dict):
        return {key: _show(item, secret or names_secret(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_show(item, secret) for item in value]
    if value is None or value is ABSENT:
        return value
    if secret:
        return HIDDEN
    return mask_secrets(value) if isinstance(value, str) else value


def _format_path(path: tuple[_Key, ...]) -> str:
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif key == "(order)":
            text += " (order)"
        elif re.fullmatch(r"[A-Za-z_][\w-]*", key):
            text += f".{key}" if text else key
        else:
            text += f"[{json.dumps(key, ensure_ascii=False)}]"
    return text

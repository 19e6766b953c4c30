"""What pydantic found wrong in a flow file, said to the person who wrote it.

Importing pydantic takes longer than loading a flow, so only a file with a fault imports this.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from airflow_whatsapp_flows.flow.did_you_mean import MOST_FAULTS, did_you_mean
from airflow_whatsapp_flows.flow.format import STEP_FORMATS, FlowFormat, StepFormat
from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model, step_validator, struct_of
from airflow_whatsapp_flows.flow.json_source import FlowFault, Path, step_name_at
from airflow_whatsapp_flows.flow.loading.build import step_list
from airflow_whatsapp_flows.flow.loading.graph_checks import targets_of

_TIME_RULE = "a time of day such as 21:30"
_QUOTED = re.compile(r"'([^']*)'")
_ID_RULE = "an id has 1 to 100 characters: a-z, 0-9, '_', and '-', starting with a letter or digit"


def read_with_faults(
    text: str, value: dict[str, Any]
) -> tuple[FlowFormat | None, dict[int, StepFormat], list[FlowFault]]:
    """Validate a file that cannot simply be read, with every fault of its keys.

    Args:
        text: the file.
        value: the same as plain data.

    Returns:
        The file if it has no such faults, its usable steps by position, and the faults.
    """
    try:
        written: FlowFormat = struct_of(pydantic_model(FlowFormat).model_validate_json(text))
    except ValidationError as error:
        return None, _valid_steps(value), _format_faults(error, value)
    return written, dict(enumerate(written.steps)), []


def _format_faults(error: ValidationError, value: dict[str, Any]) -> list[FlowFault]:
    """Every fault that pydantic reports.

    Args:
        error: of validating the whole file.
        value: the file as plain data.
    """
    faults: dict[tuple[Path, str | int | None], FlowFault] = {}
    targets = set(_target_paths(value))
    for details in error.errors(include_url=False):
        if len(faults) > MOST_FAULTS:
            break
        path, is_key = _path(details, value)
        # A union reports once per alternative; the first says enough.
        found = path, details["loc"][-1] if details["type"] == "missing" else None
        # An empty target is told with what a target may be.
        if found in faults or (details["type"] == "string_too_short" and path in targets):
            continue
        faults[found] = FlowFault(_message(details, path, value), path, step_name_at(value, path), at_key=is_key)
    return list(faults.values())


def _valid_steps(value: dict[str, Any]) -> dict[int, StepFormat]:
    """The usable steps of a file with faults, by position: their templates are checked as well.

    An invalid key is dropped, or replaced with its closest match; a step without a required key is not usable.

    Args:
        value: the file as plain data.
    """
    steps: dict[int, StepFormat] = {}
    for index, raw in enumerate(step_list(value)):
        try:
            steps[index] = struct_of(step_validator().validate_json(json.dumps(raw)))
        except ValidationError as error:
            known = _without_faults(raw, error)
            with contextlib.suppress(ValidationError):
                steps[index] = struct_of(step_validator().validate_json(json.dumps(known)))
    return steps


def _without_faults(raw: Any, error: ValidationError) -> Any:
    known = copy.deepcopy(raw)
    for details in error.errors(include_url=False):
        *path, key = details["loc"][1:] or ("",)  # the first is the type of the step
        holder: Any = known
        for part in path:
            try:
                holder = holder[part]
            except (LookupError, TypeError):  # a union's location names its alternatives too
                break
        else:
            if isinstance(holder, dict):
                meant = _close_literal(details)
                if meant is None:
                    holder.pop(key, None)
                else:
                    holder[key] = meant
    return known


def _path(details: ErrorDetails, value: Any) -> tuple[Path, bool]:
    path: list[str | int] = []
    for part in details["loc"]:
        if isinstance(value, list):
            inside = isinstance(part, int) and part < len(value)
        else:
            inside = isinstance(value, dict) and part in value
        if inside:
            value = value[part]
            path.append(part)
    return tuple(path), details["type"] == "extra_forbidden"


def _target_paths(value: dict[str, Any]) -> Iterator[Path]:
    steps = value.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            yield from (("steps", index, *path) for path, _ in targets_of(step))


def _message(details: ErrorDetails, path: Path, value: dict[str, Any]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    key = details["loc"][-1] if details["loc"] else ""
    if kind == "missing":
        return f"the key {key!r} is missing"
    if kind == "extra_forbidden":
        return f"unknown key {key!r}{_close(str(key), _keys_at(path[:-1], value))}"
    if kind == "union_tag_not_found":
        return f"the key 'type' is missing; allowed: {', '.join(STEP_FORMATS)}"
    if kind == "union_tag_invalid":
        return f"there is no step type {context.get('tag')!r}{_close(str(context.get('tag')), list(STEP_FORMATS))}"
    if kind in ("literal_error", "enum"):
        allowed = str(context.get("expected", ""))
        meant = _close_literal(details)
        hint = f"; did you mean {meant!r}? Allowed" if meant else "; allowed"
        return f"{_show(details['input'])} is not allowed{hint}: {allowed}"
    if path[-2:-1] == ("headers",) and isinstance(details["input"], list):
        return "a header can appear only once and must be text: join several values with commas (RFC 9110 §5.3)"
    if path == ("id",):
        return f"{_show(details['input'])} is not an id: {_ID_RULE}"
    if kind == "string_pattern_mismatch":
        wanted = "a country code of two capital letters, such as MX" if "country" in str(key) else _TIME_RULE
        return f"{_show(details['input'])} is not {wanted}"
    return _plain(details)


def _close_literal(details: ErrorDetails) -> str | None:
    """What a text that is none of a few allowed ones was meant to be, if one is close."""
    if details["type"] not in ("literal_error", "enum") or not isinstance(details["input"], str):
        return None
    allowed = {text.casefold(): text for text in _QUOTED.findall(str(details.get("ctx", {}).get("expected", "")))}
    close = difflib.get_close_matches(details["input"].casefold(), allowed, n=1, cutoff=0.75)
    return allowed[close[0]] if close else None


def _plain(details: ErrorDetails) -> str:
    message = details["msg"]
    for pydantic, ours in (
        ("Input should be a valid ", "must be a "),
        ("Input should be ", "must be "),
        ("String should ", "the text must "),
        ("List should ", "the list must "),
        ("Dictionary should ", "the object must "),
        ("Tuple should ", "the pair must "),
    ):
        if message.startswith(pydantic):
            message = ours + message[len(pydantic) :]
            break
    message = (
        message.replace(" after validation", "")
        .replace("dictionary", "object")
        .replace("integer", "whole number")
        .replace("array", "list")
        .replace("string", "text")
    )
    return f"{message[0].lower()}{message[1:]}; here it is {_show(details['input'])}"


def _show(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _keys_at(path: Path, value: dict[str, Any]) -> list[str]:
    """The keys that the object at a path may have."""
    models: Iterable[type[BaseModel]] = [pydantic_model(FlowFormat)]
    there: Any = value
    for part in path:
        there = there[part]
        if isinstance(part, str):
            fields = [field for model in models for key, field in _fields(model) if key == part]
            # A name that is no key of theirs is one of a mapping's own: the objects in it are those already found.
            models = [found for field in fields for found in _models_in(field.annotation)] or models
        if isinstance(there, dict) and len(list(models)) > 1:
            # Of the steps, the one that its type names; of others, each says what it allows.
            models = [pydantic_model(STEP_FORMATS[str(there["type"])])] if there.get("type") in STEP_FORMATS else models
    return list(dict.fromkeys(key for model in models for key, _ in _fields(model)))


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _close(word: str, choices: list[str]) -> str:
    return did_you_mean(word, choices) or f"; allowed: {', '.join(choices)}"

"""Building every step of a flow."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from airflow_whatsapp_flows.flow.did_you_mean import MOST_FAULTS
from airflow_whatsapp_flows.flow.format import StepFormat
from airflow_whatsapp_flows.flow.json_source import FlowFault
from airflow_whatsapp_flows.flow.loading.build_action import build_action
from airflow_whatsapp_flows.flow.loading.build_answered import BUILD_ANSWERED
from airflow_whatsapp_flows.flow.loading.build_other import BUILD_OTHER
from airflow_whatsapp_flows.flow.loading.builder import Builders, FlowTexts, StepBuilder
from airflow_whatsapp_flows.flow.loading.schema_faults import close_literal
from airflow_whatsapp_flows.flow.model import Step

_STEP: TypeAdapter[StepFormat] = TypeAdapter(StepFormat)
_BUILD: Builders = {**BUILD_ANSWERED, **BUILD_OTHER, "action": build_action}


def valid_steps(value: dict[str, Any]) -> dict[int, StepFormat]:
    """The usable steps of a file with faults, by position: their templates are checked as well.

    An invalid key is dropped, or replaced with its closest match; a step without a required key is not usable.

    Args:
        value: the file as plain data.
    """
    steps: dict[int, StepFormat] = {}
    for index, raw in enumerate(_step_list(value)):
        try:
            steps[index] = _STEP.validate_json(json.dumps(raw))
        except ValidationError as error:
            known = _without_faults(raw, error)
            with contextlib.suppress(ValidationError):
                steps[index] = _STEP.validate_json(json.dumps(known))
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
                meant = close_literal(details)
                if meant is None:
                    holder.pop(key, None)
                else:
                    holder[key] = meant
    return known


def build_steps(value: dict[str, Any], formats: Mapping[int, StepFormat]) -> tuple[dict[int, Step], list[FlowFault]]:
    """Build every step that can be built.

    Args:
        value: the file as plain data.
        formats: its steps, by their position.

    Returns:
        The steps by their position in the file, and the faults of their templates.
    """
    written = _step_list(value)
    names = {step["name"] for step in written if isinstance(step, dict) and isinstance(step.get("name"), str)}
    flow = FlowTexts(value, frozenset(names))
    steps: dict[int, Step] = {}
    faults: list[FlowFault] = []
    for index, step in formats.items():
        if len(faults) > MOST_FAULTS:
            break
        builder = StepBuilder(step, ("steps", index), flow)
        built = _BUILD[step.type](builder, step)
        faults.extend(builder.faults)
        if built is not None and not builder.faults:
            steps[index] = built
    return steps, faults


def _step_list(value: dict[str, Any]) -> list[Any]:
    steps = value.get("steps")
    return steps if isinstance(steps, list) else []

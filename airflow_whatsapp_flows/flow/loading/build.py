"""Building every step of a flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_whatsapp_flows.flow.did_you_mean import MOST_FAULTS
from airflow_whatsapp_flows.flow.format import StepFormat
from airflow_whatsapp_flows.flow.json_source import FlowFault
from airflow_whatsapp_flows.flow.loading.build_action import build_action
from airflow_whatsapp_flows.flow.loading.build_answered import BUILD_ANSWERED
from airflow_whatsapp_flows.flow.loading.build_other import BUILD_OTHER
from airflow_whatsapp_flows.flow.loading.builder import Builders, FlowTexts, StepBuilder
from airflow_whatsapp_flows.flow.model import Step

_BUILD: Builders = {**BUILD_ANSWERED, **BUILD_OTHER, "action": build_action}


def build_steps(value: dict[str, Any], formats: Mapping[int, StepFormat]) -> tuple[dict[int, Step], list[FlowFault]]:
    """Build every step that can be built.

    Args:
        value: the file as plain data.
        formats: its steps, by their position.

    Returns:
        The steps by their position in the file, and the faults of their templates.
    """
    written = step_list(value)
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


def step_list(value: dict[str, Any]) -> list[Any]:
    """The steps of a file as plain data."""
    steps = value.get("steps")
    return steps if isinstance(steps, list) else []

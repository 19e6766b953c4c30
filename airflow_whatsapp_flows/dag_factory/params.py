"""The form that triggers a flow's DAG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Param

from airflow_whatsapp_flows.flow.checks import references_of
from airflow_whatsapp_flows.flow.model import Answered, Flow, Menu, TemplateMessage
from airflow_whatsapp_flows.flow.variables import Scope

_FILES = ("FILE", "DOCUMENT", "VIDEO", "IMAGE", "LOCATION")


def build_params(flow: Flow) -> dict[str, Param]:
    """A field for everything that a contact response of this flow may say.

    Every field may be left blank, which says nothing, and the walk judges what it holds.

    Args:
        flow: any flow.
    """
    params = {"id": _field("Response id", "part of every idempotency key; the run id when blank")}
    for name in _contact_fields(flow):
        params[f"contact.{name}"] = _field(f"Contact: {name}")
    for step in flow.steps.values():
        if isinstance(step, TemplateMessage) and not step.waits:
            continue
        if isinstance(step, Answered):
            params[f"step.{step.name}"] = _answer(step)
    for name, variable in flow.variables.items():
        params[f"flow_execution_variables.{name}"] = _field(f"Variable: {name}", variable.description or variable.type)
    return params


def _field(title: str, description: str | None = None, options: Sequence[str] = ()) -> Param:
    # With a type or an enum Airflow would refuse a run before the flow's own exits can take the answer.
    schema: dict[str, Any] = {"examples": list(options)} if options else {}
    return Param(None, title=title, description=description, **schema)


def _answer(step: Answered) -> Param:
    if isinstance(step, (Menu, TemplateMessage)) and step.options:
        what = "options of the menu" if isinstance(step, Menu) else "buttons"
        return _field(step.name, f"one of the {what}", list(step.options))
    description = f"answer type {step.rule.answer_type}"
    if step.rule.listed is not None:
        listed = step.rule.listed
        description += f"; one of those in {listed.source.text}, by its {listed.value} or {listed.title}"
    if step.rule.answer_type in _FILES:
        return Param(None, type=["object", "string", "null"], title=step.name, description=description)
    return _field(step.name, description, step.rule.options)


def _contact_fields(flow: Flow) -> list[str]:
    fields = ["phone"]
    for step in flow.steps.values():
        for reference in references_of(step):
            if reference.scope == Scope.CONTACT.value and reference.path:
                path = reference.path[1:] if reference.path[0] == "meta" and len(reference.path) > 1 else reference.path
                fields.append(path[0])
    return list(dict.fromkeys(fields))

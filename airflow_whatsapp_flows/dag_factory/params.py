"""The form that triggers a flow's DAG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Param

from airflow_whatsapp_flows.flow.answers import AnswerRule
from airflow_whatsapp_flows.flow.format.flow import VariableFormat
from airflow_whatsapp_flows.flow.loading.graph_checks import references_of
from airflow_whatsapp_flows.flow.model import Answered, Flow, Menu, TemplateMessage
from airflow_whatsapp_flows.flow.model.step import Text
from airflow_whatsapp_flows.flow.template.variables import Scope

_FILES = ("FILE", "DOCUMENT", "VIDEO", "IMAGE", "LOCATION")
_EXPECTED: Mapping[str, str] = {
    "NUMBER": "a number",
    "BOOL": "yes or no",
    "EMAIL": "an e-mail address",
    "PHONE": "a phone number",
    "URL": "a URL",
    "DATE": "a date such as 2026-11-22",
    "TIME": "a time such as 16:04",
    "DATETIME": "a date and time such as 2026-11-22T16:04",
    "LOCATION": "an object with latitude and longitude",
    **dict.fromkeys(("FILE", "DOCUMENT", "VIDEO", "IMAGE"), "the URL of a file, or an object with url and filename"),
}
_ANYTHING = ["string", "number", "boolean", "object", "array", "null"]
_VARIABLE_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "text": {},
    "number": {"type": ["number", "null"]},
    "bool": {"type": ["boolean", "null"]},
    "list": {"type": ["array", "null"], "items": {"type": _ANYTHING}},
    "object": {"type": ["object", "null"]},
}
_LONGEST_TEXT = 300
_CONTACT = Scope.CONTACT.value


def build_params(flow: Flow) -> dict[str, Param]:
    """Build a field for everything that a contact response of this flow can contain.

    A blank field is omitted. Answers can have any value, because the walk checks them; variables have the type and the
    default that the flow declares.
    """
    params = {"id": _field("Response id", "part of every idempotency key; default: the run id")}
    for name in _contact_fields(flow):
        params[f"contact.{name}"] = _field(f"Contact: {name}")
    for step in flow.steps.values():
        if isinstance(step, TemplateMessage) and not step.waits:
            continue
        if isinstance(step, Answered):
            params[f"step.{step.name}"] = _answer(step)
    for name, variable in flow.variables.items():
        params[f"flow_execution_variables.{name}"] = _variable(name, variable)
    return params


def _field(title: str, description: str | None = None, options: Sequence[str] = ()) -> Param:
    # With a type or an enum, Airflow would reject a run before the flow's own exits can handle the answer.
    schema: dict[str, Any] = {"examples": list(options)} if options else {}
    return Param(None, title=title, description=description, **schema)


def _variable(name: str, variable: VariableFormat) -> Param:
    required = " (required)" if variable.required and variable.default is None else ""
    description = f"{variable.description or variable.type}{required}"
    schema = _VARIABLE_SCHEMAS[variable.type]
    return Param(variable.default, title=f"Variable: {name}", description=description, **schema)


def _answer(step: Answered) -> Param:
    question, rule = _text(step.content.body), step.rule
    if isinstance(step, (Menu, TemplateMessage)) and step.options:
        what = "one of the options of the menu" if isinstance(step, Menu) else "one of the buttons"
        return _field(step.name, _join_texts(question, what), list(step.options))
    expected = _describe_rule(rule)
    if rule.listed is not None:
        listed = rule.listed
        expected = f"one of the options in {listed.source.text}, by its {listed.value} or {listed.title}"
    description = _join_texts(question, expected)
    if rule.answer_type in _FILES:
        return Param(None, type=["object", "string", "null"], title=step.name, description=description)
    return _field(step.name, description, rule.options)


def _describe_rule(rule: AnswerRule) -> str | None:
    """Describe the expected answer; ``None`` if everything fits."""
    expected = _EXPECTED.get(rule.answer_type)
    if rule.answer_type == "NUMBER" and not rule.decimals:
        expected = "a whole number"
    lowest = None if rule.minimum is None else f"at least {rule.minimum}"
    highest = None if rule.maximum is None else f"at most {rule.maximum}"
    return ", ".join(part for part in (expected, lowest, highest) if part) or None


def _text(text: Text) -> str | None:
    """A text as the flow's author wrote it, placeholders included."""
    if text is None:
        return None
    written = " ".join((text if isinstance(text, str) else text.text).split())
    return written if len(written) <= _LONGEST_TEXT else f"{written[:_LONGEST_TEXT]}…"


def _join_texts(question: str | None, expected: str | None) -> str | None:
    if question and expected:
        return f"{question} ({expected})"
    return question or expected


def _contact_fields(flow: Flow) -> list[str]:
    fields = ["phone"]
    for step in flow.steps.values():
        for reference in references_of(step):
            if reference.scope == _CONTACT and reference.path:
                path = reference.path[1:] if reference.path[0] == "meta" and len(reference.path) > 1 else reference.path
                fields.append(path[0])
    return list(dict.fromkeys(fields))

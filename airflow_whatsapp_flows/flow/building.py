"""From the steps of a flow file to the steps of a flow: every template parsed, every fault found."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict

from pydantic import TypeAdapter, ValidationError

from airflow_whatsapp_flows.errors import Fault
from airflow_whatsapp_flows.flow.body import ABSENT
from airflow_whatsapp_flows.flow.conditions import Condition
from airflow_whatsapp_flows.flow.delivery import RetryRule, default_delivery
from airflow_whatsapp_flows.flow.format import (
    ActionFormat,
    ConditionalFormat,
    ConditionFormat,
    EndFormat,
    MenuFormat,
    MessageFormat,
    QuestionFormat,
    StepFormat,
)
from airflow_whatsapp_flows.flow.header_fields import parse_headers
from airflow_whatsapp_flows.flow.json_source import JsonSource, Path
from airflow_whatsapp_flows.flow.model import (
    Action,
    Conditional,
    ConditionPath,
    End,
    Menu,
    Message,
    Question,
    Step,
    Text,
)
from airflow_whatsapp_flows.flow.outcome import RESULT_NAMES
from airflow_whatsapp_flows.flow.request import RequestText, parse_request
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import TemplateFault, faults_under
from airflow_whatsapp_flows.flow.template.references import parse_bare_reference, unknown_name
from airflow_whatsapp_flows.flow.variables import SCOPES

_STEP: TypeAdapter[StepFormat] = TypeAdapter(StepFormat)


def valid_steps(value: dict[str, Any]) -> dict[int, StepFormat]:
    """The steps of a faulty file whose own keys are right, by their position: their templates are checked all the same.

    Args:
        value: the file as plain data.
    """
    steps: dict[int, StepFormat] = {}
    for index, raw in enumerate(_written(value)):
        with contextlib.suppress(ValidationError):
            steps[index] = _STEP.validate_json(json.dumps(raw))
    return steps


def build_steps(
    value: dict[str, Any], formats: Mapping[int, StepFormat], source: JsonSource
) -> tuple[dict[int, Step], list[Fault]]:
    """Build every step that can be built.

    Args:
        value: the file as plain data.
        formats: its steps, by their position.
        source: its text.

    Returns:
        The steps by their position in the file, and the faults of their templates.
    """
    written = _written(value)
    names = {step["name"] for step in written if isinstance(step, dict) and isinstance(step.get("name"), str)}
    missing = value.get("missing", "error")
    language = CagedLanguage(frozenset(names), missing if missing in ("error", "null", "empty") else "error")
    default_visits = value.get("max_visits", 100)
    steps: dict[int, Step] = {}
    faults: list[Fault] = []
    for index, step in formats.items():
        builder = _Builder(language, ("steps", index), source, step.name)
        built = builder.build(step, written[index], default_visits if isinstance(default_visits, int) else 100)
        faults.extend(builder.faults)
        if built is not None:
            steps[index] = built
    return steps, faults


def _written(value: dict[str, Any]) -> list[Any]:
    steps = value.get("steps")
    return steps if isinstance(steps, list) else []


class _Common(TypedDict):
    """What every step has."""

    name: str
    max_visits: int
    on_max_visits: str | None


class _Builder:
    """Builds one step, and remembers every fault on the way."""

    def __init__(self, language: CagedLanguage, path: Path, source: JsonSource, name: str) -> None:
        self.faults: list[Fault] = []
        self._language = language
        self._path = path
        self._source = source
        self._name = name

    def build(self, step: StepFormat, raw: dict[str, Any], default_visits: int) -> Step | None:
        common = _Common(name=step.name, max_visits=step.max_visits or default_visits, on_max_visits=step.on_max_visits)
        built: Step | None
        if isinstance(step, QuestionFormat):
            built = Question(
                **common,
                body=self._text(step.body, "body"),
                answer_type=step.answer_type,
                answer_options=tuple(step.answer_options or ()),
                next=step.next,
                on_no_answer=step.on_no_answer,
                on_answer_failed=step.on_answer_failed,
            )
        elif isinstance(step, MenuFormat):
            built = Menu(
                **common,
                body=self._text(step.body, "body"),
                options=step.options,
                on_no_answer=step.on_no_answer,
                on_answer_failed=step.on_answer_failed,
            )
        elif isinstance(step, MessageFormat):
            text, file_url = self._text(step.body, "body"), self._text(step.file_url, "file_url")
            built = Message(**common, body=text, file_url=file_url, next=step.next)
        elif isinstance(step, ConditionalFormat):
            built = Conditional(**common, paths=self._paths(step), otherwise=step.otherwise)
        elif isinstance(step, EndFormat):
            built = End(**common, state=step.state, reason=self._text(step.reason, "reason"))
        else:
            built = self._action(step, raw, common)
        return None if self.faults else built

    def _action(self, step: ActionFormat, raw: dict[str, Any], common: _Common) -> Action | None:
        text = RequestText(
            url=step.url,
            method=step.method,
            headers=step.headers,
            query_params=step.query_params,
            body=step.body if "body" in raw else ABSENT,
            body_type=step.body_type,
            connection=step.connection,
        )
        plan, faults = parse_request(text, self._language)
        for fault in faults:
            self._add(fault)
        try:
            parse_headers({step.idempotency_header: ""}, self._language)
        except TemplateFault as fault:
            self._add(TemplateFault(fault.message, fault.offset), "idempotency_header")
        success_when = self._over_result(step.success_when, "success_when")
        retry = self._retry(step)
        if plan is None:
            return None
        return Action(
            **common,
            plan=plan,
            retry=retry,
            timeout=step.timeout,
            idempotency_header=step.idempotency_header,
            success_when=success_when,
            on_success=step.on_success,
            on_error=step.on_error,
        )

    def _retry(self, step: ActionFormat) -> RetryRule:
        retry = step.retry
        rule = RetryRule.of(
            step.delivery or default_delivery(step.method),
            attempts=retry.attempts,
            wait=retry.wait,
            max_wait=retry.max_wait,
            backoff=retry.backoff,
            statuses=retry.statuses,
        )
        return replace(
            rule,
            key_lifetime=step.key_lifetime,
            has_error_exit=step.on_error is not None,
            slow_down_when=self._over_result(retry.slow_down_when, "retry", "slow_down_when"),
        )

    def _over_result(self, source: str | None, *path: str) -> Expression | None:
        """An expression over the result of the action."""
        if source is None:
            return None
        try:
            return Expression(source, RESULT_NAMES)
        except TemplateFault as fault:
            self._add(TemplateFault(fault.message, fault.offset), *path)
            return None

    def _paths(self, step: ConditionalFormat) -> tuple[ConditionPath, ...]:
        return tuple(
            ConditionPath(
                path.name or f"path {number + 1}",
                tuple(
                    condition
                    for index, written in enumerate(path.conditions)
                    if (condition := self._condition(written, ("paths", number, "conditions", index))) is not None
                ),
                path.next,
            )
            for number, path in enumerate(step.paths)
        )

    def _condition(self, written: ConditionFormat, path: Path) -> Condition | None:
        # The editor shows fields bare; records may hold them in braces.
        name = written.field.strip().removeprefix("{{").removesuffix("}}").strip()
        first = re.split(r"\W", name, maxsplit=1)[0]
        try:
            reference = parse_bare_reference(name, self._language.steps)
            if reference is None and first in SCOPES:
                raise TemplateFault(f"a field is one variable, such as {first}.name, without filters and operators")
            if reference is None:
                raise TemplateFault(unknown_name(first or name))
        except TemplateFault as fault:
            self._add(TemplateFault(fault.message), *path, "field")
            return None
        value = written.value
        if isinstance(value, str):
            parsed = self._text(value, *path, "value")
            return None if parsed is None else Condition(reference, written.comparison, parsed)
        return Condition(reference, written.comparison, value)

    def _text(self, text: str | None, *path: str | int) -> Text:
        if text is None:
            return None
        try:
            return self._language.parse(text)
        except TemplateFault as fault:
            self._add(fault, *path)
            return None

    def _add(self, fault: TemplateFault, *path: str | int) -> None:
        for one in faults_under(fault, *self._path, *path):
            line, column = self._source.place(one.path, one.offset)
            self.faults.append(Fault(one.message, one.path, line, column, self._name))

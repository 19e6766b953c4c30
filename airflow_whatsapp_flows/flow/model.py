"""What a flow means: steps, their exits and their parsed templates.

Made by :mod:`~airflow_whatsapp_flows.flow.loading` from a flow file that has no fault, so nothing here
needs to be checked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_whatsapp_flows.flow.conditions import Condition
from airflow_whatsapp_flows.flow.delivery import RetryRule
from airflow_whatsapp_flows.flow.format import AnswerType, ReplayFormat, VariableFormat
from airflow_whatsapp_flows.flow.request import RequestPlan
from airflow_whatsapp_flows.flow.template.cage import Expression, MissingPolicy
from airflow_whatsapp_flows.flow.template.language import Template
from airflow_whatsapp_flows.flow.template.references import Reference

Text = Template | str | None
"""A text of a flow: a template, or a plain text when it holds no placeholder."""


@dataclass(frozen=True, slots=True)
class Exit:
    """One way out of a step.

    Attributes:
        label: what the way is called in a graph: an option, a path's name, ``success``, ``error``, ``next``, …
        target: name of the next step; ``None`` ends the walk.
    """

    label: str
    target: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    name: str
    max_visits: int
    on_max_visits: str | None = None

    @property
    def fields(self) -> tuple[Reference, ...]:
        """Variables that it reads bare, outside of its texts."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(_Step):
    """Asks; the recorded answer becomes ``step.<name>``."""

    body: Text = None
    answer_type: AnswerType = "ANY"
    answer_options: tuple[str, ...] = ()
    next: str | None = None
    on_no_answer: str | None = None
    on_answer_failed: str | None = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        return (Exit("next", self.next), *_answer_exits(self.on_no_answer, self.on_answer_failed))

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return (self.body,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu(_Step):
    """Offers options; the recorded one chooses the exit."""

    body: Text = None
    options: Mapping[str, str | None]
    on_no_answer: str | None = None
    on_answer_failed: str | None = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        options = tuple(Exit(label, target) for label, target in self.options.items())
        return (*options, *_answer_exits(self.on_no_answer, self.on_answer_failed))

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return (self.body,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(_Step):
    """Says something; its text is rendered into the record."""

    body: Text = None
    file_url: Text = None
    next: str | None = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        return (Exit("next", self.next),)

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return (self.body, self.file_url)


@dataclass(frozen=True, slots=True)
class ConditionPath:
    """One path of a conditional.

    Attributes:
        label: its name, or ``path 1``, ``path 2``, …
        conditions: all of which must hold.
        next: name of the next step; ``None`` ends the walk.
    """

    label: str
    conditions: tuple[Condition, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditional(_Step):
    """Takes the first path whose conditions all hold, else ``otherwise``."""

    paths: tuple[ConditionPath, ...]
    otherwise: str | None = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        return (*(Exit(path.label, path.next) for path in self.paths), Exit("otherwise", self.otherwise))

    @property
    def templates(self) -> tuple[Text, ...]:
        """Texts that it compares with."""
        values = (condition.value for path in self.paths for condition in path.conditions)
        return tuple(value for value in values if not isinstance(value, (bool, int, float)))

    @property
    def fields(self) -> tuple[Reference, ...]:
        """Variables that it compares."""
        return tuple(condition.field for path in self.paths for condition in path.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(_Step):
    """Sends an HTTP request; ``step.<name>`` is its result.

    Attributes:
        plan: builds its request from a contact's values.
        retry: when it is tried again.
        timeout: seconds for the whole exchange.
        idempotency_header: name of the header that carries the key under ``keyed``.
        success_when: must hold for a 2xx reply to be a success.
        has_error_exit: whether ``on_error`` was given; without it an error fails the walk.
    """

    plan: RequestPlan
    retry: RetryRule
    timeout: float = 30.0
    idempotency_header: str = "Idempotency-Key"
    success_when: Expression | None = None
    on_success: str | None = None
    on_error: str | None = None

    @property
    def has_error_exit(self) -> bool:
        """Whether an error goes on with a step of the flow; without one it fails the walk."""
        return self.on_error is not None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        success = Exit("success", self.on_success)
        return (success, Exit("error", self.on_error)) if self.has_error_exit else (success,)

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts; ``success_when`` reads only the result."""
        return self.plan.templates


@dataclass(frozen=True, slots=True, kw_only=True)
class End(_Step):
    """Ends the walk."""

    state: Literal["completed", "failed"] = "completed"
    reason: Text = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """It has none."""
        return ()

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return (self.reason,)


Step = Question | Menu | Message | Conditional | Action | End


def _answer_exits(on_no_answer: str | None, on_answer_failed: str | None) -> tuple[Exit, ...]:
    exits = (Exit("no answer", on_no_answer), Exit("answer failed", on_answer_failed))
    return tuple(way for way in exits if way.target is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow without faults.

    Attributes:
        id: slug; also the DAG's id.
        name: for people; the id when the file gives none.
        steps: by name, in the file's order.
        start: name of the first step.
        timezone: IANA name.
        missing: what a reference without a value is.
        variables: declared ``flow_execution_variables``.
        replay: how recorded responses are sent in batches; ``None`` when the flow does not say.
        source: the file as plain data.
    """

    id: str
    name: str
    steps: Mapping[str, Step] = field(repr=False)  # texts of the flow: Airflow stores the repr of mapped arguments
    start: str
    timezone: str = "UTC"
    missing: MissingPolicy = "error"
    variables: Mapping[str, VariableFormat] = field(default_factory=dict)
    replay: ReplayFormat | None = field(default=None, repr=False)
    source: Mapping[str, object] = field(default_factory=dict, repr=False)

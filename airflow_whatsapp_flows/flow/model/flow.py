"""The whole of a flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.format import AirflowFormat, FlowTestFormat, ReplayFormat, VariableFormat
from airflow_whatsapp_flows.flow.identity import IdentityRule
from airflow_whatsapp_flows.flow.literal_secrets import source_for_storage
from airflow_whatsapp_flows.flow.model.action import Action
from airflow_whatsapp_flows.flow.model.messages import Menu, Message, Question, TemplateMessage
from airflow_whatsapp_flows.flow.model.routing import (
    Assignation,
    Conditional,
    ContactUpdate,
    Delay,
    End,
    GoTo,
    Tag,
    TriggerFlow,
)
from airflow_whatsapp_flows.flow.model.step import Exit
from airflow_whatsapp_flows.flow.template.cage import MissingPolicy
from airflow_whatsapp_flows.flow.template.references import Reference

Step = (
    Question
    | Menu
    | Message
    | TemplateMessage
    | Conditional
    | Action
    | Delay
    | ContactUpdate
    | Tag
    | Assignation
    | GoTo
    | TriggerFlow
    | End
)


TOO_MANY_VISITS = "too many visits"
"""Label of the exit that a visit beyond ``max_visits`` takes."""


def exits_of(step: Step) -> tuple[Exit, ...]:
    """Every exit of a step, including ``on_max_visits``."""
    return step.exits if step.on_max_visits is None else (*step.exits, Exit(TOO_MANY_VISITS, step.on_max_visits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow without faults.

    Attributes:
        id: slug; also the DAG's id.
        name: the display name; default: the id.
        steps: by name, in the file's order.
        start: name of the first step.
        timezone: IANA name.
        missing: what a reference without a value becomes.
        variables: declared ``flow_execution_variables``.
        loops: names of the steps of every loop, in the file's order.
        sensitive: variables whose values are hidden.
        literals: texts in its requests that may be secrets, see :mod:`~airflow_whatsapp_flows.flow.literal_secrets`.
        replies_read: names of the actions whose result another step reads.
        identity: how contacts are identified.
        replay: how recorded responses are replayed in batches, if set.
        airflow: settings of its DAGs.
        tests: the tests of the flow.
        source: the file as plain data.
    """

    id: str
    name: str
    steps: Mapping[str, Step] = field(repr=False)  # texts of the flow: Airflow stores the repr of mapped arguments
    start: str
    timezone: str = "UTC"
    missing: MissingPolicy = "error"
    variables: Mapping[str, VariableFormat] = field(default_factory=dict)
    loops: tuple[tuple[str, ...], ...] = ()
    sensitive: tuple[Reference, ...] = ()
    replies_read: frozenset[str] = frozenset()
    literals: tuple[str, ...] = field(default=(), repr=False)
    identity: IdentityRule = field(default_factory=IdentityRule, repr=False)
    replay: ReplayFormat | None = field(default=None, repr=False)
    airflow: AirflowFormat = field(default_factory=AirflowFormat, repr=False)
    tests: tuple[FlowTestFormat, ...] = field(default=(), repr=False)
    source: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def source_for_storage(self) -> str:
        """The file as JSON for the ledger, with digests instead of possible secrets."""
        return source_for_storage(self.source, self.literals)

    @property
    def connections(self) -> tuple[str, ...]:
        """Ids of the connections that its actions use, in the file's order."""
        found = (step.plan.connection for step in self.steps.values() if isinstance(step, Action))
        return tuple(dict.fromkeys(conn_id for conn_id in found if conn_id))

    @property
    def only_once(self) -> bool:
        """Whether a replay sends each action only once to the same person."""
        return self.replay is not None and self.replay.only_once

    @property
    def sends_only_changes(self) -> bool:
        """Whether a contact that would send the same as the last time is not sent."""
        return self.replay is not None and self.replay.send_when == "changed"

    def gives_sensitive(self, step: str) -> bool:
        """Whether the result of an action contains sensitive values that another step reads."""
        return step in self.replies_read and any(reference.step == step for reference in self.sensitive)

    def loop_of(self, step: str) -> tuple[str, ...] | None:
        """Names of the steps in the loop of a step; ``None`` if it is not in a loop."""
        return next((loop for loop in self.loops if step in loop), None)

    def is_polling(self, step: str) -> bool:
        """Whether a step is in a loop with an action, so that the action needs its waits."""
        loop = self.loop_of(step)
        return loop is not None and any(isinstance(self.steps[name], Action) for name in loop)

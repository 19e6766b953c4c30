"""The steps that choose, wait, record or lead on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_whatsapp_flows.flow.conditions import Condition
from airflow_whatsapp_flows.flow.model.step import Exit, StepBase, Text
from airflow_whatsapp_flows.flow.template.references import Reference
from airflow_whatsapp_flows.flow.waiting import WaitRule


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
class Conditional(StepBase):
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
class _Onwards(StepBase):
    next: str | None = None

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Its ways out."""
        return (Exit("next", self.next),)

    @property
    def templates(self) -> tuple[Text, ...]:
        """It has no texts."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(_Onwards):
    """Waits.

    Attributes:
        rule: how long, and at which hours it may end.
        until: a moment instead of a length.
        when_replayed: whether a replay waits too.
    """

    rule: WaitRule
    until: Text = None
    when_replayed: Literal["auto", "wait", "skip"] = "auto"

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return (self.until,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactUpdate(_Onwards):
    """Changes ``contact.…`` for later steps.

    Attributes:
        changes: field to its new value.
        meta: the same for custom fields.
    """

    changes: Mapping[str, Text | bool | int | float] = field(default_factory=dict)
    meta: Mapping[str, Text | bool | int | float] = field(default_factory=dict)

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        values = (*self.changes.values(), *self.meta.values())
        return tuple(value for value in values if not isinstance(value, (bool, int, float)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag(_Onwards):
    """Records tags."""

    contact_tags: tuple[Text, ...] = ()
    conversation_tags: tuple[Text, ...] = ()
    append_tags: bool = True

    @property
    def templates(self) -> tuple[Text, ...]:
        """Its texts."""
        return (*self.contact_tags, *self.conversation_tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignation(_Onwards):
    """Records who is to take over."""

    users: tuple[int, ...] = ()
    teams: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoTo(_Onwards):
    """Goes on with another step, an earlier one too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFlow(StepBase):
    """Records that the contact goes on in another flow, and ends the walk."""

    next_flow: str

    @property
    def exits(self) -> tuple[Exit, ...]:
        """It has none."""
        return ()

    @property
    def templates(self) -> tuple[Text, ...]:
        """It has no texts."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class End(StepBase):
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

"""The steps that need no answer and send no request: they say, choose, wait, record, or jump."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from airflow_whatsapp_flows.flow.format.common import (
    FormatModel,
    Label,
    Scalar,
    StepBase,
    StepName,
    StepWithText,
    Target,
)

Comparison = Literal[
    "exact", "!exact", "gt", "gte", "lt", "lte", "isnull", "!isnull", "icontains", "!icontains"
]  # fmt: skip
"""The platform's ``ComparisonEnum``."""
WindowTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$")]


class MessageFormat(StepWithText):
    """Says something; nothing is sent to WhatsApp."""

    type: Literal["message"]
    next: Target = Field(None, description="the next step; null ends the walk")


class ConditionFormat(FormatModel):
    """One comparison; the conditions of a path are joined by AND."""

    field: str = Field(min_length=1, max_length=255, description="a reference without braces")
    comparison: Comparison = Field(
        description="gt, gte, lt, and lte compare numbers, dates, or times; icontains ignores case"
    )
    value: Scalar = Field(None, description="the value to compare with; text is a template")


class PathFormat(FormatModel):
    """One exit of a conditional."""

    name: str | None = Field(None, max_length=100, description="the name of the exit in graphs")
    conditions: list[ConditionFormat] = Field(min_length=1, description="conditions that must all be true")
    next: Target = Field(None, description="the next step; null ends the walk")


class ConditionalFormat(StepBase):
    """Takes the first path whose conditions are all true."""

    type: Literal["conditional"]
    paths: list[PathFormat] = Field(
        min_length=1, description="checked in order; the first whose conditions are all true is taken"
    )
    otherwise: Target = Field(None, description="the next step when no path applies; null ends the walk")


class TimeWindowFormat(FormatModel):
    """Hours of one weekday at which a delay may end, in the flow's time zone."""

    weekday: int = Field(ge=0, le=6, description="0 is Monday, 6 is Sunday")
    start_at: WindowTime | None = Field(None, description="absent: from the start of the day")
    end_at: WindowTime | None = Field(None, description="absent: until the end of the day")


class DelayFormat(StepBase):
    """Waits."""

    type: Literal["delay"]
    amount: float | None = Field(None, ge=0, le=31_536_000, description="the duration, in the unit")
    unit: Literal["SECOND", "MINUTE", "HOUR", "DAY"] | None = Field(None, description="the unit of the amount")
    until: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="a date, or a date and time, in the flow's time zone; a template",
    )
    time_windows: list[TimeWindowFormat] = Field(
        default_factory=list, max_length=100, description="when the delay may end; absent or empty: at any time"
    )
    when_replayed: Literal["auto", "wait", "skip"] = Field(
        "auto", description="auto: a replay waits if the delay is in a loop with an action, and otherwise skips it"
    )
    next: Target = Field(None, description="the next step; null ends the walk")


class ContactUpdateFormat(StepBase):
    """Changes ``contact.…`` for later steps; nothing is written to the platform."""

    type: Literal["contact_update"]
    first_name: Scalar = Field(None, description="a template; null leaves it unchanged")
    last_name: Scalar = Field(None, description="a template; null leaves it unchanged")
    email: Scalar = Field(None, description="a template; null leaves it unchanged")
    external_url: Scalar = Field(None, description="a template; null leaves it unchanged")
    meta: dict[Label, Scalar] = Field(
        default_factory=dict, description="custom fields; text values are templates, and null leaves a field unchanged"
    )
    next: Target = Field(None, description="the next step; null ends the walk")


class TagFormat(StepBase):
    """Records tags; none is written to the platform."""

    type: Literal["tag"]
    contact_tags: list[Label] = Field(default_factory=list, description="tags of the contact; templates")
    conversation_tags: list[Label] = Field(default_factory=list, description="tags of the conversation; templates")
    append_tags: bool = Field(True, description="whether to add them to the existing tags, or replace those")
    next: Target = Field(None, description="the next step; null ends the walk")


class AssignationFormat(StepBase):
    """Records who takes over; nobody is assigned on the platform."""

    type: Literal["assignation"]
    assign_to_users: list[int] = Field(default_factory=list, description="user ids on the platform")
    assign_to_teams: list[int] = Field(default_factory=list, description="team ids on the platform")
    next: Target = Field(None, description="the next step; null ends the walk")


class GoToFormat(StepBase):
    """Continues with another step, which may be an earlier one."""

    type: Literal["go_to"]
    next: StepName = Field(description="the next step")


class TriggerFlowFormat(StepBase):
    """Records that the contact continues in another flow, and ends the walk."""

    type: Literal["trigger_flow"]
    next_flow: str = Field(min_length=1, max_length=255, description="the id of the other flow")


class EndFormat(StepBase):
    """Ends the walk; an error exit can end it as failed."""

    type: Literal["end"]
    state: Literal["completed", "failed"] = Field("completed", description="the final state of the contact")
    reason: str | None = Field(None, max_length=1000, description="reported with the state; a template")

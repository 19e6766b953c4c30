"""The steps that nobody answers and that send no request: they say, choose, wait, record or lead on."""

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
        description="gt, gte, lt and lte compare numbers, dates or times; icontains looks for a text in any case"
    )
    value: Scalar = Field(None, description="compared with; a template where it is text")


class PathFormat(FormatModel):
    """One exit of a conditional."""

    name: str | None = Field(None, max_length=100, description="what the exit is called in graphs")
    conditions: list[ConditionFormat] = Field(min_length=1, description="all of which must hold")
    next: Target = Field(None, description="where it leads; null ends the walk")


class ConditionalFormat(StepBase):
    """Takes the first path whose conditions all hold."""

    type: Literal["conditional"]
    paths: list[PathFormat] = Field(min_length=1, description="tried in order; the first that holds is taken")
    otherwise: Target = Field(None, description="where to go when no path's conditions hold; null ends the walk")


class TimeWindowFormat(FormatModel):
    """Hours of one weekday at which a delay may end, in the flow's time zone."""

    weekday: int = Field(ge=0, le=6, description="0 is Monday, 6 is Sunday")
    start_at: WindowTime | None = Field(None, description="absent: the day's beginning")
    end_at: WindowTime | None = Field(None, description="absent: the day's end")


class DelayFormat(StepBase):
    """Waits."""

    type: Literal["delay"]
    amount: float | None = Field(None, ge=0, le=31_536_000, description="how long, in the unit")
    unit: Literal["SECOND", "MINUTE", "HOUR", "DAY"] | None = Field(None, description="of the amount")
    until: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="a date, or a date and time, in the flow's time zone; a template",
    )
    time_windows: list[TimeWindowFormat] = Field(
        default_factory=list, max_length=100, description="when it may end; absent or empty: at any time"
    )
    when_replayed: Literal["auto", "wait", "skip"] = Field(
        "auto", description="auto: a replay waits where the delay stands in a loop with an action, else passes over it"
    )
    next: Target = Field(None, description="the next step; null ends the walk")


class ContactUpdateFormat(StepBase):
    """Changes ``contact.…`` for later steps; nothing is written to the platform."""

    type: Literal["contact_update"]
    first_name: Scalar = Field(None, description="a template; null leaves it as it is")
    last_name: Scalar = Field(None, description="a template; null leaves it as it is")
    email: Scalar = Field(None, description="a template; null leaves it as it is")
    external_url: Scalar = Field(None, description="a template; null leaves it as it is")
    meta: dict[Label, Scalar] = Field(
        default_factory=dict, description="custom fields; texts are templates, and null leaves a field as it is"
    )
    next: Target = Field(None, description="the next step; null ends the walk")


class TagFormat(StepBase):
    """Records tags; none is written to the platform."""

    type: Literal["tag"]
    contact_tags: list[Label] = Field(default_factory=list, description="for the contact; templates")
    conversation_tags: list[Label] = Field(default_factory=list, description="for the conversation; templates")
    append_tags: bool = Field(True, description="whether they join the tags that are there, or replace them")
    next: Target = Field(None, description="the next step; null ends the walk")


class AssignationFormat(StepBase):
    """Records who is to take over; nobody is assigned on the platform."""

    type: Literal["assignation"]
    assign_to_users: list[int] = Field(default_factory=list, description="the platform's numbers of users")
    assign_to_teams: list[int] = Field(default_factory=list, description="the platform's numbers of teams")
    next: Target = Field(None, description="the next step; null ends the walk")


class GoToFormat(StepBase):
    """Goes on with another step, an earlier one too."""

    type: Literal["go_to"]
    next: StepName = Field(description="the step to go on with")


class TriggerFlowFormat(StepBase):
    """Records that the contact goes on in another flow, and ends the walk."""

    type: Literal["trigger_flow"]
    next_flow: str = Field(min_length=1, max_length=255, description="id of the other flow")


class EndFormat(StepBase):
    """Ends the walk; lets an error exit end red."""

    type: Literal["end"]
    state: Literal["completed", "failed"] = Field("completed", description="what the contact ends as")
    reason: str | None = Field(None, max_length=1000, description="told with the state; a template")

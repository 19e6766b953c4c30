"""The steps that need no answer and send no request: they say, choose, wait, record, or jump."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

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
WindowTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?\Z")]


class MessageFormat(StepWithText, frozen=True, kw_only=True, tag="message"):
    """Says something; nothing is sent to WhatsApp."""

    type: ClassVar[str] = "message"
    next: Annotated[Target, Meta(description="the next step; null ends the walk")] = None


class ConditionFormat(FormatModel, frozen=True, kw_only=True):
    """One comparison; the conditions of a path are joined by AND."""

    field: Annotated[str, Meta(min_length=1, max_length=255, description="a reference without braces")]
    comparison: Annotated[
        Comparison, Meta(description="gt, gte, lt, and lte compare numbers, dates, or times; icontains ignores case")
    ]
    value: Annotated[Scalar, Meta(description="the value to compare with; text is a template")] = None


class PathFormat(FormatModel, frozen=True, kw_only=True):
    """One exit of a conditional."""

    name: Annotated[Annotated[str, Meta(max_length=100)] | None, Meta(description="the name of the exit in graphs")] = (
        None
    )
    conditions: Annotated[list[ConditionFormat], Meta(min_length=1, description="conditions that must all be true")]
    next: Annotated[Target, Meta(description="the next step; null ends the walk")] = None


class ConditionalFormat(StepBase, frozen=True, kw_only=True, tag="conditional"):
    """Takes the first path whose conditions are all true."""

    type: ClassVar[str] = "conditional"
    paths: Annotated[
        list[PathFormat],
        Meta(min_length=1, description="checked in order; the first whose conditions are all true is taken"),
    ]
    otherwise: Annotated[Target, Meta(description="the next step when no path applies; null ends the walk")] = None


class TimeWindowFormat(FormatModel, frozen=True, kw_only=True):
    """Hours of one weekday at which a delay may end, in the flow's time zone."""

    weekday: Annotated[int, Meta(ge=0, le=6, description="0 is Monday, 6 is Sunday")]
    start_at: Annotated[WindowTime | None, Meta(description="absent: from the start of the day")] = None
    end_at: Annotated[WindowTime | None, Meta(description="absent: until the end of the day")] = None


class DelayFormat(StepBase, frozen=True, kw_only=True, tag="delay"):
    """Waits."""

    type: ClassVar[str] = "delay"
    amount: Annotated[
        Annotated[float, Meta(ge=0, le=31_536_000)] | None, Meta(description="the duration, in the unit")
    ] = None
    unit: Annotated[Literal["SECOND", "MINUTE", "HOUR", "DAY"] | None, Meta(description="the unit of the amount")] = (
        None
    )
    until: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        Meta(description="a date, or a date and time, in the flow's time zone; a template"),
    ] = None
    time_windows: Annotated[
        list[TimeWindowFormat], Meta(max_length=100, description="when the delay may end; absent or empty: at any time")
    ] = field(default_factory=list)
    when_replayed: Annotated[
        Literal["auto", "wait", "skip"],
        Meta(description="auto: a replay waits if the delay is in a loop with an action, and otherwise skips it"),
    ] = "auto"
    next: Annotated[Target, Meta(description="the next step; null ends the walk")] = None


class ContactUpdateFormat(StepBase, frozen=True, kw_only=True, tag="contact_update"):
    """Changes ``contact.…`` for later steps; nothing is written to the platform."""

    type: ClassVar[str] = "contact_update"
    first_name: Annotated[Scalar, Meta(description="a template; null leaves it unchanged")] = None
    last_name: Annotated[Scalar, Meta(description="a template; null leaves it unchanged")] = None
    email: Annotated[Scalar, Meta(description="a template; null leaves it unchanged")] = None
    external_url: Annotated[Scalar, Meta(description="a template; null leaves it unchanged")] = None
    meta: Annotated[
        dict[Label, Scalar],
        Meta(description="custom fields; text values are templates, and null leaves a field unchanged"),
    ] = field(default_factory=dict)
    next: Annotated[Target, Meta(description="the next step; null ends the walk")] = None


class TagFormat(StepBase, frozen=True, kw_only=True, tag="tag"):
    """Records tags; none is written to the platform."""

    type: ClassVar[str] = "tag"
    contact_tags: Annotated[list[Label], Meta(description="tags of the contact; templates")] = field(
        default_factory=list
    )
    conversation_tags: Annotated[list[Label], Meta(description="tags of the conversation; templates")] = field(
        default_factory=list
    )
    append_tags: Annotated[bool, Meta(description="whether to add them to the existing tags, or replace those")] = True
    next: Annotated[Target, Meta(description="the next step; null ends the walk")] = None


class AssignationFormat(StepBase, frozen=True, kw_only=True, tag="assignation"):
    """Records who takes over; nobody is assigned on the platform."""

    type: ClassVar[str] = "assignation"
    assign_to_users: Annotated[list[int], Meta(description="user ids on the platform")] = field(default_factory=list)
    assign_to_teams: Annotated[list[int], Meta(description="team ids on the platform")] = field(default_factory=list)
    next: Annotated[Target, Meta(description="the next step; null ends the walk")] = None


class GoToFormat(StepBase, frozen=True, kw_only=True, tag="go_to"):
    """Continues with another step, which may be an earlier one."""

    type: ClassVar[str] = "go_to"
    next: Annotated[StepName, Meta(description="the next step")]


class TriggerFlowFormat(StepBase, frozen=True, kw_only=True, tag="trigger_flow"):
    """Records that the contact continues in another flow, and ends the walk."""

    type: ClassVar[str] = "trigger_flow"
    next_flow: Annotated[str, Meta(min_length=1, max_length=255, description="the id of the other flow")]


class EndFormat(StepBase, frozen=True, kw_only=True, tag="end"):
    """Ends the walk; an error exit can end it as failed."""

    type: ClassVar[str] = "end"
    state: Annotated[Literal["completed", "failed"], Meta(description="the final state of the contact")] = "completed"
    reason: Annotated[
        Annotated[str, Meta(max_length=1000)] | None, Meta(description="reported with the state; a template")
    ] = None

"""Builds the steps that choose, wait, record, or jump."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from airflow_whatsapp_flows.flow.conditions import Condition, check_ordered
from airflow_whatsapp_flows.flow.format.acting import (
    AssignationFormat,
    ConditionalFormat,
    ConditionFormat,
    ContactUpdateFormat,
    DelayFormat,
    EndFormat,
    GoToFormat,
    TagFormat,
    TimeWindowFormat,
    TriggerFlowFormat,
)
from airflow_whatsapp_flows.flow.format.common import Scalar
from airflow_whatsapp_flows.flow.json_source import Path
from airflow_whatsapp_flows.flow.loading.builder import Builders, StepBuilder
from airflow_whatsapp_flows.flow.model.routing import (
    Assignation,
    Conditional,
    ConditionPath,
    ContactUpdate,
    Delay,
    End,
    GoTo,
    Tag,
    TriggerFlow,
)
from airflow_whatsapp_flows.flow.model.step import Text
from airflow_whatsapp_flows.flow.moments import parse_moment
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.waiting import SECONDS, TimeWindow, WaitRule

_CONTACT_FIELDS = ("first_name", "last_name", "email", "external_url")


def build_conditional(builder: StepBuilder, step: ConditionalFormat) -> Conditional:
    """A conditional."""
    paths = tuple(
        ConditionPath(
            path.name or f"path {number + 1}",
            tuple(
                condition
                for index, written in enumerate(path.conditions)
                if (condition := _condition(builder, written, ("paths", number, "conditions", index))) is not None
            ),
            path.next,
        )
        for number, path in enumerate(step.paths)
    )
    return Conditional(**builder.common, paths=paths, otherwise=step.otherwise)


def _condition(builder: StepBuilder, written: ConditionFormat, path: Path) -> Condition | None:
    reference = builder.reference(written.field, *path, "field")
    value = written.value
    ordered = written.comparison in ("gt", "gte", "lt", "lte")
    if isinstance(value, str):
        parsed = builder.text(value, *path, "value")
        if ordered and isinstance(parsed, str):
            builder.check(lambda: check_ordered(value), *path, "value")
        return None if parsed is None or reference is None else Condition(reference, written.comparison, parsed)
    if ordered:
        builder.check(lambda: check_ordered(value), *path, "value")
    return None if reference is None else Condition(reference, written.comparison, value)


def build_delay(builder: StepBuilder, step: DelayFormat) -> Delay:
    """A delay."""
    zone = builder.flow.timezone
    until = builder.text(step.until, "until")
    if isinstance(until, str):
        text = until
        builder.check(lambda: parse_moment(text, _zone(zone)), "until")
    if step.until is not None and step.amount is not None:
        builder.add(TemplateFault("a delay cannot have both 'amount' and 'until'; remove one"), "until")
    if step.until is None and step.amount is None:
        builder.add(TemplateFault("a delay needs 'amount' and 'unit', or 'until'"))
    if step.amount is not None and step.unit is None:
        units = ", ".join(SECONDS)
        builder.add(TemplateFault(f"an amount needs a 'unit'; allowed: {units}"), "amount")
    if step.amount is None and step.unit is not None:
        builder.add(TemplateFault("a unit needs an 'amount'"), "unit")
    windows = tuple(
        window
        for index, written in enumerate(step.time_windows)
        if (window := _window(builder, written, index)) is not None
    )
    seconds = builder.seconds(step.amount or 0, step.unit or "SECOND", "amount")
    return Delay(
        **builder.common,
        rule=WaitRule(seconds, windows, zone),
        until=until,
        when_replayed=step.when_replayed,
        next=step.next,
    )


def _zone(name: str) -> dt.tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # loading says so
        return dt.timezone.utc


def _window(builder: StepBuilder, written: TimeWindowFormat, index: int) -> TimeWindow | None:
    start = dt.time.fromisoformat(written.start_at or "00:00")
    end = dt.time.fromisoformat(written.end_at) if written.end_at else None
    if end is not None and end <= start:
        message = "a window must end after it starts; for one over midnight, write two windows with two weekdays"
        builder.add(TemplateFault(message), "time_windows", index, "end_at")
        return None
    return TimeWindow(written.weekday, start, end)


def build_contact_update(builder: StepBuilder, step: ContactUpdateFormat) -> ContactUpdate:
    """A change of the contact."""
    changes = {
        name: _value(builder, value, name) for name in _CONTACT_FIELDS if (value := getattr(step, name)) is not None
    }
    meta = {name: _value(builder, value, "meta", name) for name, value in step.meta.items() if value is not None}
    return ContactUpdate(**builder.common, changes=changes, meta=meta, next=step.next)


def _value(builder: StepBuilder, value: Scalar, *path: str) -> Text | bool | int | float:
    return builder.text(value, *path) if isinstance(value, str) else value


def build_tag(builder: StepBuilder, step: TagFormat) -> Tag:
    """Tags."""
    return Tag(
        **builder.common,
        contact_tags=builder.texts(step.contact_tags, "contact_tags"),
        conversation_tags=builder.texts(step.conversation_tags, "conversation_tags"),
        append_tags=step.append_tags,
        next=step.next,
    )


def build_assignation(builder: StepBuilder, step: AssignationFormat) -> Assignation:
    """An assignation."""
    users, teams = tuple(step.assign_to_users), tuple(step.assign_to_teams)
    return Assignation(**builder.common, users=users, teams=teams, next=step.next)


def build_go_to(builder: StepBuilder, step: GoToFormat) -> GoTo:
    """A jump."""
    return GoTo(**builder.common, next=step.next)


def build_trigger_flow(builder: StepBuilder, step: TriggerFlowFormat) -> TriggerFlow:
    """A change into another flow."""
    return TriggerFlow(**builder.common, next_flow=step.next_flow)


def build_end(builder: StepBuilder, step: EndFormat) -> End:
    """An end."""
    return End(**builder.common, state=step.state, reason=builder.text(step.reason, "reason"))


BUILD_OTHER: Builders = {
    "conditional": build_conditional,
    "delay": build_delay,
    "contact_update": build_contact_update,
    "tag": build_tag,
    "assignation": build_assignation,
    "go_to": build_go_to,
    "trigger_flow": build_trigger_flow,
    "end": build_end,
}

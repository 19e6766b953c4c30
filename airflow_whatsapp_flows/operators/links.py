"""Links that Airflow shows beside a task.

Airflow asks for them when the task has ended, in the task's own process, and stores them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import BaseOperatorLink

from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.result import Outcome
from airflow_whatsapp_flows.operators.flow_step import FlowStep


class RecordLink(BaseOperatorLink):
    """Leads to what an action created: the ``record_url`` of its step, filled from the reply."""

    name = "CRM record"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The URL; empty if the task created nothing, or the reply gives no URL."""
        return getattr(operator, "record_link", None) or ""


def links_of(step: FlowStep) -> tuple[BaseOperatorLink, ...]:
    """Return the links of a task.

    Args:
        step: of the task.
    """
    actions = (step.flow.steps[name] for name in step.own)
    return (RecordLink(),) if any(isinstance(one, Action) and one.record_url for one in actions) else ()


def find_record_link(flow: Flow, visits: Iterable[Any]) -> str | None:
    """Return the ``record_url`` of the last success among some visits; ``None`` without one.

    Args:
        flow: of the visits.
        visits: of actions and other steps, in order.
    """
    link = None
    for visit in visits:
        step = flow.steps[visit.step]
        if not isinstance(step, Action) or step.record_url is None or visit.result is None:
            continue
        if visit.result.outcome is Outcome.SUCCESS and not flow.gives_sensitive(visit.step):
            link = step.record_url.build(visit.result.as_value())
    return link

"""Links that Airflow shows beside a task.

Airflow asks for them when the task has ended, in the task's own process, and stores them as XComs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.configuration import conf

from airflow_whatsapp_flows.dag_names import PAGES
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.result import Outcome
from airflow_whatsapp_flows.operators.flow_step import FlowStep


class RecordLink(BaseOperatorLink):
    """Leads to what an action created: the ``record_url`` of its step, filled from the reply."""

    name = "CRM record"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The URL; empty if the task created nothing, or the reply gives no URL."""
        return getattr(operator, "record_link", None) or ""


class ReplayLink(BaseOperatorLink):
    """Leads to the page of a task's replay."""

    name = "Replay"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The path of the page, below Airflow's own; empty if there is no replay, as after a dry run."""
        replay_id = getattr(operator, "linked_replay", None)
        return "" if replay_id is None else replay_path(replay_id)


REPLAY_LINK = ReplayLink()


def replay_path(replay_id: str) -> str:
    """Return the path of a replay's page, below Airflow's own."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}{PAGES}/replays/{quote(replay_id, safe='')}"


def link_replay(task: Any, context: Context, replay_id: str) -> None:
    """Link a task to its replay as soon as it runs, because Airflow itself stores links only at the end.

    Args:
        task: of the replay.
        context: Airflow's, of the running task.
        replay_id: name of the replay.
    """
    task.linked_replay = replay_id
    context["ti"].xcom_push(key=REPLAY_LINK.xcom_key, value=replay_path(replay_id))


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

"""What the tasks of a replay do with what an approval chose.

A process that only parses DAG files doesn't import this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.groups import error_groups
from airflow_whatsapp_flows.ledger.holds import count_sendable, hold_after, hold_of, release_held
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.operators.canary_text import canary_lines
from airflow_whatsapp_flows.operators.failures import TaskFailureError, task_errors
from airflow_whatsapp_flows.operators.replay_approval import CANARY
from airflow_whatsapp_flows.operators.replay_choice import CHOICE, Choice
from airflow_whatsapp_flows.operators.run_input import run_id_of
from airflow_whatsapp_flows.replay.canary import canary_report, canary_value
from airflow_whatsapp_flows.replay.host_limits import ANY_HOST
from airflow_whatsapp_flows.replay.report import deliveries_of, errors_value, flow_of_replay
from airflow_whatsapp_flows.replay.status import get_replay

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.replay import ReplayTask
    from airflow_whatsapp_flows.operators.replay_canary import ReplayCanaryOperator

_SHOWN_ERRORS = 10


def run_canary(task: ReplayCanaryOperator, context: Context) -> dict[str, Any]:
    """Send the canary, push what came of it, and return the status of the replay."""
    from airflow_whatsapp_flows.operators.replay_run import run_replay_task

    choice = find_choice(task, context)
    if choice is None or choice.canary is None:
        raise AirflowSkipException("no canary: all contacts are sent at once")
    status = run_replay_task(task, context)
    with task_errors(task.task_id), airflow_ledger(provider_settings()) as ledger:
        replay = get_replay(ledger, status["replay_id"])
        report = canary_report(ledger, replay)
        if report is None:
            raise TaskFailureError(f"{task.task_id}: the canary was released while it was sent")
        errors = errors_value(error_groups(ledger, replay, _SHOWN_ERRORS), deliveries_of(flow_of_replay(replay)))
    value = {**canary_value(report), "others": report.others, "total": report.total, "errors": errors}
    for line in canary_lines(value):
        task.log.info("%s", line)
    context["ti"].xcom_push(key=CANARY, value=value)
    return status


def find_choice(task: ReplayTask, context: Context) -> Choice | None:
    """Return what an approval chose; ``None`` if nobody was asked.

    Raises:
        TaskFailureError: the approval has not passed.
    """
    if task.approval_task is None:
        return None
    value = context["ti"].xcom_pull(task_ids=task.approval_task, key=CHOICE)
    if value is None:
        raise TaskFailureError(
            f"{task.task_id}: {task.approval_task!r} has not passed, so nothing is sent; clear it to ask again"
        )
    return Choice.from_value(value)


def hold_as_chosen(ledger: Ledger, replay: Replay, task: ReplayTask, choice: Choice, context: Context) -> Replay:
    """Hold contacts as an approval chose, and return the replay as it is then.

    Raises:
        AirflowSkipException: it is the task of a canary, and there are no other contacts.
    """
    key = f"{getattr(context.get('ti'), 'dag_id', '')}/{run_id_of(context)}/{choice.key}"
    if choice.limit is None:
        release_held(ledger, replay.no, "limit")
    else:
        hold_after(ledger, replay.no, "limit", choice.limit, key)
    if task.is_canary and choice.canary is not None:
        if hold_after(ledger, replay.no, "canary", choice.canary, key) is None:
            raise AirflowSkipException("no canary is needed: there are no other contacts")
    elif choice.canary is None:
        release_held(ledger, replay.no, "canary")
    elif (found := hold_of(replay, "canary")) is None or found.key != key:
        # The canary was skipped by hand, so nobody has decided about the others; or there are none.
        hold_after(ledger, replay.no, "canary", choice.canary, key)
    return get_replay(ledger, replay.id)


def lower_rates(rates: Mapping[str, float], rate: float | None) -> dict[str, float]:
    """Return rates by host of which none is higher than the chosen one."""
    if rate is None:
        return dict(rates)
    return {host: min(rate, one) for host, one in {ANY_HOST: rate, **rates}.items()}


def release_canary(task_id: str, replay_id: str) -> None:
    """Release the contacts behind the canary of a replay."""
    with task_errors(task_id), airflow_ledger(provider_settings()) as ledger:
        release_held(ledger, get_replay(ledger, replay_id).no, "canary")


def find_held(ledger: Ledger, replay: Replay, pending: int) -> tuple[int, str | None]:
    """Return how many contacts are held, and what is wrong about it: they wait for a decision about the canary.

    Args:
        pending: number of pending contacts.
    """
    held = pending - count_sendable(ledger, replay, pending)
    canary = hold_of(replay, "canary")
    if not held or canary is None or canary.is_released:
        return held, None
    return held, (
        f"stopped after the canary of {canary.size:,} contacts: {held:,} are held; clear `approve_canary` with its "
        "downstream tasks to decide again, or send them with `whatsapp-flows replay run … --release`"
    )

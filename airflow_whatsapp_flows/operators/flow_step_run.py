"""What the tasks of a flow's steps do when they run. A process that only parses DAG files doesn't import this."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, Wait, Waited
from airflow_whatsapp_flows.flow.walk.walk import Visit
from airflow_whatsapp_flows.hooks.action import provider_settings, sender_from_airflow
from airflow_whatsapp_flows.operators.action_run import conclude
from airflow_whatsapp_flows.operators.failures import task_errors
from airflow_whatsapp_flows.operators.flow_exits import IN_DOUBT
from airflow_whatsapp_flows.operators.flow_step import FlowStep
from airflow_whatsapp_flows.operators.large_replies import cut_for_xcom
from airflow_whatsapp_flows.operators.links import find_record_link
from airflow_whatsapp_flows.operators.rewalk import Rewalk
from airflow_whatsapp_flows.operators.send import TaskSender
from airflow_whatsapp_flows.operators.wait import pause_until, utc_now

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.delay import FlowDelayOperator
    from airflow_whatsapp_flows.operators.flow_steps import FlowActionOperator, FlowStepOperator


def run_flow_action(task: FlowActionOperator, context: Context) -> dict[str, Value]:
    """Send the request of an action step for the run's contact, and return its result.

    Raises:
        TaskFailureError: the walk ends here as failed.
        AirflowSkipException: the walk does not reach the step.
    """
    with task_errors(task.task_id):
        request_sender = sender_from_airflow()
        walked = Rewalk(task.step, context, request_sender.settings)
        sender = TaskSender(task, context, request_sender, walked.recipient, comparison=walked.comparison)
        walked.perform_own(sender.do)
    walked.note_end(task.log)
    task.record_link = find_record_link(task.step.flow, walked.own_visits)
    for visit in walked.own_visits:
        if visit.result is not None:
            walked.note_leaving(utc_now())
            in_doubt = note_doubt(task, context, walked)
            in_ledger = task.step.flow.gives_sensitive(visit.step)
            return conclude(
                task, visit.result, context, request_sender, walked.recipient, in_doubt=in_doubt, in_ledger=in_ledger
            )
    walked.fail_if_ended_here()
    raise AirflowSkipException(not_on_the_way(task.step))


def run_flow_step(task: FlowStepOperator, context: Context) -> dict[str, Value]:
    """Walk through a step that neither sends nor waits, and choose the next task; see :func:`_walk_through`."""
    return _walk_through(task, context, lambda _walked, _effect: Waited())


def run_delay(task: FlowDelayOperator, context: Context, *, rested: bool) -> dict[str, Value]:
    """Wait, and choose the next task; see :func:`_walk_through`.

    Args:
        task: of the delay.
        context: Airflow's, of the running task.
        rested: whether the wait is over.

    Raises:
        TaskDeferred: Airflow resumes the task when the wait is over.
    """

    def wait(walked: Rewalk, effect: Effect) -> EffectResult:
        if isinstance(effect, Wait) and not rested:
            pause_until(task, effect.ends(walked.find_arrival(utc_now())))
        return Waited()

    return _walk_through(task, context, wait)


def _walk_through(
    task: FlowStepOperator, context: Context, do: Callable[[Rewalk, Effect], EffectResult]
) -> dict[str, Value]:
    """Walk to the step and through it, and choose the next task.

    Args:
        task: of the step.
        context: Airflow's, of the running task.
        do: performs the effect of the step; most steps have none.

    Raises:
        TaskFailureError: the walk ends here as failed.
        AirflowSkipException: the walk does not reach the step.
    """
    with task_errors(task.task_id):
        settings = provider_settings()
        walked = Rewalk(task.step, context, settings)
        walked.perform_own(lambda effect: do(walked, effect))
    walked.note_end(task.log)
    if not walked.own_visits:
        walked.fail_if_ended_here()
        raise AirflowSkipException(not_on_the_way(task.step))
    visit = walked.own_visits[0]
    if visit.reason is not None:
        task.log.warning("%s: %s", visit.step, visit.reason)
    value = _value(visit, settings.xcom_max_bytes)
    # Failing and skipping end a task by an exception, past its return.
    context["ti"].xcom_push(key="return_value", value=value)
    walked.fail_if_ended_here()
    walked.note_leaving(utc_now())
    task.do_branch(context, [] if visit.target is None else [task.step.task_ids[visit.target]])
    return value


def note_doubt(task: BaseOperator, context: Context, walked: Rewalk) -> bool:
    """Log and push to XCom that the outcome of a task's own requests is unknown; return whether it is.

    Args:
        task: that sent them.
        context: Airflow's, of the running task.
        walked: the walk through the task's steps.
    """
    unknown = walked.unknown_outcomes
    if unknown is not None:
        task.log.error("%s", unknown)
        context["ti"].xcom_push(key=IN_DOUBT, value=unknown)
    return unknown is not None


def not_on_the_way(step: FlowStep) -> str:
    """Why a task skips itself."""
    return f"the contact's path does not include {step.name!r}"


def _value(visit: Visit, max_bytes: int) -> dict[str, Value]:
    # A text may hold a whole reply, and nobody reads it but people; so may the variables of a message template.
    text = None if visit.text is None else cut_for_xcom(visit.text, max_bytes)
    details = None if visit.details is None else dict(visit.details)
    if details is not None and len(json.dumps(details)) > max_bytes // 2:
        details = {"left_out": "too large for XCom"}
    value: dict[str, Value] = {
        "step": visit.step,
        "exit": visit.exit,
        "next": visit.target,
        "text": text,
        "details": details,
    }
    return value if visit.reason is None else {**value, "reason": visit.reason}

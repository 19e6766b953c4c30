"""What the task of a loop does when it runs. A process that only parses DAG files doesn't import this."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.flow.reply.result import Outcome
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, Wait, Waited
from airflow_whatsapp_flows.hooks.action import sender_from_airflow
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.operators.action_output import result_line
from airflow_whatsapp_flows.operators.failures import task_errors
from airflow_whatsapp_flows.operators.flow_exits import IN_DOUBT_SUFFIX
from airflow_whatsapp_flows.operators.flow_step_run import not_on_the_way, note_doubt
from airflow_whatsapp_flows.operators.links import find_record_link
from airflow_whatsapp_flows.operators.loop import actions_of
from airflow_whatsapp_flows.operators.loop_value import exit_of_loop, loop_value
from airflow_whatsapp_flows.operators.retry import ActionRetryError
from airflow_whatsapp_flows.operators.rewalk import Rewalk
from airflow_whatsapp_flows.operators.send import TaskSender
from airflow_whatsapp_flows.operators.wait import pause_until, utc_now
from airflow_whatsapp_flows.sender import RequestSender

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.loop import FlowLoopOperator


def run_loop(task: FlowLoopOperator, context: Context, *, rested: bool) -> dict[str, Value]:
    """Walk the loop of a task, and choose the next task.

    Args:
        task: of the loop.
        context: Airflow's, of the running task.
        rested: whether the task resumes after a deferral.

    Raises:
        TaskDeferred: a wait is long; Airflow resumes the task when it is over.
        TaskFailureError: the walk ends in the loop as failed.
        AirflowSkipException: the walk does not reach the loop.
    """
    with task_errors(task.task_id):
        request_sender = sender_from_airflow()
        walked = Rewalk(task.step, context, request_sender.settings)
        sender = TaskSender(
            task, context, request_sender, walked.recipient, waits_itself=True, comparison=walked.comparison
        )
        going = _LoopRun(task, sender, rested)
        walked.perform_own(going.do)
        walked.note_end(task.log)
        if not walked.own_visits:
            walked.fail_if_ended_here()
            raise AirflowSkipException(not_on_the_way(task.step))
        if walked.next_step is not None:
            going.wait()
        value = _value(task, walked, request_sender)
        task.record_link = find_record_link(task.step.flow, walked.own_visits)
    rules = {action.name: action.retry for action in actions_of(task.step)}
    for visit in walked.own_visits:
        if visit.result is not None and visit.result.outcome is Outcome.ERROR:
            line = result_line(visit.result, rules[visit.step])
            which = "leaves by the error exit" if visit.exit else "ends with an error"
            task.log.warning("%s, visit %s, %s: %s", visit.step, visit.number, which, line)
        if visit.reason is not None:
            task.log.warning("%s, visit %s: %s", visit.step, visit.number, visit.reason)
    # Failing and skipping end a task by an exception, past its return.
    context["ti"].xcom_push(key="return_value", value=value)
    in_doubt = note_doubt(task, context, walked)
    walked.fail_if_ended_here()
    walked.note_leaving(utc_now())
    target = walked.next_step
    chosen = [] if target is None else [task.step.task_ids[target]]
    task.do_branch(context, [*chosen, f"{task.task_id}{IN_DOUBT_SUFFIX}"] if in_doubt else chosen)
    return value


def _value(task: FlowLoopOperator, walked: Rewalk, request_sender: RequestSender) -> dict[str, Value]:
    visits = walked.own_visits
    attempts = walked.attempts
    if any(visit.result is not None for visit in visits):
        with task_ledger(request_sender.settings).transaction() as transaction:
            attempts = transaction.attempts(walked.recipient.subject)
    value = loop_value(task.step.flow, task.step.own, visits, attempts, request_sender.settings.xcom_max_bytes)
    way = exit_of_loop(task.step.flow, visits[-1], walked.next_step)
    return {**value, "exit": way, "next": walked.next_step}


class _LoopRun:
    """Performs the effects of the steps of a loop.

    Args:
        task: of the loop.
        sender: sends its requests.
        rested: whether the task resumes after a deferral. The recorded results take the walk to the same place, so the
            first wait it reaches is over.
    """

    def __init__(self, task: FlowLoopOperator, sender: TaskSender, rested: bool) -> None:
        self._task = task
        self._sender = sender
        self._rested = rested
        self._pending: list[Wait] = []

    def do(self, effect: Effect) -> EffectResult:
        """Perform one effect.

        Raises:
            TaskDeferred: a wait is long.
        """
        if isinstance(effect, Wait):
            self._pending.append(effect)
            return Waited()
        if (self._pending or self._rested) and self._sender.will_send(effect):
            self.wait()
        self._pending.clear()  # what was sent before was waited for then
        while True:
            try:
                return self._sender.do(effect)
            except ActionRetryError as error:
                self._task.log.info("%s", error)
                pause_until(self._task, utc_now() + dt.timedelta(seconds=error.wait))

    def wait(self) -> None:
        """Wait for the delays since the last request.

        Raises:
            TaskDeferred: they are long.
        """
        moment = utc_now()
        for delay in self._pending:
            moment = delay.ends(moment)
        if self._pending and not self._rested:
            pause_until(self._task, moment)
        self._pending.clear()
        self._rested = False

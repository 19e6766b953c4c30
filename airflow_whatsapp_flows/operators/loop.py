"""A loop of a flow as one task, because a DAG cannot have loops."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from airflow.sdk import BaseBranchOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.result import Outcome
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, Wait, Waited
from airflow_whatsapp_flows.hooks.action import WhatsAppActionHook, sender_from_airflow
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.operators.action_output import result_line
from airflow_whatsapp_flows.operators.failures import task_errors
from airflow_whatsapp_flows.operators.flow_exits import IN_DOUBT_SUFFIX
from airflow_whatsapp_flows.operators.flow_steps import not_on_the_way, note_doubt
from airflow_whatsapp_flows.operators.loop_value import exit_of_loop, loop_value
from airflow_whatsapp_flows.operators.retry import ActionRetryError, retry_arguments
from airflow_whatsapp_flows.operators.rewalk import FlowStep, Rewalk
from airflow_whatsapp_flows.operators.send import TaskSender
from airflow_whatsapp_flows.operators.wait import pause_until, utc_now
from airflow_whatsapp_flows.sender import RequestSender


class FlowLoopOperator(BaseBranchOperator):
    """Walks the steps of a loop until the contact leaves it, then follows the exit taken.

    Its XCom is ``loop`` (names of the steps), ``visits`` (``step``, ``visit``, ``exit``, ``next``, …, in order),
    ``actions`` (the results of each action, one per visit), ``exit`` (``"<step>: <exit>"``) and ``next``.

    Every request is recorded in the ledger, as in an action task: a retry after a kill takes the recorded results from
    there and continues. Between two attempts of an action, and at a delay before a request, the task itself waits:
    asleep below 5 seconds, otherwise deferred. So ``retry.attempts`` counts for each visit separately, and Airflow's
    ``retries``, one less than the maximum of the loop's actions, are only for workers that die and for a ledger that
    cannot be written.

    Args:
        step: its position in the flow: the first step of the loop.
        **kwargs: for ``BaseOperator``.
    """

    ui_color = "#cfe8ff"
    ui_fgcolor = "#000000"
    custom_operator_name = "Loop"

    # What an action has in a DAG written by hand, and in a flow file has not.
    log_response = False
    response_check = None
    response_filter = None

    def __init__(self, *, step: FlowStep, **kwargs: Any) -> None:
        super().__init__(**_add_retry_arguments(step, kwargs))
        self.step = step

    def action_hook(self, conn_id: str) -> WhatsAppActionHook:
        """The hook of a connection."""
        return WhatsAppActionHook(conn_id)

    def execute(self, context: Context) -> dict[str, Value]:
        """Walk the loop, and choose the next task.

        Raises:
            TaskDeferred: a wait is long; Airflow resumes the task when it is over.
            AirflowFailException: the walk ends in the loop as failed, or a step has no visits left and no exit for
                that.
        """
        return self._walk(context, rested=False)

    def go_on(self, context: Context, event: Any = None) -> dict[str, Value]:
        """Resume when a wait is over."""
        return self._walk(context, rested=True)

    def _walk(self, context: Context, *, rested: bool) -> dict[str, Value]:
        with task_errors(self.task_id):
            request_sender = sender_from_airflow()
            walked = Rewalk(self.step, context, request_sender.settings)
            sender = TaskSender(self, context, request_sender, walked.recipient, waits_itself=True)
            going = _LoopRun(self, sender, rested)
            walked.perform_own(going.do)
            walked.note_end(self.log)
            if not walked.own_visits:
                walked.fail_if_ended_here()
                raise AirflowSkipException(not_on_the_way(self.step))
            if walked.next_step is not None:
                going.wait()
            value = self._value(walked, request_sender)
        rules = {action.name: action.retry for action in _actions(self.step)}
        for visit in walked.own_visits:
            if visit.result is not None and visit.result.outcome is Outcome.ERROR:
                line = result_line(visit.result, rules[visit.step])
                which = "leaves by the error exit" if visit.exit else "ends with an error"
                self.log.warning("%s, visit %s, %s: %s", visit.step, visit.number, which, line)
            if visit.reason is not None:
                self.log.warning("%s, visit %s: %s", visit.step, visit.number, visit.reason)
        # Failing and skipping end a task by an exception, past its return.
        context["ti"].xcom_push(key="return_value", value=value)
        in_doubt = note_doubt(self, context, walked)
        walked.fail_if_ended_here()
        walked.note_leaving(utc_now())
        target = walked.next_step
        chosen = [] if target is None else [self.step.task_ids[target]]
        self.do_branch(context, [*chosen, f"{self.task_id}{IN_DOUBT_SUFFIX}"] if in_doubt else chosen)
        return value

    def _value(self, walked: Rewalk, request_sender: RequestSender) -> dict[str, Value]:
        visits = walked.own_visits
        attempts = walked.attempts
        if any(visit.result is not None for visit in visits):
            with task_ledger(request_sender.settings).transaction() as transaction:
                attempts = transaction.attempts(walked.recipient.subject)
        value = loop_value(self.step.flow, self.step.own, visits, attempts, request_sender.settings.xcom_max_bytes)
        way = exit_of_loop(self.step.flow, visits[-1], walked.next_step)
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


def _actions(step: FlowStep) -> list[Action]:
    steps: Iterable[Any] = (step.flow.steps[name] for name in step.own)
    return [found for found in steps if isinstance(found, Action)]


def _add_retry_arguments(step: FlowStep, kwargs: dict[str, Any]) -> dict[str, Any]:
    rule = max((action.retry for action in _actions(step)), key=lambda retry: retry.attempts, default=None)
    if rule is None:
        return kwargs
    names = ("attempts", "wait", "max_wait", "backoff")
    return retry_arguments({name: getattr(rule, name) for name in names}, kwargs)

"""A loop of a flow as one task, because a DAG cannot have loops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseBranchOperator, Context

from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.operators.flow_step import FlowStep
from airflow_whatsapp_flows.operators.links import links_of
from airflow_whatsapp_flows.operators.retry import retry_arguments
from airflow_whatsapp_flows.operators.task_docs import lazy_doc, step_doc

if TYPE_CHECKING:
    from airflow_whatsapp_flows.hooks.action import WhatsAppActionHook


class FlowLoopOperator(BaseBranchOperator):
    """Walks the steps of a loop until the contact leaves it, then follows the exit taken.

    Its XCom is ``loop`` (names of the steps), ``visits`` (``step``, ``visit``, ``exit``, ``next``, …, in order),
    ``actions`` (the results of each action, one per visit), ``exit`` (``"<step>: <exit>"``) and ``next``.

    Every request is recorded in the ledger, as in an action task: a retry after a kill takes the recorded results from
    there and continues. Between two attempts of an action, and at a delay before a request, the task itself waits:
    asleep below 5 seconds, otherwise deferred. So ``retry.attempts`` counts for each visit separately, and Airflow's
    ``retries``, one less than the maximum of the loop's actions, are only for workers that die and for a ledger that
    cannot be written.
    """

    step: FlowStep
    record_link: str | None = None
    """Where people find what its last success created."""
    doc_md = lazy_doc(lambda task: step_doc(task.step))
    ui_color = "#cfe8ff"
    ui_fgcolor = "#000000"
    custom_operator_name = "Loop"

    # What an action has in a DAG written by hand, and in a flow file has not.
    log_response = False
    response_check = None
    response_filter = None

    @classmethod
    def of_step(cls, step: FlowStep, **kwargs: Any) -> FlowLoopOperator:
        """Create the task of a loop.

        Args:
            step: the first step of the loop.
            **kwargs: for ``BaseOperator``.
        """
        task = cls(**_add_retry_arguments(step, kwargs))
        task.step = step
        task.operator_extra_links = links_of(step)
        return task

    def action_hook(self, conn_id: str) -> WhatsAppActionHook:
        """The hook of a connection."""
        from airflow_whatsapp_flows.hooks.action import WhatsAppActionHook

        return WhatsAppActionHook(conn_id)

    def execute(self, context: Context) -> dict[str, Value]:
        """Walk the loop, and choose the next task.

        Raises:
            TaskDeferred: a wait is long; Airflow resumes the task when it is over.
            TaskFailureError: the walk ends in the loop as failed, or a step has no visits left and no exit for
                that.
        """
        return self._walk(context, rested=False)

    def go_on(self, context: Context, event: Any = None) -> dict[str, Value]:
        """Resume when a wait is over."""
        return self._walk(context, rested=True)

    def _walk(self, context: Context, *, rested: bool) -> dict[str, Value]:
        from airflow_whatsapp_flows.operators.loop_run import run_loop

        return run_loop(self, context, rested=rested)


def actions_of(step: FlowStep) -> list[Action]:
    """Return the actions among a task's steps."""
    steps: Iterable[Any] = (step.flow.steps[name] for name in step.own)
    return [found for found in steps if isinstance(found, Action)]


def _add_retry_arguments(step: FlowStep, kwargs: dict[str, Any]) -> dict[str, Any]:
    rule = max((action.retry for action in actions_of(step)), key=lambda retry: retry.attempts, default=None)
    if rule is None:
        return kwargs
    names = ("attempts", "wait", "max_wait", "backoff")
    return retry_arguments({name: getattr(rule, name) for name in names}, kwargs)

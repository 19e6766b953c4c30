"""The steps of a flow file as tasks.

A task knows only its flow and its step. It walks the flow again from the start with the results that earlier tasks
recorded, so :func:`~airflow_whatsapp_flows.flow.walk.walk.walk` alone decides what a step sees and whether it is
visited. Airflow never renders the flow's text.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseBranchOperator, Context

from airflow_whatsapp_flows.flow.delivery.rule import RetryRule
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.operators.action import WhatsAppActionOperator
from airflow_whatsapp_flows.operators.flow_step import FlowStep
from airflow_whatsapp_flows.operators.links import links_of
from airflow_whatsapp_flows.operators.step_display import step_for_display
from airflow_whatsapp_flows.operators.task_docs import lazy_doc, step_doc


class FlowActionOperator(WhatsAppActionOperator):
    """An action step of a flow file. Created by :func:`~airflow_whatsapp_flows.dag_factory.build_dag`.

    Its template fields are only for Airflow's pages, with possible secrets hidden; the request is built from the flow.
    """

    custom_operator_name = "Action"
    step: FlowStep
    record_link: str | None = None
    """Where people find what it created, once it has."""
    doc_md = lazy_doc(lambda task: step_doc(task.step))

    @classmethod
    def of_step(cls, step: FlowStep, **kwargs: Any) -> FlowActionOperator:
        """Create the task of an action step.

        Airflow merges default arguments in each constructor of a class: a class without its own is created faster.

        Args:
            step: where it stands.
            **kwargs: for ``BaseOperator``.
        """
        action = _action(step)
        written = step_for_display(step.flow, step.name)
        task = cls(
            url=written["url"],
            method=action.plan.method,
            headers=written.get("headers"),
            query_params=written.get("query_params") or {},
            **({"body": written["body"]} if "body" in written else {}),
            body_type=action.plan.body_type.value,
            http_conn_id=action.plan.connection,
            timeout=action.timeout,
            on_error="branch" if action.has_error_exit else "fail",
            delivery=action.retry.delivery.value,
            retry={
                "attempts": action.retry.attempts,
                "wait": action.retry.wait,
                "max_wait": action.retry.max_wait,
                "backoff": action.retry.backoff,
            },
            **kwargs,
        )
        task.step = step
        if action.record_url is not None:
            task.operator_extra_links = links_of(step)
        return task

    def execute(self, context: Context) -> dict[str, Value]:
        """Send the request of this step for the run's contact, and return its result."""
        from airflow_whatsapp_flows.operators.flow_step_run import run_flow_action

        return run_flow_action(self, context)

    def rule(self, method: str) -> RetryRule:
        """As the flow says."""
        return _action(self.step).retry


class FlowStepOperator(BaseBranchOperator):
    """Any other step of a flow file: follows the exit that the contact's answers select."""

    step: FlowStep
    doc_md = lazy_doc(lambda task: step_doc(task.step))
    ui_color = "#ece5dd"
    ui_fgcolor = "#000000"

    @classmethod
    def of_step(cls, step: FlowStep, **kwargs: Any) -> FlowStepOperator:
        """Create the task of a step.

        Args:
            step: where it stands.
            **kwargs: for ``BaseOperator``.
        """
        task = cls(**kwargs)
        task.step = step
        return task

    def execute(self, context: Context) -> dict[str, Value]:
        """Choose the next task, and return the exit, the next step, the text, and other details."""
        from airflow_whatsapp_flows.operators.flow_step_run import run_flow_step

        return run_flow_step(self, context)


def _action(step: FlowStep) -> Action:
    action = step.flow.steps[step.name]
    if not isinstance(action, Action):
        raise TypeError(f"{step.name!r} is not an action")
    return action

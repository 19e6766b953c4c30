"""The steps of a flow file as tasks.

A task knows only its flow and its step. It walks the flow again from the start with the results that earlier tasks
recorded, so :func:`~airflow_whatsapp_flows.flow.walk.walk.walk` alone decides what a step sees and whether it is
visited. Airflow never renders the flow's text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import BaseBranchOperator, BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.flow.delivery.rule import RetryRule
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.result import mask_parameter, mask_url
from airflow_whatsapp_flows.flow.secrets import HIDDEN, names_secret
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.template.spelling import Syntax, find_opening
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, Waited
from airflow_whatsapp_flows.flow.walk.walk import Visit
from airflow_whatsapp_flows.hooks.action import provider_settings, sender_from_airflow
from airflow_whatsapp_flows.operators.action import WhatsAppActionOperator
from airflow_whatsapp_flows.operators.failures import task_errors
from airflow_whatsapp_flows.operators.flow_exits import IN_DOUBT
from airflow_whatsapp_flows.operators.large_replies import cut_for_xcom
from airflow_whatsapp_flows.operators.rewalk import FlowStep, Rewalk
from airflow_whatsapp_flows.operators.send import TaskSender
from airflow_whatsapp_flows.operators.wait import utc_now


class FlowActionOperator(WhatsAppActionOperator):
    """An action step of a flow file. Created by :func:`~airflow_whatsapp_flows.dag_factory.build_dag`.

    Its template fields are only for Airflow's pages, with possible secrets hidden; the request is built from the flow.

    Args:
        step: where it stands.
        **kwargs: for ``BaseOperator``.
    """

    def __init__(self, *, step: FlowStep, **kwargs: Any) -> None:
        action = _action(step)
        written = Hidden((), step.flow.literals).conceal(dict(_step_source(step)))
        super().__init__(
            url=mask_url(written["url"]),
            method=action.plan.method,
            headers=_mask_headers(written.get("headers")),
            query_params=_mask_parameters(written.get("query_params"), CagedLanguage(syntax=_syntax(step))),
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
        self.step = step

    def execute(self, context: Context) -> dict[str, Value]:
        """Send the request of this step for the run's contact, and return its result."""
        with task_errors(self.task_id):
            request_sender = sender_from_airflow()
            walked = Rewalk(self.step, context, request_sender.settings)
            walked.perform_own(TaskSender(self, context, request_sender, walked.recipient).do)
        walked.note_end(self.log)
        for visit in walked.own_visits:
            if visit.result is not None:
                walked.note_leaving(utc_now())
                in_doubt = note_doubt(self, context, walked)
                in_ledger = self.step.flow.gives_sensitive(visit.step)
                return self.conclude(
                    visit.result, context, request_sender, walked.recipient, in_doubt=in_doubt, in_ledger=in_ledger
                )
        walked.fail_if_ended_here()
        raise AirflowSkipException(not_on_the_way(self.step))

    def rule(self, method: str) -> RetryRule:
        """As the flow says."""
        return _action(self.step).retry


class FlowStepOperator(BaseBranchOperator):
    """Any other step of a flow file: follows the exit that the contact's answers select.

    Args:
        step: where it stands.
        **kwargs: for ``BaseOperator``.
    """

    ui_color = "#ece5dd"
    ui_fgcolor = "#000000"

    def __init__(self, *, step: FlowStep, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Context) -> dict[str, Value]:
        """Choose the next task, and return the exit, the next step, the text, and other details."""
        return self.walk_through(context, self.do)

    def do(self, walked: Rewalk, effect: Effect) -> EffectResult:
        """Perform the effect of the step; most steps have none."""
        return Waited()

    def walk_through(self, context: Context, do: Callable[[Rewalk, Effect], EffectResult]) -> dict[str, Value]:
        """Walk to the step and through it.

        Args:
            context: Airflow's, of the running task.
            do: performs the effect of the step.

        Raises:
            AirflowFailException: the walk ends here as failed.
            AirflowSkipException: the walk does not reach the step.
        """
        with task_errors(self.task_id):
            settings = provider_settings()
            walked = Rewalk(self.step, context, settings)
            walked.perform_own(lambda effect: do(walked, effect))
        walked.note_end(self.log)
        if not walked.own_visits:
            walked.fail_if_ended_here()
            raise AirflowSkipException(not_on_the_way(self.step))
        visit = walked.own_visits[0]
        if visit.reason is not None:
            self.log.warning("%s: %s", visit.step, visit.reason)
        value = _value(visit, settings.xcom_max_bytes)
        # Failing and skipping end a task by an exception, past its return.
        context["ti"].xcom_push(key="return_value", value=value)
        walked.fail_if_ended_here()
        walked.note_leaving(utc_now())
        self.do_branch(context, [] if visit.target is None else [self.step.task_ids[visit.target]])
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


def _action(step: FlowStep) -> Action:
    action = step.flow.steps[step.name]
    if not isinstance(action, Action):
        raise TypeError(f"{step.name!r} is not an action")
    return action


def _mask_headers(headers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if headers is None:
        return None
    return {name: HIDDEN if names_secret(name) else value for name, value in headers.items()}


def _mask_parameters(parameters: Any, language: CagedLanguage) -> Any:
    def mask(name: str, value: Any) -> Any:
        if isinstance(value, str) and find_opening(value, language):
            return value
        return HIDDEN if isinstance(value, (dict, list)) else mask_parameter(name, text_of(value))

    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters or ()
    return {name: mask(name, value) for name, value in pairs}


def _syntax(step: FlowStep) -> Syntax:
    return "activecampaign" if step.flow.source.get("syntax") == "activecampaign" else "hilos"


def _step_source(step: FlowStep) -> Mapping[str, Any]:
    steps: Any = step.flow.source["steps"]
    found: Mapping[str, Any] = next(written for written in steps if written["name"] == step.name)
    return found

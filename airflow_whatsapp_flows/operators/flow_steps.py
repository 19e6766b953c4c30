"""The steps of a flow file as tasks.

A task knows nothing but its flow and its step. It walks the flow again from the start with the results that
earlier tasks recorded, so what a step sees, and whether it is visited at all, is what
:func:`~airflow_whatsapp_flows.flow.walk.walk` says and nothing else. The flow's text is never a template of
Airflow's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow.sdk import BaseBranchOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.outcome import ActionResult, is_secret_name, shown_url
from airflow_whatsapp_flows.flow.performing import Done, ToDo
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.variables import Variables
from airflow_whatsapp_flows.flow.walk import State, Visit, Walk, Walking, walk
from airflow_whatsapp_flows.hooks.action import airflow_gateway, provider_settings
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.ledger.rows import Subject
from airflow_whatsapp_flows.operators.action import WhatsAppActionOperator
from airflow_whatsapp_flows.operators.failing import task_errors
from airflow_whatsapp_flows.operators.large_replies import whole
from airflow_whatsapp_flows.operators.run_input import response_of, run_time
from airflow_whatsapp_flows.operators.sending import Sender
from airflow_whatsapp_flows.operators.task_record import Sendee
from airflow_whatsapp_flows.settings import Settings

_HIDDEN = "***"
_LONGEST_ESCAPE = 16  # bytes of one character in an XCom, and some for what stands beside the text


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStep:
    """Where a task stands in its flow.

    Attributes:
        flow: the whole flow.
        name: of the step.
        task_ids: step name to task id.
    """

    flow: Flow = field(repr=False)
    name: str
    task_ids: Mapping[str, str] = field(repr=False)


class Rewalk:
    """A walk from the start with recorded results, up to the first action that has none, or a given step.

    Args:
        step: where to stop, when it is an action.
        context: Airflow's, of the running task.
        settings: of the provider: where the ledger is.

    Attributes:
        record: the walk so far.
        sendee: whom it is for.
        todo: what is to be done next; ``None`` when the walk has ended.

    Raises:
        ResponseError: the run's input is not a contact response.
        LedgerError: the ledger cannot be read.
    """

    def __init__(self, step: FlowStep, context: Context, settings: Settings) -> None:
        self.record = Walk(Variables())
        response = response_of(context, strict=True)
        subject = Subject(step.flow.id, response.identity)
        phone = response.contact.get("phone")
        moment = self._moment(step.flow, subject, settings) or run_time(context)
        self.sendee = Sendee(subject, moment, phone if isinstance(phone, str) else None)
        self._walking: Walking = walk(step.flow, response, now=moment, record=self.record)
        self.todo: ToDo | None = None
        self._step = step
        self._advance(None)
        while self.todo is not None and self.todo.step.name != step.name:
            recorded = context["ti"].xcom_pull(task_ids=step.task_ids[self.todo.step.name])
            if recorded is None:
                break
            found = whole(recorded, lambda: task_ledger(settings), lambda place: place == subject)
            self._advance(ActionResult.from_value(found))

    def _moment(self, flow: Flow, subject: Subject, settings: Settings) -> dt.datetime | None:
        """When the contact was first walked, on any road: from then on its ``global`` values stay as they are."""
        if not any(isinstance(step, Action) for step in flow.steps.values()):
            return None
        with task_ledger(settings).transaction() as transaction:
            rows = transaction.attempts(subject)
        return dt.datetime.fromtimestamp(rows[0].moment, dt.timezone.utc) if rows else None

    def _advance(self, done: Done | None) -> None:
        try:
            self.todo = next(self._walking) if done is None else self._walking.send(done)
        except StopIteration:
            self.todo = None

    def perform_own(self, do: Callable[[ToDo], Done]) -> None:
        """Do what the step itself asks for, if the walk has come to it."""
        while self.todo is not None and self.todo.step.name == self._step.name:
            self._advance(do(self.todo))

    @property
    def own_visit(self) -> Visit | None:
        """The step's visit, when the walk has passed it."""
        return next((visit for visit in self.record.visits if visit.step == self._step.name), None)

    def fail_if_ended_here(self) -> None:
        """Fail the task when the walk ended in this step, red.

        Raises:
            AirflowFailException: it did; the message says why.
        """
        ended_here = not self.record.visits or self.record.visits[-1].step == self._step.name
        if ended_here and self.record.state in (State.FAILED, State.IN_DOUBT, State.REJECTED):
            raise AirflowFailException(self.record.reason or f"{self._step.name}: the flow ends here as failed")


class FlowActionOperator(WhatsAppActionOperator):
    """An action step of a flow file. Made by :func:`~airflow_whatsapp_flows.dag_factory.build_dag`.

    Its template fields are for Airflow's pages only, and hide what may be a secret; the request is built from the flow.

    Args:
        step: where it stands.
        **kwargs: for ``BaseOperator``.
    """

    def __init__(self, *, step: FlowStep, **kwargs: Any) -> None:
        action = _action(step)
        written = _written(step)
        super().__init__(
            url=shown_url(written["url"]),
            method=action.plan.method,
            headers=_shown_headers(written.get("headers")),
            query_params=_shown_parameters(written.get("query_params")),
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
            gateway = airflow_gateway()
            walked = Rewalk(self.step, context, gateway.settings)
            walked.perform_own(Sender(self, context, gateway, walked.sendee).do)
        visit = walked.own_visit
        if visit is not None and visit.result is not None:
            return self.conclude(visit.result, context, gateway, walked.sendee)
        walked.fail_if_ended_here()
        raise AirflowSkipException(f"the contact's way does not lead through {self.step.name!r}")


class FlowStepOperator(BaseBranchOperator):
    """Any other step of a flow file: goes on by the exit that the contact's answers choose.

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
        """Choose the next task, and return the step's exit, its next step and the text it said."""
        with task_errors(self.task_id):
            settings = provider_settings()
            walked = Rewalk(self.step, context, settings)
        walked.fail_if_ended_here()
        visit = walked.own_visit
        if visit is None:
            raise AirflowSkipException(f"the contact's way does not lead through {self.step.name!r}")
        if visit.target is None:
            self.log.info("the walk ends here: %s", walked.record.reason or "no next step")
        # A text may hold a whole reply, and nobody reads it but people.
        text = visit.text if visit.text is None else visit.text[: settings.xcom_max_bytes // _LONGEST_ESCAPE]
        value: dict[str, Value] = {"step": visit.step, "exit": visit.exit, "next": visit.target, "text": text}
        # Skipping ends a task by an exception, past its return.
        context["ti"].xcom_push(key="return_value", value=value)
        self.do_branch(context, [] if visit.target is None else [self.step.task_ids[visit.target]])
        return value


def _action(step: FlowStep) -> Action:
    action = step.flow.steps[step.name]
    if not isinstance(action, Action):
        raise TypeError(f"{step.name!r} is not an action")
    return action


def _shown_headers(headers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if headers is None:
        return None
    return {name: _HIDDEN if is_secret_name(name) else value for name, value in headers.items()}


def _shown_parameters(parameters: Any) -> Any:
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters or ()
    return {name: value if isinstance(value, str) and "{{" in value else _HIDDEN for name, value in pairs}


def _written(step: FlowStep) -> Mapping[str, Any]:
    steps: Any = step.flow.source["steps"]
    found: Mapping[str, Any] = next(written for written in steps if written["name"] == step.name)
    return found

"""The other tasks of a replay's DAG: plan, approve, and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator, Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger
from airflow_whatsapp_flows.ledger.groups import error_groups
from airflow_whatsapp_flows.ledger.replays import find_pending_chunks, tally
from airflow_whatsapp_flows.operators.failures import task_errors
from airflow_whatsapp_flows.operators.plan_text import plan_markdown, plan_text, plan_value
from airflow_whatsapp_flows.operators.replay import ReplayTask
from airflow_whatsapp_flows.operators.replay_options import request_sender_of
from airflow_whatsapp_flows.operators.replay_status import (
    SHOWN_ERRORS,
    log_errors,
    status_line,
    what_is_wrong,
    where_to_look,
)
from airflow_whatsapp_flows.replay.plan import PlanRequest, plan
from airflow_whatsapp_flows.replay.report import deliveries_of, errors_value, flow_of_replay
from airflow_whatsapp_flows.replay.status import get_replay, replay_status

PLAN = "plan"
"""XCom key of the plan."""
_TRUE = ("true", "1", "yes", "on")


class ReplayPlanOperator(ReplayTask):
    """Take the snapshot of a replay's responses, and plan their requests. Nothing is sent.

    The task's XCom is a list of lists of chunks, one list for each task to be mapped: no more of them than Airflow
    allows. Under the key ``plan`` it leaves the counts.

    Args:
        only_plan: whether to stop after that, and leave nothing in the ledger (templated text or a bool).
        **kwargs: as for :class:`ReplayTask`.
    """

    template_fields: Sequence[str] = (*ReplayTask.template_fields, "only_plan")

    def __init__(self, *, only_plan: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.only_plan = only_plan

    def execute(self, context: Context) -> list[list[int]]:
        """Plan the replay.

        Raises:
            AirflowFailException: the replay cannot be started.
        """
        dry = str(self.only_plan).lower() in _TRUE
        with task_errors(self.task_id), airflow_ledger(provider_settings()) as ledger:
            flow = self.the_flow()
            request_sender = request_sender_of(flow)
            options = self.current_options()
            run = options.run_settings(flow)
            if dry:
                source = options.open(flow)
                rows = PlanRequest(
                    flow=flow,
                    rows=source,
                    request_sender=request_sender,
                    run=run,
                    limit=options.limit,
                    on_changed=options.on_changed_rule(flow),
                )
                replay, planned, chunks, name = None, plan(rows, ledger, self._note_rows), [], source.name
            else:
                replay = self.create_or_resume(ledger, flow, context)
                request = PlanRequest(flow=flow, rows=(), request_sender=request_sender, run=run, replay=replay)
                planned, chunks, name = plan(request, ledger), find_pending_chunks(ledger, replay.no), replay.source
        planned_value = plan_value(planned, name, replay.id if replay else None)
        self.log.info("%s", plan_text(planned_value))
        context["ti"].xcom_push(key=PLAN, value=planned_value)
        return _groups(chunks, conf.getint("core", "max_map_length", fallback=1024))


class ReplayApprovalOperator(ApprovalOperator):
    """Ask for approval if there are more contacts than the flow allows without it; otherwise pass.

    Args:
        plan_task: task id of the :class:`ReplayPlanOperator`.
        approve_above: contacts; ``None`` never asks.
        **kwargs: for ``ApprovalOperator``.
    """

    def __init__(self, *, plan_task: str, approve_above: int | None, **kwargs: Any) -> None:
        super().__init__(fail_on_reject=True, **kwargs)
        self.plan_task = plan_task
        self.approve_above = approve_above

    def execute(self, context: Context) -> Any:
        """Pass, or wait for approval."""
        planned_value = context["ti"].xcom_pull(task_ids=self.plan_task, key=PLAN) or {}
        pending = planned_value.get("walked", 0) + planned_value.get("postponed", 0)
        if self.approve_above is None or pending <= self.approve_above or planned_value.get("replay_id") is None:
            self.log.info("%s contacts need no approval", f"{pending:,}")
            return None
        self.body = plan_markdown(planned_value)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Pass if approved, or fail; a rejected replay is not asked again.

        Raises:
            AirflowFailException: it was refused.
        """
        try:
            return super().execute_complete(context, event)
        except HITLRejectException:
            raise AirflowFailException(
                f"{self.task_id}: rejected, nothing was sent; clear this task to ask again"
            ) from None


class ReplayReportOperator(BaseOperator):
    """Report a replay's result, and fail unless all contacts have a final state and add up to the responses.

    The task's XCom is the replay's status, and under ``errors`` the most frequent errors with their counts and what the
    server said to one contact. Outlets get the status as the extra of their events.

    Args:
        replay_id: name of the replay (templated).
        plan_task: task id of the :class:`ReplayPlanOperator`.
        fail_when: ``any`` contact failed, in doubt or rejected; more than the ``budget``; ``never``.
        max_failures: the budget.
        max_handled_errors: contacts that may take an error exit; by default not all of them.
        **kwargs: for ``BaseOperator``.
    """

    template_fields: Sequence[str] = ("replay_id",)
    ui_color = "#34b7f1"
    ui_fgcolor = "#000000"

    def __init__(
        self,
        *,
        replay_id: str,
        plan_task: str,
        fail_when: str = "any",
        max_failures: int | None = None,
        max_handled_errors: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.replay_id = replay_id
        self.plan_task = plan_task
        self.fail_when = fail_when
        self.max_failures = max_failures
        self.max_handled_errors = max_handled_errors

    def execute(self, context: Context) -> dict[str, Any]:
        """Report the result.

        Raises:
            AirflowSkipException: it was a dry run.
            AirflowFailException: contacts are pending, do not add up, or failed where that matters.
        """
        planned_value = context["ti"].xcom_pull(task_ids=self.plan_task, key=PLAN)
        if planned_value is None:
            raise AirflowFailException(f"{self.task_id}: the replay has no plan; see the task {self.plan_task!r}")
        if planned_value["replay_id"] is None:
            raise AirflowSkipException("a dry run: nothing was sent")
        with task_errors(self.task_id), airflow_ledger(provider_settings()) as ledger:
            replay = get_replay(ledger, self.replay_id)
            counted, errors = tally(ledger, replay.no), error_groups(ledger, replay, SHOWN_ERRORS)
        status = replay_status(replay, counted)
        self.log.info("%s", status_line(status))
        log_errors(self.log, errors)
        error_rows = {"errors": errors_value(errors, deliveries_of(flow_of_replay(replay)))}
        context["ti"].xcom_push(key="return_value", value={**status, **error_rows})  # also of a task that fails
        limits = (self.max_failures, self.max_handled_errors)
        problem = _problem(status, planned_value) or what_is_wrong(counted, self.fail_when, *limits)
        if problem:
            again = "; clear the tasks that sent them to resend the requests that were not applied"
            hint = again if status["failed"] else ""
            raise AirflowFailException(f"{self.task_id}: {problem}; {where_to_look(status)}{hint}")
        silent = what_is_wrong(counted, "any", *limits) if self.fail_when == "never" else None
        if silent:
            self.log.warning("%s; %s", silent, where_to_look(status))
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra.update(status)
        return {**status, **error_rows}


def _problem(status: Mapping[str, Any], planned_value: Mapping[str, Any]) -> str | None:
    if status["pending"]:
        return f"{status['pending']:,} of {status['total']:,} contacts are pending; clear the failed tasks to resume"
    if status["total"] != planned_value["rows"]:
        return f"{planned_value['rows']:,} responses were planned, but the ledger contains {status['total']:,}"
    return None


def _groups(chunks: Sequence[int], most: int) -> list[list[int]]:
    """Group chunks, in order, into at most as many tasks as Airflow maps."""
    size = -(-len(chunks) // max(1, most)) or 1
    return [list(chunks[start : start + size]) for start in range(0, len(chunks), size)]

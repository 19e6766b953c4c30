"""What the tasks that plan and report a replay do when they run.

A process that only parses DAG files doesn't import this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.groups import error_groups
from airflow_whatsapp_flows.ledger.replays import Replay, Tally, find_pending_chunks, tally
from airflow_whatsapp_flows.ledger.retry_runs import count_unsent, tally_retry
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators.failures import TaskFailureError, task_errors
from airflow_whatsapp_flows.operators.links import link_replay
from airflow_whatsapp_flows.operators.plan_text import plan_text, plan_value
from airflow_whatsapp_flows.operators.replay_canary_run import find_held
from airflow_whatsapp_flows.operators.replay_results import results_target
from airflow_whatsapp_flows.operators.replay_retry import PlannedSelection, plan_retry, read_retry, retry_of_run
from airflow_whatsapp_flows.operators.replay_run import create_or_resume, handled_limit, note_rows
from airflow_whatsapp_flows.operators.replay_setup import ReplaySetup, request_sender_of, task_flow
from airflow_whatsapp_flows.operators.replay_status import (
    SHOWN_ERRORS,
    ended_text,
    log_errors,
    status_line,
    what_is_wrong,
    where_to_look,
)
from airflow_whatsapp_flows.operators.replay_steps import PLAN
from airflow_whatsapp_flows.operators.run_input import run_terms
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.cursor import cursor_json
from airflow_whatsapp_flows.replay.plan import PlanRequest, plan
from airflow_whatsapp_flows.replay.report import deliveries_of, errors_value, flow_of_replay
from airflow_whatsapp_flows.replay.status import get_replay, replay_status

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.replay_steps import ReplayPlanOperator, ReplayReportOperator

_TRUE = ("true", "1", "yes", "on")


def plan_replay(task: ReplayPlanOperator, context: Context) -> list[list[int]]:
    """Take the snapshot of a replay, push its plan, and return its chunks, grouped for the tasks to be mapped.

    Raises:
        TaskFailureError: the replay cannot be started.
    """
    dry = str(task.only_plan).lower() in _TRUE
    with task_errors(task.task_id), airflow_ledger(provider_settings()) as ledger:
        flow = task_flow(task)
        results_target(flow, context)  # a connection that is missing is reported before anything is sent
        retry = read_retry(task.retry)
        if retry is not None:
            selection = plan_retry(ledger, flow, retry, context, dry=dry)
            planned_value, chunks = _plan_selection(task, ledger, flow, selection)
            link_replay(task, context, selection.replay.id)
        elif dry:
            planned_value, chunks = _plan_source(task, ledger, flow, context), []
        else:
            planned_value, chunks = _plan_replay(task, ledger, flow, create_or_resume(task, ledger, flow, context))
    if dry:
        planned_value, chunks = {**planned_value, "replay_id": None}, []
    task.log.info("%s", plan_text(planned_value))
    context["ti"].xcom_push(key=PLAN, value=planned_value)
    return _groups(chunks, conf.getint("core", "max_map_length", fallback=1024))


_Planned = tuple[dict[str, Any], Sequence[int]]
"""The value of a plan, and the chunks to run."""


def _plan_source(task: ReplayPlanOperator, ledger: Ledger, flow: Flow, context: Context) -> dict[str, Any]:
    """Plan the replay of a source that is not in the ledger, and leaves nothing there."""
    options = task.current_options()
    setup = ReplaySetup(options, flow, run_terms(context))
    setup.find_cursor(ledger, None)
    source = setup.open()
    request = PlanRequest(
        flow=flow,
        rows=source,
        request_sender=request_sender_of(flow),
        run=setup.run_settings(),
        limit=options.limit,
        on_changed=setup.on_changed,
    )
    return plan_value(plan(request, ledger, lambda read: note_rows(task, read)), source.name, None)


def _plan_replay(task: ReplayPlanOperator, ledger: Ledger, flow: Flow, replay: Replay) -> _Planned:
    run = ReplaySetup(task.current_options(), flow).run_settings()
    request = PlanRequest(flow=flow, rows=(), request_sender=request_sender_of(flow), run=run, replay=replay)
    planned_value = plan_value(plan(request, ledger), replay.source, replay.id)
    cursor = cursor_json(replay)
    if cursor is not None:
        planned_value["cursor"] = cursor
    return planned_value, find_pending_chunks(ledger, replay.no)


def _plan_selection(task: ReplayPlanOperator, ledger: Ledger, flow: Flow, selection: PlannedSelection) -> _Planned:
    """Plan the retry of selected contacts of a replay, and of those that are pending in it."""
    replay = selection.replay
    request = PlanRequest(
        flow=flow,
        rows=(),
        request_sender=request_sender_of(flow),
        run=ReplaySetup(task.current_options(), flow).run_settings(replay.options),
        replay=replay,
        selected=selection.found,
    )
    planned_value = plan_value(plan(request, ledger), replay.source, replay.id)
    chunks = sorted({*find_pending_chunks(ledger, replay.no), *selection.found.chunks})
    return {**planned_value, "retry": selection.text}, chunks


def report_replay(task: ReplayReportOperator, context: Context) -> dict[str, Any]:
    """Push and return the result of a replay.

    Raises:
        AirflowSkipException: it was a dry run.
        TaskFailureError: contacts are pending, do not add up, or failed where that matters.
    """
    planned_value = context["ti"].xcom_pull(task_ids=task.plan_task, key=PLAN)
    if planned_value is None:
        raise TaskFailureError(f"{task.task_id}: the replay has no plan; see the task {task.plan_task!r}")
    if planned_value["replay_id"] is None:
        raise AirflowSkipException("a dry run: nothing was sent")
    with task_errors(task.task_id), airflow_ledger(provider_settings()) as ledger:
        replay = get_replay(ledger, task.replay_id)
        task.linked_replay = replay.id
        counted, errors = tally(ledger, replay.no), error_groups(ledger, replay, SHOWN_ERRORS)
        retry = retry_of_run(replay, context)
        own, unsent = counted, 0
        if retry is not None:
            own = tally_retry(ledger, replay.no, retry.number)
            unsent = count_unsent(ledger, replay.no, retry.number)
        held, undecided = find_held(ledger, replay, counted.states[ContactState.PENDING])
    status = replay_status(replay, counted)
    if retry is not None:
        task.log.info("this run retried %s", ended_text(own))
    task.log.info("%s", status_line(status))
    log_errors(task.log, errors)
    error_rows = {"errors": errors_value(errors, deliveries_of(flow_of_replay(replay)))}
    context["ti"].xcom_push(key="return_value", value={**status, **error_rows})  # also of a task that fails
    limits = (task.max_failures, handled_limit(task.max_handled_errors, retry.number if retry else None))
    if held:
        task.log.info("%s are held", plural(held, "contact"))
    left = {**status, "pending": status["pending"] - held}
    problem = _problem(left, planned_value) if retry is None else _problem_of_retry(left, planned_value, own, unsent)
    problem = problem or undecided or what_is_wrong(own, task.fail_when, *limits)
    if problem:
        again = "; clear the tasks that sent them to resend the requests that were not applied"
        hint = again if own.states[ContactState.FAILED] else ""
        raise TaskFailureError(f"{task.task_id}: {problem}; {where_to_look(status)}{hint}")
    silent = what_is_wrong(own, "any", *limits) if task.fail_when == "never" else None
    if silent:
        task.log.warning("%s; %s", silent, where_to_look(status))
    for outlet in task.outlets:
        context["outlet_events"][outlet].extra.update(status)
    return {**status, **error_rows}


def _problem(status: Mapping[str, Any], planned_value: Mapping[str, Any]) -> str | None:
    if status["pending"]:
        return f"{status['pending']:,} of {status['total']:,} contacts are pending; clear the failed tasks to resume"
    if status["total"] != planned_value["rows"]:
        return f"{planned_value['rows']:,} responses were planned, but the ledger contains {status['total']:,}"
    return None


def _problem_of_retry(
    status: Mapping[str, Any], planned_value: Mapping[str, Any], own: Tally, unsent: int
) -> str | None:
    """Return what is wrong with a retry, whatever its contacts came to.

    Args:
        own: what the contacts that it walked came to.
        unsent: number of contacts that it selected, but didn't make pending.
    """
    if (unsent or planned_value["walked"]) and not own.total:
        return f"nothing was sent: the selected contacts keep their state; {_PLAN_AGAIN}"
    if unsent:
        return f"{plural(unsent, 'selected contact')} kept {'its' if unsent == 1 else 'their'} state: {_PLAN_AGAIN}"
    if status["pending"]:
        return f"{status['pending']:,} of {status['total']:,} contacts are pending; {_PLAN_AGAIN}"
    return _problem(status, planned_value)


_PLAN_AGAIN = "clear `plan` with its downstream tasks to send them"


def _groups(chunks: Sequence[int], most: int) -> list[list[int]]:
    """Group chunks, in order, into at most as many tasks as Airflow maps."""
    size = -(-len(chunks) // max(1, most)) or 1
    return [list(chunks[start : start + size]) for start in range(0, len(chunks), size)]

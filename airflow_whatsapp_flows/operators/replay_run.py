"""What the task of a replay does when it runs. A process that only parses DAG files doesn't import this."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import Context

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.groups import error_groups
from airflow_whatsapp_flows.ledger.holds import count_sendable, hold_of
from airflow_whatsapp_flows.ledger.replays import Replay, Tally, tally
from airflow_whatsapp_flows.ledger.retry_runs import tally_retry
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators.failures import TaskFailureError, TaskRetryError, task_errors
from airflow_whatsapp_flows.operators.links import link_replay
from airflow_whatsapp_flows.operators.metrics import Metrics
from airflow_whatsapp_flows.operators.replay_canary_run import find_choice, hold_as_chosen, lower_rates
from airflow_whatsapp_flows.operators.replay_choice import Choice
from airflow_whatsapp_flows.operators.replay_progress import ProgressReport
from airflow_whatsapp_flows.operators.replay_results import ResultsWriter, results_target, write_after_run
from airflow_whatsapp_flows.operators.replay_retry import find_retry, resume_retry, retry_cleared, retry_of_run
from airflow_whatsapp_flows.operators.replay_setup import ReplaySetup, default_replay_id, request_sender_of, task_flow
from airflow_whatsapp_flows.operators.replay_status import (
    SHOWN_ERRORS,
    log_errors,
    log_left_out,
    status_line,
    what_is_wrong,
    where_to_look,
)
from airflow_whatsapp_flows.operators.run_input import run_terms
from airflow_whatsapp_flows.operators.task_record import TaskTry
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.engine import Engine
from airflow_whatsapp_flows.replay.option_checks import HandledErrors
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.status import replay_status

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.replay import ReplayTask, WhatsAppReplayOperator

_ALL_HANDLED = "100%"  # of the contacts may take an error exit
_SHORTEST_WAIT = dt.timedelta(seconds=30)  # Airflow may fail a task whose trigger fires as soon as it is deferred


def create_or_resume(
    task: ReplayTask, ledger: Ledger, flow: Flow, context: Context, choice: Choice | None = None
) -> Replay:
    """Start or resume the replay of a task, and hold contacts as an approval chose.

    Raises:
        FlowsError: it cannot be started or resumed.
    """
    if task.replay_id and str(task.replay_id).strip() in ("", "None"):
        # Every run without a name would resume the one replay of that name, and send nothing.
        raise ReplayError(
            f"replay_id is {task.replay_id!r}: its template has no value for this run; fix the template, or leave out "
            "replay_id: the default is a name for each run"
        )
    replay_id = task.replay_id or default_replay_id(flow.id, context)
    retry = find_retry(ledger, task.replay_id, context)
    if retry is not None:
        # Which contacts come first is known only once all of them are pending.
        of_chunks = task.chunks if choice is None or (choice.limit, choice.canary) == (None, None) else None
        replay, chosen = resume_retry(ledger, flow, replay_id, retry, of_chunks)
        if chosen is not None:
            task.log.info("retrying %s", plural(chosen.contacts, "selected contact"))
            log_left_out(task.log, chosen)
    else:
        setup = ReplaySetup(task.current_options(), flow, run_terms(context))
        replay = setup.create_or_resume(ledger, replay_id, task.note or None, lambda rows: note_rows(task, rows))
    link_replay(task, context, replay.id)
    for warning in replay.warnings:
        task.log.warning("%s", warning)
    clear = TaskTry.of(context, task).clear
    canary = hold_of(replay, "canary") if task.is_canary else None
    last = None if canary is None else canary.last
    chosen = None if clear is None else retry_cleared(ledger, replay, task.chunks, clear, retry, last)
    if chosen is not None:
        task.log.info("the task was cleared: retrying %s", plural(chosen.contacts, "contact"))
        log_left_out(task.log, chosen)
    return replay if choice is None else hold_as_chosen(ledger, replay, task, choice, context)


def note_rows(task: ReplayTask, rows: int) -> None:
    """Log how many rows were read.

    Raises:
        ReplayError: the task was stopped.
    """
    if task.killed:
        raise ReplayError("stopped while reading the source; nothing was sent")
    if rows % 100_000 == 0:
        task.log.info("%s rows read", f"{rows:,}")


def run_replay_task(task: WhatsAppReplayOperator, context: Context) -> dict[str, Any]:
    """Run the replay of a task, or its chunks, and return the status of the contacts.

    Raises:
        TaskDeferred: contacts wait for their quiet hours to end.
        TaskRetryError: contacts are pending; a retry resumes them.
        TaskFailureError: the replay cannot run, or too many contacts failed.
    """
    with task_errors(task.task_id), airflow_ledger(provider_settings()) as ledger:
        flow = task_flow(task)
        request_sender = request_sender_of(flow)
        target = results_target(flow, context, task.results_to)  # before anything is sent
        choice = find_choice(task, context)
        replay = create_or_resume(task, ledger, flow, context, choice)
        begun = time.monotonic()
        task.log.info("replay %s in the ledger %s", replay.id, ledger.display_url)
        retry = retry_of_run(replay, context)
        kept = replay.options if retry else {}
        settings = ReplaySetup(task.current_options(), flow).run_settings(kept)
        settings = replace(
            settings,
            rates=lower_rates(settings.rates, choice.rate if choice else None),
            chunks=task.chunks,
            retry_no=retry.number if retry else None,
        )
        pending = _count_left(task, ledger, replay, tally(ledger, replay.no, task.chunks))
        metrics = Metrics.of(context, flow.id)
        report = ProgressReport(task.log, context, pending, metrics)
        run = partial(run_replay, ledger, replay, flow, request_sender, settings)
        progress = asyncio.run(_run(task, report, metrics, run))
        report.save_last(progress.ended)
        report.send_metrics(progress.ended)
        counted = tally(ledger, replay.no, task.chunks)
        left = _count_left(task, ledger, replay, counted)
        # Of chunks, which are mapped, the report tells the errors of all.
        errors = error_groups(ledger, replay, SHOWN_ERRORS) if task.chunks is None else []
        whole = counted if task.chunks is None else tally(ledger, replay.no)
        own = counted
        if retry is not None:  # what others of the replay came to is not this run's
            own = tally_retry(ledger, replay.no, retry.number, task.chunks)
            whole = tally_retry(ledger, replay.no, retry.number)
    status = task.status = replay_status(replay, counted, time.monotonic() - begun)
    task.log.info("%s", status_line(status))
    log_errors(task.log, errors)
    context["ti"].xcom_push(key="return_value", value=status)  # also of a task that fails
    problem: TaskFailureError | TaskRetryError | None = None
    try:
        _check_end(task, status, progress, left)
        _judge(task, status, own, whole, settings, flow)
    except (TaskFailureError, TaskRetryError) as error:
        problem = error
    if target is not None:
        write_after_run(task, ResultsWriter(target, context, task.chunks), replay.id, problem)
    if problem is not None:
        raise problem
    return status


async def _run(
    task: WhatsAppReplayOperator,
    report: ProgressReport,
    metrics: Metrics | None,
    run: Callable[[Callable[[Engine], None]], Awaitable[Progress]],
) -> Progress:
    """Run a replay that a stopped task stops, and report its progress meanwhile.

    Args:
        task: of the replay.
        report: where the progress goes.
        metrics: count the requests; ``None`` if Airflow sends them nowhere.
        run: the replay, given what to do with its engine before it runs.
    """
    reporting: list[asyncio.Task[None]] = []

    def on_engine(engine: Engine) -> None:
        loop = asyncio.get_running_loop()

        def stop(reason: str) -> None:
            loop.call_soon_threadsafe(engine.stop, reason)

        task.stop_run = stop
        if metrics is not None:
            engine.sender.on_attempt = metrics.note_attempt
        reporting.append(asyncio.create_task(report.run(engine)))
        if task.killed:
            engine.stop("the task was stopped")

    try:
        return await run(on_engine)
    finally:
        task.stop_run = None
        for one in reporting:
            one.cancel()


def _count_left(task: ReplayTask, ledger: Ledger, replay: Replay, counted: Tally) -> int:
    """Return the number of pending contacts of a task that are not held."""
    return count_sendable(ledger, replay, counted.states[ContactState.PENDING], task.chunks)


def _check_end(task: WhatsAppReplayOperator, status: Mapping[str, Any], progress: Progress, left: int) -> None:
    if progress.spent:
        raise TaskFailureError(f"{task.task_id}: the failure budget is exhausted: {progress.stopped}")
    if left and progress.needs_help:
        raise TaskFailureError(
            f"{task.task_id}: {progress.stopped}; {left:,} of {status['total']:,} contacts are "
            "pending: fix the cause, then clear this task"
        )
    if left and progress.first_until is not None and progress.stopped is None:
        until = max(progress.first_until, dt.datetime.now(dt.timezone.utc) + _SHORTEST_WAIT)
        task.log.info("%s contacts are pending; resuming at %s", f"{left:,}", until)
        task.defer(trigger=DateTimeTrigger(until), method_name="go_on")
    if left:
        reasons = [*progress.postponed, *filter(None, (progress.stopped, progress.cut_off_text))]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise TaskRetryError(
            f"{task.task_id}: {left:,} of {status['total']:,} contacts are pending{why}; "
            "retry or clear this task to resume"
        )


def handled_limit(limit: HandledErrors | None, retry_no: int | None) -> HandledErrors | None:
    """Return how many contacts may take an error exit: of a retry any number, unless there is a limit."""
    return limit if retry_no is None or limit is not None else _ALL_HANDLED


def _judge(
    task: WhatsAppReplayOperator,
    status: Mapping[str, Any],
    counted: Tally,
    whole: Tally,
    settings: RunSettings,
    flow: Flow,
) -> None:
    fail_when = task.fail_when or (flow.replay.fail_when if flow.replay else "any")
    rule = "any" if fail_when == "never" else fail_when
    if task.chunks is None:
        wrong = what_is_wrong(counted, rule, settings.max_failures, settings.max_handled_errors)
    else:
        wrong = what_is_wrong(counted, rule, settings.max_failures, _ALL_HANDLED)
        if wrong is None and not whole.states[ContactState.PENDING]:  # handled errors are counted over all chunks
            wrong = what_is_wrong(whole, "budget", None, handled_limit(settings.max_handled_errors, settings.retry_no))
    if wrong is None:
        return
    wrong = f"{wrong}; {where_to_look(status)}"
    if fail_when == "never":
        task.log.warning("%s", wrong)
        return
    if counted.states[ContactState.FAILED]:
        wrong += "; clear this task to resend the requests that were not applied"
    raise TaskFailureError(f"{task.task_id}: {wrong}")

"""A replay of recorded contact responses as a task."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.groups import error_groups
from airflow_whatsapp_flows.ledger.replays import Replay, Tally, tally
from airflow_whatsapp_flows.ledger.retry import walk_failed_again
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators.arguments import check_choice, take_either
from airflow_whatsapp_flows.operators.dated_templates import DatedTemplates
from airflow_whatsapp_flows.operators.failures import task_errors
from airflow_whatsapp_flows.operators.replay_options import (
    FlowSource,
    ReplayOptions,
    default_replay_id,
    flow_of,
    request_sender_of,
)
from airflow_whatsapp_flows.operators.replay_status import (
    SHOWN_ERRORS,
    log_errors,
    log_retried,
    status_line,
    what_is_wrong,
    where_to_look,
)
from airflow_whatsapp_flows.operators.task_record import TaskTry
from airflow_whatsapp_flows.replay.budget import read_handled_errors
from airflow_whatsapp_flows.replay.engine import Engine
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.snapshot import ON_CHANGED, OnChanged
from airflow_whatsapp_flows.replay.status import replay_status
from airflow_whatsapp_flows.sender import RequestSender

_REPORT_SECONDS = 10.0
_ALL_HANDLED = "100%"  # of the contacts may take an error exit
_SHORTEST_WAIT = dt.timedelta(seconds=30)  # Airflow may fail a task whose trigger fires as soon as it is deferred
FAIL_WHEN = ("any", "budget", "never")


class ReplayTask(DatedTemplates):
    """Base class of the tasks of a replay.

    Args:
        flow: the flow, its plain data, or the path of its file; a relative one is relative to the DAG's file.
        source: of the contact responses: a path, a glob, or an object storage URL; with ``query``, a database URL or
            the id of an Airflow connection (templated). Default: the flow's ``replay.source``.
        replay_id: name of the replay (templated). Default: flow, DAG, task, map index and run, as in
            ``leads:nightly:replay+3:manual__2026-11-22``, so that a retried or cleared task resumes its own replay. It
            fails if a replay of this name has another source, query, column mapping, limit, or flow.
        note: reason for the replay, stored with it (templated).
        query: one SQL statement that returns responses.
        columns: column names by the key of a response that they contain, ``{"contact.phone": "Teléfono"}``.
        id_column: name of the column with the id. Default ``id``.
        source_format: ``jsonl``, ``csv`` or ``parquet``. Default: from the file extension.
        limit: maximum number of rows.
        send: ``failed`` or ``all``: which actions to send if a response has recorded results.
        on_changed: ``reject`` a response whose id was sent with different content (default), or ``update``: send it
            under new keys once the outcome of all earlier requests is known.
        rate: requests per second for each host, or an object of host to requests per second.
        concurrency: maximum concurrent requests.
        chunk_size: contacts in one chunk.
        max_failures: contacts that may fail before the replay stops.
        max_handled_errors: contacts that may take an error exit before the replay stops: a number, or a percentage such
            as ``"20%"``. Default: any number, but the replay fails at the end if all of them did.
        stop_when_refused: whether to stop if a server rejects the credentials, or every request of a step. Default
            true.
        force: whether to send completed responses again. Default false.
        accept_changed_flow: whether to resume with a changed version of the flow. Default false.
        **kwargs: for ``BaseOperator``.
    """

    template_fields: Sequence[str] = ("source", "replay_id", "note")
    chunks: Sequence[int] | None = None
    ui_color = "#34b7f1"
    ui_fgcolor = "#000000"

    def __init__(
        self,
        *,
        flow: FlowSource,
        source: str | None = None,
        replay_id: str | None = None,
        note: str | None = None,
        query: str | None = None,
        columns: Mapping[str, str] | None = None,
        id_column: str | None = None,
        source_format: str | None = None,
        limit: int | None = None,
        send: str | None = None,
        on_changed: OnChanged | None = None,
        rate: float | Mapping[str, float] | None = None,
        concurrency: int | None = None,
        chunk_size: int | None = None,
        max_failures: int | None = None,
        max_handled_errors: int | str | None = None,
        stop_when_refused: bool | None = None,
        force: bool = False,
        accept_changed_flow: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if send is not None:
            check_choice("send", send, ("failed", "all"))
        if on_changed is not None:
            check_choice("on_changed", on_changed, ON_CHANGED)
        self.flow = flow
        self.source = source
        self.replay_id = replay_id
        self.note = note
        self.options = ReplayOptions(
            query=query,
            columns=columns or {},
            id_column=id_column,
            source_format=source_format,
            limit=limit,
            send=send,
            on_changed=on_changed,
            rate=rate,
            concurrency=concurrency,
            chunk_size=chunk_size,
            max_failures=max_failures,
            max_handled_errors=None if max_handled_errors is None else read_handled_errors(max_handled_errors),
            stop_when_refused=stop_when_refused,
            force=force,
            accept_changed_flow=accept_changed_flow,
        )
        self._killed = False

    def on_kill(self) -> None:
        """Stop; the remaining contacts stay pending."""
        self._killed = True

    def the_flow(self) -> Flow:
        """The flow.

        Raises:
            FlowFileError: it has faults or cannot be read.
        """
        dag = self.get_dag()
        return flow_of(self.flow, dag.fileloc if dag else None)

    def current_options(self) -> ReplayOptions:
        """The options of the replay, after the template fields are rendered."""
        return replace(self.options, source=self.source or None)

    def create_or_resume(self, ledger: Ledger, flow: Flow, context: Context) -> Replay:
        """Start or resume the replay.

        Raises:
            FlowsError: it cannot be started or resumed.
        """
        replay_id = self.replay_id or default_replay_id(flow.id, context)
        replay = self.current_options().create_or_resume(ledger, flow, replay_id, self.note or None, self._note_rows)
        for warning in replay.warnings:
            self.log.warning("%s", warning)
        self._send_failed_again(ledger, replay, context)
        return replay

    def _send_failed_again(self, ledger: Ledger, replay: Replay, context: Context) -> None:
        clear = TaskTry.of(context, self).clear
        chosen = None if clear is None else walk_failed_again(ledger, replay, self.chunks, clear)
        if chosen is not None:
            log_retried(self.log, chosen)

    def _note_rows(self, rows: int) -> None:
        if self._killed:
            raise ReplayError("stopped while reading the source; nothing was sent")
        if rows % 100_000 == 0:
            self.log.info("%s rows read", f"{rows:,}")


class WhatsAppReplayOperator(ReplayTask):
    """Run a replay, or chunks of one: walk recorded contact responses through a flow, many concurrently.

    Every request and its outcome is in the ledger: a retried task resumes where it stopped. While another live worker
    runs a chunk, this one waits for it. The task's XCom is the status of its contacts: ``replay_id``, ``flow_id``,
    ``total``, ``pending``, ``completed``, ``failed``, ``rejected``, ``in_doubt``, ``skipped``, ``handled_errors``,
    ``unanswered``, ``requests``, ``elapsed_s`` and ``handled``: contacts that completed by an error exit.

    If contacts wait for the end of their quiet hours, the task is deferred until the first one can be contacted: it
    needs no worker meanwhile, and uses no retry. It fails and is retried if contacts are pending at the end for another
    reason. It fails for good if the failure budget of the replay is exhausted, and by ``fail_when``.

    Args:
        chunk: number of the single chunk to run, from 0.
        chunks: numbers of the chunks to run (templated). Default: all of them.
        fail_when: ``any`` contact failed, in doubt, or rejected; ``budget``: more than ``max_failures``; both also if
            all contacts, or more than ``max_handled_errors``, took an error exit; ``never``. Default: the flow's, else
            ``any``.
        **kwargs: as for :class:`ReplayTask`: ``flow``, ``source``, ``replay_id``, ``note``, ``query``, ``columns``,
            ``id_column``, ``source_format``, ``limit``, ``send``, ``on_changed``, ``rate``, ``concurrency``,
            ``chunk_size``, ``max_failures``, ``max_handled_errors``, ``stop_when_refused``, ``force``,
            ``accept_changed_flow``; and for ``BaseOperator``.

    Raises:
        ValueError: an argument is not allowed.
    """

    template_fields: Sequence[str] = (*ReplayTask.template_fields, "chunks")

    def __init__(
        self,
        *,
        chunk: int | None = None,
        chunks: Sequence[int] | None = None,
        fail_when: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if fail_when is not None:
            check_choice("fail_when", fail_when, FAIL_WHEN)
        self.chunks = take_either("chunk", None if chunk is None else [chunk], "chunks", chunks)
        self.fail_when = fail_when
        self._running: tuple[asyncio.AbstractEventLoop, Engine] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the replay, and return the status of its contacts.

        Raises:
            TaskDeferred: contacts wait for their quiet hours to end.
            AirflowException: contacts are pending; a retry resumes them.
            AirflowFailException: the replay cannot run, or too many contacts failed.
        """
        return self._replay(context)

    def go_on(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Resume after quiet hours, like :meth:`execute`."""
        return self._replay(context)

    def _replay(self, context: Context) -> dict[str, Any]:
        with task_errors(self.task_id), airflow_ledger(provider_settings()) as ledger:
            flow = self.the_flow()
            request_sender = request_sender_of(flow)
            replay = self.create_or_resume(ledger, flow, context)
            begun = time.monotonic()
            self.log.info("replay %s in the ledger %s", replay.id, ledger.display_url)
            settings = replace(self.current_options().run_settings(flow), chunks=self.chunks)
            progress = asyncio.run(self._run(ledger, replay, flow, request_sender, settings))
            counted = tally(ledger, replay.no, self.chunks)
            # Of chunks, which are mapped, the report tells the errors of all.
            errors = error_groups(ledger, replay, SHOWN_ERRORS) if self.chunks is None else []
            whole = counted if self.chunks is None else tally(ledger, replay.no)
        status = replay_status(replay, counted, time.monotonic() - begun)
        self.log.info("%s", status_line(status))
        log_errors(self.log, errors)
        context["ti"].xcom_push(key="return_value", value=status)  # also of a task that fails
        self._check_end(status, progress)
        self._judge(status, counted, whole, settings, flow)
        return status

    def on_kill(self) -> None:
        """Stop: no more requests are started; those in progress may finish."""
        super().on_kill()
        if self._running is not None:
            loop, engine = self._running
            loop.call_soon_threadsafe(engine.stop, "the task was stopped")

    async def _run(
        self, ledger: Ledger, replay: Replay, flow: Flow, request_sender: RequestSender, settings: RunSettings
    ) -> Progress:
        reporting: list[asyncio.Task[None]] = []
        total = tally(ledger, replay.no, self.chunks).states[ContactState.PENDING]

        def on_engine(engine: Engine) -> None:
            self._running = (asyncio.get_running_loop(), engine)
            reporting.append(asyncio.create_task(self._report(engine, total)))
            if self._killed:
                engine.stop("the task was stopped")

        try:
            return await run_replay(ledger, replay, flow, request_sender, settings, on_engine)
        finally:
            self._running = None
            for task in reporting:
                task.cancel()

    async def _report(self, engine: Engine, total: int) -> None:
        begun = time.monotonic()
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            done = engine.progress.ended_count
            rate = done / (time.monotonic() - begun)
            states = ", ".join(f"{count:,} {state.value}" for state, count in engine.progress.ended.items())
            self.log.info("%s of %s contacts, %.0f/s: %s", f"{done:,}", f"{total:,}", rate, states or "none yet")

    def _check_end(self, status: Mapping[str, Any], progress: Progress) -> None:
        if progress.spent:
            raise AirflowFailException(f"{self.task_id}: the failure budget is exhausted: {progress.stopped}")
        if status["pending"] and progress.needs_help:
            raise AirflowFailException(
                f"{self.task_id}: {progress.stopped}; {status['pending']:,} of {status['total']:,} contacts are "
                "pending: fix the cause, then clear this task"
            )
        if status["pending"] and progress.first_until is not None and progress.stopped is None:
            until = max(progress.first_until, dt.datetime.now(dt.timezone.utc) + _SHORTEST_WAIT)
            self.log.info("%s contacts are pending; resuming at %s", f"{status['pending']:,}", until)
            self.defer(trigger=DateTimeTrigger(until), method_name="go_on")
        if status["pending"]:
            reasons = [*progress.postponed, *filter(None, (progress.stopped, progress.cut_off_text))]
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise AirflowException(
                f"{self.task_id}: {status['pending']:,} of {status['total']:,} contacts are pending{why}; "
                "retry or clear this task to resume"
            )

    def _judge(
        self, status: Mapping[str, Any], counted: Tally, whole: Tally, settings: RunSettings, flow: Flow
    ) -> None:
        fail_when = self.fail_when or (flow.replay.fail_when if flow.replay else "any")
        rule = "any" if fail_when == "never" else fail_when
        if self.chunks is None:
            wrong = what_is_wrong(counted, rule, settings.max_failures, settings.max_handled_errors)
        else:
            wrong = what_is_wrong(counted, rule, settings.max_failures, _ALL_HANDLED)
            if wrong is None and not whole.states[ContactState.PENDING]:  # handled errors are counted over all chunks
                wrong = what_is_wrong(whole, "budget", None, settings.max_handled_errors)
        if wrong is None:
            return
        wrong = f"{wrong}; {where_to_look(status)}"
        if fail_when == "never":
            self.log.warning("%s", wrong)
            return
        if counted.states[ContactState.FAILED]:
            wrong += "; clear this task to resend the requests that were not applied"
        raise AirflowFailException(f"{self.task_id}: {wrong}")

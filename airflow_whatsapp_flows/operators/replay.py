"""A replay of recorded contact responses as a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow.sdk import Context

from airflow_whatsapp_flows.flow.format.replay import Empty, OnChanged
from airflow_whatsapp_flows.operators.arguments import check_choice, take_either
from airflow_whatsapp_flows.operators.dated_templates import DatedTemplates
from airflow_whatsapp_flows.operators.failures import TaskFailureError
from airflow_whatsapp_flows.operators.links import REPLAY_LINK
from airflow_whatsapp_flows.operators.replay_options import (
    FlowSource,
    ReplayOptions,
    check_given_rate,
    check_query,
    read_limit,
    read_rates,
)
from airflow_whatsapp_flows.replay.option_checks import read_handled_errors

if TYPE_CHECKING:
    from airflow_whatsapp_flows.replay.export import Target

FAIL_WHEN = ("any", "budget", "never")


class ReplayTask(DatedTemplates):
    """Base class of the tasks of a replay.

    Args:
        flow: the flow, its plain data, or the path of its file; a relative one is relative to the DAG's file.
        source: of the contact responses: a path, a glob, or an object storage URL; with ``query``, a database URL or
            the id of an Airflow connection (templated). Default: the flow's ``replay.source``, filled with the terms of
            the run.
        replay_id: name of the replay (templated). Default: flow, DAG, task, map index and run, as in
            ``leads:nightly:replay+3:manual__2026-11-22``, so that a retried or cleared task resumes its own replay. It
            fails if a replay of this name has another source, query, column mapping, limit, or flow.
        note: reason for the replay, stored with it (templated).
        query: one SQL statement that returns responses (templated). The terms of the run are its parameters:
            ``WHERE updated_at >= :data_interval_start AND updated_at < :data_interval_end``; also ``:logical_date``,
            ``:partition_key``, and ``:run_id``.
        parameters: values of its other named parameters (templated).
        columns: column names by the key of a response that they contain, ``{"contact.phone": "Teléfono"}``.
        id_column: name of the column with the id. Default ``id``.
        source_format: ``jsonl``, ``csv`` or ``parquet``. Default: from the file extension.
        limit: maximum number of rows (templated).
        send: ``failed`` or ``all``: which actions to send if a response has recorded results.
        on_changed: ``reject`` a response whose id was sent with different content (default), or ``update``: send it
            under new keys once the outcome of all earlier requests is known.
        empty: ``fail`` if the source has no rows, or ``ok``: don't report it. Default: a warning.
        rate: requests per second for each host, or an object of host to requests per second (templated).
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

    template_fields: Sequence[str] = ("source", "replay_id", "note", "query", "parameters", "limit", "rate")
    template_fields_renderers: ClassVar[dict[str, str]] = {"query": "sql", "parameters": "json", "rate": "json"}
    operator_extra_links = (REPLAY_LINK,)
    linked_replay: str | None = None
    """Name of its replay, once it is known."""
    written_to: Target | None = None
    """The table or file to which it has written its results."""
    chunks: Sequence[int] | None = None
    approval_task: str | None = None
    """Task id of the approval whose rate, limit, and canary apply."""
    is_canary = False
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
        parameters: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        id_column: str | None = None,
        source_format: str | None = None,
        limit: int | str | None = None,
        send: str | None = None,
        on_changed: OnChanged | None = None,
        empty: Empty | None = None,
        rate: float | str | Mapping[str, float | str] | None = None,
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
            check_choice("on_changed", on_changed, get_args(OnChanged))
        if empty is not None:
            check_choice("empty", empty, get_args(Empty))
        self.flow = flow
        self.source = source
        self.replay_id = replay_id
        self.note = note
        self.query = query
        self.parameters = parameters
        self.limit = limit
        self.rate = rate
        self.options = ReplayOptions(
            columns=columns or {},
            id_column=id_column,
            source_format=source_format,
            send=send,
            on_changed=on_changed,
            empty=empty,
            concurrency=concurrency,
            chunk_size=chunk_size,
            max_failures=max_failures,
            max_handled_errors=None if max_handled_errors is None else read_handled_errors(max_handled_errors),
            stop_when_refused=stop_when_refused,
            force=force,
            accept_changed_flow=accept_changed_flow,
        )
        check_given_rate(rate)
        self.killed = False

    def on_kill(self) -> None:
        """Stop; the remaining contacts stay pending."""
        self.killed = True

    def current_options(self) -> ReplayOptions:
        """The options of the replay, after the template fields are rendered.

        Raises:
            TaskFailureError: a limit or a rate is no number, or a query or parameters have another type.
        """
        try:
            check_query(self.query, self.parameters)
            return replace(
                self.options,
                source=self.source or None,
                query=self.query or None,
                parameters=self.parameters or {},
                limit=read_limit(self.limit),
                rate=read_rates(self.rate),
            )
        except ValueError as error:
            raise TaskFailureError(f"{self.task_id}: {error}") from None


class WhatsAppReplayOperator(ReplayTask):
    """Run a replay, or chunks of one: walk recorded contact responses through a flow, many concurrently.

    Every request and its outcome is in the ledger: a retried task resumes where it stopped. While another live worker
    runs a chunk, this one waits for it. The task's XCom is the status of its contacts: ``replay_id``, ``flow_id``,
    ``total``, ``pending``, ``completed``, ``failed``, ``rejected``, ``in_doubt``, ``skipped``, ``handled_errors``,
    ``unanswered``, ``requests``, ``elapsed_s`` and ``handled``: contacts that completed by an error exit.

    If contacts wait for the end of their quiet hours, the task is deferred until the first one can be contacted: it
    needs no worker meanwhile, and uses no retry. It fails and is retried if contacts are pending at the end for another
    reason. It fails for good if the failure budget of the replay is exhausted, and by ``fail_when``.

    Airflow shows a mapped task by its chunks and how their contacts ended: ``chunk 3: 985 done, 12 failed, 3 in
    doubt``. In a ``map_index_template`` of your own, this is ``task.map_label``.

    Args:
        chunk: number of the single chunk to run, from 0.
        chunks: numbers of the chunks to run (templated). Default: all of them.
        approval_task: task id of the :class:`ReplayApprovalOperator` whose rate, limit, and canary apply; the task
            fails if it has not passed.
        results_to: where to write the results of its contacts when it ends, also if it fails (templated): a table,
            ``{"connection": "my_postgres", "table": "crm.lead_sync"}``, or a file that ends with ``.jsonl``, ``.csv``,
            or ``.parquet``. Default: the flow's ``replay.results_to``; ``False`` for nowhere.
        fail_when: ``any`` contact failed, in doubt, or rejected; ``budget``: more than ``max_failures``; both also if
            all contacts, or more than ``max_handled_errors``, took an error exit; ``never``. Default: the flow's, else
            ``any``.
        **kwargs: as for :class:`ReplayTask`: ``flow``, ``source``, ``replay_id``, ``note``, ``query``, ``parameters``,
            ``columns``, ``id_column``, ``source_format``, ``limit``, ``send``, ``on_changed``, ``rate``,
            ``concurrency``, ``chunk_size``, ``max_failures``, ``max_handled_errors``, ``stop_when_refused``, ``force``,
            ``accept_changed_flow``; and for ``BaseOperator``.

    Raises:
        ValueError: an argument is not allowed.
    """

    template_fields: Sequence[str] = (*ReplayTask.template_fields, "chunks", "results_to")
    template_fields_renderers: ClassVar[dict[str, str]] = {**ReplayTask.template_fields_renderers, "results_to": "json"}

    def __init__(
        self,
        *,
        chunk: int | None = None,
        chunks: Sequence[int] | None = None,
        fail_when: str | None = None,
        approval_task: str | None = None,
        results_to: Mapping[str, str] | str | Literal[False] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.approval_task = approval_task
        if fail_when is not None:
            check_choice("fail_when", fail_when, FAIL_WHEN)
        self.chunks = take_either("chunk", None if chunk is None else [chunk], "chunks", chunks)
        self.fail_when = fail_when
        self.results_to = results_to
        self.status: Mapping[str, Any] | None = None
        """The status of its contacts, once they were walked."""
        self.stop_run: Callable[[str], None] | None = None
        """Stops the running engine, from any thread."""

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        # Airflow renders the label next, so that it is shown while the task runs, and again at the end.
        if getattr(context.get("ti"), "map_index", -1) >= 0 and context.get("map_index_template") is None:
            context["map_index_template"] = "{{ task.map_label }}"

    @property
    def map_label(self) -> str:
        """What the task runs, and how its contacts ended."""
        from airflow_whatsapp_flows.operators.replay_status import task_label

        return task_label(self.chunks, self.status)

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the replay, and return the status of its contacts.

        Raises:
            TaskDeferred: contacts wait for their quiet hours to end.
            AirflowException: contacts are pending; a retry resumes them.
            AirflowFailException: the replay cannot run, or too many contacts failed.
        """
        from airflow_whatsapp_flows.operators.replay_run import run_replay_task

        return run_replay_task(self, context)

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """Inputs and outputs for Airflow's OpenLineage provider: the source; the paths of the CRM, and the results."""
        from airflow_whatsapp_flows.operators.lineage import replay_lineage

        return replay_lineage(self, sends=True)

    def go_on(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Resume after quiet hours, like :meth:`execute`."""
        return self.execute(context)

    def on_kill(self) -> None:
        """Stop: no more requests are started; those in progress may finish."""
        super().on_kill()
        if self.stop_run is not None:
            self.stop_run("the task was stopped")

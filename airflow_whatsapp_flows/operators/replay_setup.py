"""What a replay's task sets up when it runs: its flow, connections, source, and replay in the ledger."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from glob import has_magic
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.format.replay import OnChanged
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.run_terms import RUN_TERMS, RunTerms
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.hooks.action import sender_from_airflow
from airflow_whatsapp_flows.hooks.sources import AirflowAccess
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.operators.replay_options import FlowSource, LoadedFlow, ReplayOptions
from airflow_whatsapp_flows.operators.run_input import map_index_of, run_id_of
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay, keeps_source, source_settings
from airflow_whatsapp_flows.replay.cursor import CursorRequest, ReplayCursor, find_cursor, key_of
from airflow_whatsapp_flows.replay.run_settings import (
    RunSettings,
    options_to_keep,
    rates_of,
    replay_block,
    resolve_run_settings,
)
from airflow_whatsapp_flows.replay.sources import Row, Source, SourceSpec, open_source
from airflow_whatsapp_flows.replay.sources.parameters import fill_location
from airflow_whatsapp_flows.sender import RequestSender


class ReplaySetup:
    """The options of a task, applied to its flow.

    Args:
        options: of the task; the flow's ``replay`` applies to those that are ``None``.
        flow: the flow of the task.
        terms: of its run.
    """

    def __init__(self, options: ReplayOptions, flow: Flow, terms: RunTerms | None = None) -> None:
        self._options = options
        self._flow = flow
        self._terms = terms or RunTerms()
        self._block = replay_block(flow)
        self.cursor: ReplayCursor | None = None

    def create_or_resume(
        self, ledger: Ledger, replay_id: str, note: str | None, on_rows: Callable[[int], None]
    ) -> Replay:
        """Start or resume the replay; all rows of its source are then in the ledger.

        If they already are, the source is not read again: it may be gone.

        Raises:
            FlowsError: it cannot be started or resumed.
        """
        options, found = self._options, find_replay(ledger, replay_id)
        self.find_cursor(ledger, replay_id)
        if found is not None and found.sealed:
            source: Source = _StoredSource(self._name(found), found.source_mark)
        else:
            source = self.open()
        request = ReplayRequest(
            flow=self._flow,
            source=source,
            replay_id=replay_id,
            reading=source_settings(self._spec),
            options=options_to_keep(self.run_settings(), self._own_options()),
            note=note,
            chunk_size=options.chunk_size or self._block.chunk_size,
            limit=options.limit,
            force=options.force,
            accept_changed_flow=options.accept_changed_flow,
            on_changed=self.on_changed,
            empty=options.empty,
            cursor=self.cursor,
        )
        return create_or_resume_replay(ledger, request, on_rows)

    def find_cursor(self, ledger: Ledger, replay_id: str | None) -> ReplayCursor | None:
        """Find from where the flow's own source is read, before it is opened; ``None`` without a cursor.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        key = key_of(self._flow)
        if key is not None and self._is_own:
            block = self._block
            request = CursorRequest(
                key=key, zone=ZoneInfo(self._flow.timezone), overlap=block.cursor_overlap, query=block.query
            )
            self.cursor = find_cursor(ledger, request, replay_id)
            start = self.cursor.cursor.start
            self._terms = replace(self._terms, watermark=None if start is None else start.value)
        return self.cursor

    @property
    def _is_own(self) -> bool:
        """Whether source and query are those of the flow."""
        options = self._options
        return options.source in (None, "", self._block.source) and options.query in (None, "", self._block.query)

    def _name(self, found: Replay) -> str:
        """Return the name of the given source if the ledger does not record where the replay's source is."""
        if keeps_source(found):
            return found.source  # where it was looked for is compared instead
        try:
            return self.open().name
        except SourceError:  # it is gone
            spec = self._spec
            return found.source if spec.query is not None or has_magic(spec.location) else str(spec.location)

    def open(self) -> Source:
        """The source.

        Raises:
            SourceError: none is given, or it cannot be read.
        """
        if not self._spec.location:
            raise SourceError(
                f"no source of responses: set `source`, or set `replay.source` in the flow {self._flow.id!r}"
            )
        return open_source(self._spec, self._flow, AirflowAccess())

    @cached_property
    def _spec(self) -> SourceSpec:
        options, block = self._options, self._block
        given = options.source or None
        is_own = given is None or given == block.source  # a query of the task's own may be for it
        location = given or block.source or ""
        if is_own:  # what others wrote is no template of the flow
            location = fill_location(location, self._terms, ZoneInfo(self._flow.timezone))
        terms = {name: self._terms.value(name) for name in RUN_TERMS}
        return SourceSpec(
            location=location,
            columns=dict(options.columns),
            id_column=options.id_column,
            query=options.query or (block.query if is_own else None),
            format=options.source_format,
            parameters={**terms, **options.parameters},
            cursor=None if self.cursor is None else self.cursor.cursor,
        )

    @property
    def on_changed(self) -> OnChanged:
        """What to do with a response whose id was sent with different content."""
        return self._options.on_changed or self._block.on_changed

    def run_settings(self, kept: Mapping[str, Any] | None = None) -> RunSettings:
        """Return the settings of the run.

        Args:
            kept: options of the replay that the run retries, which come before those of the flow.
        """
        grace = 3.0  # Airflow kills a task 5 s after it has asked it to end
        return resolve_run_settings(self._flow, self._own_options(), kept or {}, grace=grace)

    def _own_options(self) -> dict[str, Any]:
        options = self._options
        return {
            "concurrency": options.concurrency,
            "rates": None if options.rate is None else rates_of(options.rate),
            "send": options.send,
            "max_failures": options.max_failures,
            "max_handled_errors": options.max_handled_errors,
            "stop_when_refused": options.stop_when_refused,
            "force": options.force,
        }


MAX_REPLAY_ID = 500
"""Maximum characters in the default name of a replay."""


def default_replay_id(flow_id: str, context: Mapping[str, Any]) -> str:
    """The default name of a task's replay, unique for the task, map index, run, DAG, and flow.

    Args:
        flow_id: id of the flow.
        context: Airflow's, of the running task.

    Returns:
        ``flow:dag:task:run``, with ``task+3`` for a mapped task. Ids of flows, DAGs, and tasks contain neither ``:``
        nor ``+``, so the name is unique. A longer name ends with a hash.
    """
    ti = context.get("ti")
    index = map_index_of(context)
    task = f"{getattr(ti, 'task_id', '')}+{index}" if index >= 0 else getattr(ti, "task_id", "")
    run = run_id_of(context) or f"no run {uuid.uuid4().hex}"  # outside of a run nothing can be the same try again
    name = f"{flow_id}:{getattr(ti, 'dag_id', '')}:{task}:{run}"
    if len(name) <= MAX_REPLAY_ID:
        return name
    return f"{name[: MAX_REPLAY_ID - 33]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def flow_of(source: FlowSource, dag_file: str | None) -> Flow:
    """Load the flow of a task.

    Args:
        source: the flow, its plain data, or the path of its file.
        dag_file: that a relative path is relative to.

    Raises:
        FlowFileError: it has faults, or cannot be read.
    """
    if isinstance(source, (Flow, LoadedFlow)):
        return source.flow if isinstance(source, LoadedFlow) else source
    if isinstance(source, Mapping):
        return load_flow(source)
    path = Path(source).expanduser()
    return load_flow_file(path if path.is_absolute() or dag_file is None else Path(dag_file).parent / path)


def task_flow(task: Any) -> Flow:
    """The flow of a task.

    Raises:
        FlowFileError: it has faults or cannot be read.
    """
    dag = task.get_dag()
    return flow_of(task.flow, dag.fileloc if dag else None)


def request_sender_of(flow: Flow) -> RequestSender:
    """Create the request sender and look up every connection of a flow, so that a missing one is reported at the start.

    Raises:
        ConnectionConfigError: a connection is missing, or cannot be used.
    """
    request_sender = sender_from_airflow()
    connections = {conn_id: request_sender.find_connection(conn_id) for conn_id in flow.connections}
    # Airflow's own look-up would stand in the way of everything else in the event loop.
    return replace(request_sender, find_connection=connections.__getitem__)


@dataclass(frozen=True, slots=True)
class _StoredSource:
    """A source whose rows are in the ledger."""

    name: str
    mark: str | None
    ignored_columns: tuple[str, ...] = ()
    cursor_reading: None = None

    def __iter__(self) -> Iterator[Row]:
        return iter(())

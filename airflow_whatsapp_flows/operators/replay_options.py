"""Options of a replay task: its arguments, or else the flow's ``replay``."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from glob import has_magic
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.hooks.action import sender_from_airflow
from airflow_whatsapp_flows.hooks.sources import AirflowAccess
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.operators.run_input import map_index_of, run_id_of
from airflow_whatsapp_flows.replay.budget import HandledErrors
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay, keeps_source, source_settings
from airflow_whatsapp_flows.replay.run_settings import (
    RunSettings,
    check_concurrency,
    check_rate,
    options_to_keep,
    rates_of,
    replay_block,
    resolve_run_settings,
)
from airflow_whatsapp_flows.replay.snapshot import OnChanged
from airflow_whatsapp_flows.replay.sources import Row, Source, SourceSpec, open_source
from airflow_whatsapp_flows.sender import RequestSender


@dataclass(frozen=True, slots=True)
class LoadedFlow:
    """A flow as an argument of a mapped task: Airflow stores the repr of such arguments.

    Attributes:
        id: of the flow.
        flow: the flow; not part of the repr.
    """

    id: str
    flow: Flow = field(repr=False)


FlowSource = Flow | LoadedFlow | Mapping[str, object] | Path | str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """The arguments of a task; ``None`` means the value from the flow's ``replay``, or its default.

    Attributes:
        source: of the contact responses.
        query: one SQL statement; then ``source`` is a database's URL, or the id of an Airflow connection.
        columns: column names by the key of a response that they contain.
        id_column: name of the column with the id.
        source_format: ``jsonl``, ``csv`` or ``parquet``.
        limit: maximum number of rows.
        send: ``failed`` or ``all``.
        on_changed: ``reject`` or ``update``.
        rate: requests per second for each host, or by host.
        concurrency: maximum concurrent requests.
        chunk_size: contacts of one chunk.
        max_failures: contacts that may fail before the replay stops.
        max_handled_errors: contacts that may take an error exit: a number, or a percentage.
        stop_when_refused: whether to stop if a server rejects everything.
        force: whether to send completed responses again.
        accept_changed_flow: whether to resume with a changed version of the flow.

    Raises:
        ValueError: a number is not one that the command line and a flow allow.
    """

    source: str | None = None
    query: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    id_column: str | None = None
    source_format: str | None = None
    limit: int | None = None
    send: str | None = None
    on_changed: OnChanged | None = None
    rate: float | Mapping[str, float] | None = None
    concurrency: int | None = None
    chunk_size: int | None = None
    max_failures: int | None = None
    max_handled_errors: HandledErrors | None = None
    stop_when_refused: bool | None = None
    force: bool = False
    accept_changed_flow: bool = False

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            check_concurrency(self.concurrency)
        for rate in rates_of(self.rate).values():
            check_rate(rate)

    def create_or_resume(
        self, ledger: Ledger, flow: Flow, replay_id: str, note: str | None, on_rows: Callable[[int], None]
    ) -> Replay:
        """Start or resume the replay; all rows of its source are then in the ledger.

        If they already are, the source is not read again: it may be gone.

        Raises:
            FlowsError: it cannot be started or resumed.
        """
        spec, found = self.spec(flow), find_replay(ledger, replay_id)
        if found is not None and found.sealed:
            source: Source = _StoredSource(self._name(found, flow), found.source_mark)
        else:
            source = self.open(flow)
        run = self.run_settings(flow)
        request = ReplayRequest(
            flow=flow,
            source=source,
            replay_id=replay_id,
            reading=source_settings(spec),
            options=options_to_keep(run, self._own_options()),
            note=note,
            chunk_size=self.chunk_size or replay_block(flow).chunk_size,
            limit=self.limit,
            force=self.force,
            accept_changed_flow=self.accept_changed_flow,
            on_changed=self.on_changed_rule(flow),
        )
        return create_or_resume_replay(ledger, request, on_rows)

    def _name(self, found: Replay, flow: Flow) -> str:
        """Return the name of the given source if the ledger does not record where the replay's source is."""
        if keeps_source(found):
            return found.source  # where it was looked for is compared instead
        try:
            return self.open(flow).name
        except SourceError:  # it is gone
            spec = self.spec(flow)
            return found.source if spec.query is not None or has_magic(spec.location) else str(spec.location)

    def open(self, flow: Flow) -> Source:
        """The source.

        Raises:
            SourceError: none is given, or it cannot be read.
        """
        spec = self.spec(flow)
        if not spec.location:
            raise SourceError(f"no source of responses: set `source`, or set `replay.source` in the flow {flow.id!r}")
        return open_source(spec, flow, AirflowAccess())

    def spec(self, flow: Flow) -> SourceSpec:
        """Return where the source is, and how to read it."""
        block = replay_block(flow)
        given = self.source or None
        return SourceSpec(
            location=given or block.source or "",
            columns=dict(self.columns),
            id_column=self.id_column,
            query=self.query or (block.query if given is None or given == block.source else None),
            format=self.source_format,
        )

    def on_changed_rule(self, flow: Flow) -> OnChanged:
        """What to do with a response whose id was sent with different content."""
        return self.on_changed or replay_block(flow).on_changed

    def run_settings(self, flow: Flow) -> RunSettings:
        """The settings of the run."""
        grace = 3.0  # Airflow kills a task 5 s after it has asked it to end
        return resolve_run_settings(flow, self._own_options(), grace=grace)

    def _own_options(self) -> dict[str, Any]:
        return {
            "concurrency": self.concurrency,
            "rates": None if self.rate is None else rates_of(self.rate),
            "send": self.send,
            "max_failures": self.max_failures,
            "max_handled_errors": self.max_handled_errors,
            "stop_when_refused": self.stop_when_refused,
            "force": self.force,
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

    def __iter__(self) -> Iterator[Row]:
        return iter(())

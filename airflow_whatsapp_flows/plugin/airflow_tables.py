"""What Airflow's own database knows of the flows: their DAGs and runs, and the import errors of their files."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from airflow.models.dag import DagModel, DagTag
from airflow.models.dagrun import DagRun, DagRunNote
from airflow.models.errors import ParseImportError
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from sqlalchemy import and_, case, func, select

from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX, TAG

LIVE = ("queued", "running")
"""States of runs that have not ended."""

_MARK = "FlowFileError: "
_FAULT = re.compile(r"(?P<file>.+?\.json):(?P<line>\d+):(?P<column>\d+): (?P<message>.*)")
_FAULT_WITHOUT_LINE = re.compile(r"(?P<file>.+?\.json):(?P<where>[^:]*): (?P<message>.*)")
_MOST_ERRORS = 50  # import errors read
_MOST_RUNS = 20_000  # counted for a chart
_MOST_TEXT = 100_000  # characters of one


@dataclass(frozen=True, slots=True)
class FlowDag:
    """The DAG of a flow.

    Attributes:
        id: of the flow and its DAG.
        name: as shown in Airflow.
        is_paused: whether its schedule is paused.
        has_replay: whether it has a replay DAG.
        next_replay: when the replay DAG runs next, if it is scheduled and not paused.
        last_state: state of its latest run; ``None`` if it never ran.
        last_run_at: start of that run.
        last_run_id: id of that run.
    """

    id: str
    name: str
    is_paused: bool
    has_replay: bool
    next_replay: dt.datetime | None
    last_state: str | None
    last_run_at: dt.datetime | None
    last_run_id: str | None


@dataclass(frozen=True, slots=True)
class FileFault:
    """A fault of a flow file, as reported by an import error.

    Attributes:
        file: path of the flow file.
        where: line and column, or the location in the file.
        message: what is wrong.
        line: line in the file, if known.
        column: column in that line, if known.
    """

    file: str
    where: str
    message: str
    line: int | None = None
    column: int | None = None


def flow_dags(limit: int, after: str = "", text: str = "") -> list[FlowDag]:
    """Find the DAGs of flows by id.

    Args:
        limit: maximum number.
        after: id of a DAG: only later ones are returned.
        text: part of the id or name.
    """
    shown = func.coalesce(DagModel._dag_display_property_value, DagModel.dag_id)
    query = (
        select(DagModel.dag_id, shown.label("name"), DagModel.is_paused)
        .join(DagTag, DagTag.dag_id == DagModel.dag_id)
        .where(DagTag.name == TAG, ~DagModel.is_stale, DagModel.dag_id > after)
        .where(~DagModel.dag_id.endswith(REPLAY_SUFFIX, autoescape=True))
        .order_by(DagModel.dag_id)
        .limit(limit)
    )
    if text:
        query = query.where(shown.icontains(text, autoescape=True) | DagModel.dag_id.icontains(text, autoescape=True))
    with create_session() as session:
        rows = session.execute(query).all()
        replays = _replay_dags(session, [row.dag_id for row in rows])
        runs = _last_runs(session, [row.dag_id for row in rows])
    found = []
    for row in rows:
        replay, run = replays.get(row.dag_id), runs.get(row.dag_id)
        found.append(
            FlowDag(
                id=row.dag_id,
                name=row.name.removeprefix(f"{row.dag_id}: "),
                is_paused=bool(row.is_paused),
                has_replay=replay is not None,
                next_replay=None if replay is None or replay.is_paused else replay.next_dagrun_create_after,
                last_state=None if run is None else str(run.state),
                last_run_at=None if run is None else run.start_date or run.queued_at,
                last_run_id=None if run is None else run.run_id,
            )
        )
    return found


def _replay_dags(session: Any, flow_ids: Collection[str]) -> Mapping[str, Any]:
    names = [f"{flow_id}{REPLAY_SUFFIX}" for flow_id in flow_ids]
    query = select(DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after)
    rows = session.execute(query.where(DagModel.dag_id.in_(names), ~DagModel.is_stale)).all()
    return {row.dag_id.removesuffix(REPLAY_SUFFIX): row for row in rows}


def _last_runs(session: Any, dag_ids: Collection[str]) -> Mapping[str, Any]:
    newest = select(func.max(DagRun.id)).where(DagRun.dag_id.in_(list(dag_ids))).group_by(DagRun.dag_id)
    query = select(DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.start_date, DagRun.queued_at)
    return {row.dag_id: row for row in session.execute(query.where(DagRun.id.in_(newest))).all()}


def count_runs(dag_ids: Collection[str], times: Sequence[float]) -> dict[str, list[tuple[int, int]]]:
    """Count the latest ended runs of some DAGs between given times, by when they were to run.

    Args:
        dag_ids: ids of the DAGs.
        times: epoch seconds, in order.

    Returns:
        By DAG, and between each two times: how many succeeded, and how many failed.
    """
    moments = [dt.datetime.fromtimestamp(one, dt.timezone.utc) for one in times]
    ended = (DagRunState.SUCCESS, DagRunState.FAILED)
    latest = (
        select(DagRun.dag_id, DagRun.state, DagRun.run_after)
        .where(DagRun.dag_id.in_(list(dag_ids)), DagRun.run_after >= moments[0], DagRun.state.in_(ended))
        .order_by(DagRun.run_after.desc())
        .limit(_MOST_RUNS)
    ).subquery()
    between = [
        func.sum(
            case((and_(latest.c.state == state, latest.c.run_after >= start, latest.c.run_after < end), 1), else_=0)
        )
        for start, end in pairwise(moments)
        for state in ended
    ]
    with create_session() as session:
        rows = session.execute(select(latest.c.dag_id, *between).group_by(latest.c.dag_id)).all()
    return {dag_id: list(zip(numbers[::2], numbers[1::2], strict=True)) for dag_id, *numbers in rows}


def run_states(dag_id: str, run_ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return state and note of those runs of a DAG that Airflow has, by id."""
    query = select(DagRun.run_id, DagRun.state, DagRunNote.content)
    query = query.outerjoin(DagRunNote, DagRunNote.dag_run_id == DagRun.id)
    with create_session() as session:
        rows = session.execute(query.where(DagRun.dag_id == dag_id, DagRun.run_id.in_(list(run_ids)))).all()
    return {run_id: (str(state), note or "") for run_id, state, note in rows}


def retrying_runs_of(dag_id: str, replay_id: str, *, run_id: str | None = None) -> list[str]:
    """Return the ids of a DAG's runs that were asked to retry contacts of a replay.

    Args:
        dag_id: id of the DAG.
        replay_id: id of the replay.
        run_id: look at this run only; by default at all that are queued or running.
    """
    query = select(DagRun.run_id, DagRun.conf).where(DagRun.dag_id == dag_id)
    query = query.where(DagRun.state.in_(LIVE) if run_id is None else DagRun.run_id == run_id)
    with create_session() as session:
        rows = session.execute(query).all()
    return [run for run, conf in rows if isinstance(conf, Mapping) and conf.get("retry_of") == replay_id]


def why_no_runs(dag_id: str) -> str:
    """Return why Airflow would not run a DAG now, as a sentence; empty if it would."""
    query = select(DagModel.is_paused, DagModel.has_import_errors).where(DagModel.dag_id == dag_id, ~DagModel.is_stale)
    with create_session() as session:
        found = session.execute(query).one_or_none()
    if found is None:
        return f"Airflow has no DAG {dag_id}: a flow file with a `replay` block gets one."
    if found.has_import_errors:
        return f"The DAG file of {dag_id} has import errors."
    return f"The DAG {dag_id} is paused: resume it in Airflow." if found.is_paused else ""


def file_faults() -> list[FileFault]:
    """Find the faults of flow files among Airflow's import errors."""
    query = (
        select(func.substr(ParseImportError.stacktrace, 1, _MOST_TEXT))
        .where(ParseImportError.stacktrace.contains(_MARK.strip()))
        .order_by(ParseImportError.id)
        .limit(_MOST_ERRORS)
    )
    with create_session() as session:
        texts = session.scalars(query).all()
    found = [fault for text in texts for fault in _faults_in(text)]
    return list(dict.fromkeys(found))  # two DAG files may check one folder


def _faults_in(text: str) -> list[FileFault]:
    faults: list[FileFault] = []
    for line in text.rpartition(_MARK)[2].splitlines():
        placed = _FAULT.fullmatch(line)
        other = None if placed else _FAULT_WITHOUT_LINE.fullmatch(line)
        if placed:
            at = int(placed["line"]), int(placed["column"])
            faults.append(FileFault(placed["file"], f"{at[0]}:{at[1]}", placed["message"], *at))
        elif other:
            faults.append(FileFault(other["file"], other["where"], other["message"]))
        elif line.strip():
            faults.append(FileFault("", "", line.strip()))
    return faults

"""What Airflow's own database knows of one task instance, and of the file of its DAG."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from airflow.models.dag import DagModel, DagTag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_whatsapp_flows.dag_names import TAG
from airflow_whatsapp_flows.ledger.task_attempts import TaskPlace

_REPLAY_LINK = "_link_ReplayLink"
_RESULT = "return_value"
_END = "end"
_MOST_TASKS = 500  # of a run


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task instance, as Airflow knows it.

    Attributes:
        place: where it is.
        operator: name of its class.
        label: name that Airflow shows.
        state: its state; ``None`` if it has none yet.
        try_number: number of its current or last try.
        max_tries: tries after which Airflow makes no other, less one.
        ended_at: when its last try ended.
        content: what Airflow shows for its map index, if it is mapped.
        conf: of the run.
        run_after: of the run.
        is_flow: whether its DAG is that of a flow.
        replay_id: the replay that it works for, if any.
        status: what a task of a replay returned.
    """

    place: TaskPlace
    operator: str
    label: str
    state: str | None
    try_number: int
    max_tries: int
    ended_at: dt.datetime | None
    content: str | None
    conf: Mapping[str, Any]
    run_after: dt.datetime | None
    is_flow: bool
    replay_id: str | None
    status: Mapping[str, Any] | None


def find_task(place: TaskPlace) -> TaskFacts | None:
    """Find a task instance; ``None`` if Airflow has none there."""
    ti = TaskInstance
    query = (
        select(
            ti.operator, ti._task_display_property_value.label("label"), ti.state,
            ti.try_number, ti.max_tries, ti.end_date, ti._rendered_map_index.label("content"),
            DagRun.conf, DagRun.run_after, DagRun.logical_date,
        )
        .join(DagRun, (DagRun.dag_id == ti.dag_id) & (DagRun.run_id == ti.run_id))
        .where(ti.dag_id == place.dag_id, ti.run_id == place.run_id)
        .where(ti.task_id == place.task_id, ti.map_index == place.map_index)
    )  # fmt: skip
    with create_session() as session:
        row = session.execute(query).one_or_none()
        if row is None:
            return None
        values = _find_replay_values(session, place)
        is_flow = _is_flow(session, place.dag_id)
    return TaskFacts(
        place=place,
        operator=row.operator or "",
        label=row.label or place.task_id,
        state=None if row.state is None else str(getattr(row.state, "value", row.state)),
        try_number=row.try_number or 0,
        max_tries=row.max_tries or 0,
        ended_at=row.end_date,
        content=row.content,
        conf=row.conf if isinstance(row.conf, dict) else {},
        run_after=row.run_after or row.logical_date,
        is_flow=is_flow,
        replay_id=_replay_in(values.get(_REPLAY_LINK)),
        status=values[_RESULT] if isinstance(values.get(_RESULT), dict) else None,
    )


def _find_replay_values(session: Any, place: TaskPlace) -> dict[str, Any]:
    """Return what a task of a replay pushed; nothing if it has no replay: a result may be large."""
    query = (
        select(XComModel.value)
        .where(XComModel.dag_id == place.dag_id, XComModel.run_id == place.run_id)
        .where(XComModel.task_id == place.task_id, XComModel.map_index == place.map_index)
    )
    link = session.execute(query.where(XComModel.key == _REPLAY_LINK)).scalar_one_or_none()
    if link is None:
        return {}
    return {
        _REPLAY_LINK: link,
        _RESULT: session.execute(query.where(XComModel.key == _RESULT)).scalar_one_or_none(),
    }


def _replay_in(link: Any) -> str | None:
    if not isinstance(link, str):
        return None
    _, mark, name = link.strip('"').rpartition("/replays/")
    return unquote(name) if mark and name else None


@dataclass(frozen=True, slots=True)
class RunTask:
    """A task instance of a run.

    Attributes:
        task_id: id of the task.
        label: name that Airflow shows.
        operator: name of its class.
        state: its state.
        started_at: when its last try started.
    """

    task_id: str
    label: str
    operator: str
    state: str
    started_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A DAG run, as Airflow knows it.

    Attributes:
        state: its state.
        conf: what it was triggered with.
        run_after: when it was to run.
        is_flow: whether its DAG is that of a flow.
        end: how the walk of its contact ended, as its last task reported it; ``None`` if it has not.
        tasks: those that were started, in the order of their starts.
    """

    state: str
    conf: Mapping[str, Any]
    run_after: dt.datetime | None
    is_flow: bool
    end: Mapping[str, Any] | None
    tasks: Sequence[RunTask]


def find_run(dag_id: str, run_id: str) -> RunFacts | None:
    """Find a DAG run; ``None`` if Airflow has none there."""
    ti = TaskInstance
    columns = (ti.task_id, ti._task_display_property_value.label("label"), ti.operator, ti.state, ti.start_date)
    of_run = select(DagRun.state, DagRun.conf, DagRun.run_after, DagRun.logical_date)
    started = select(*columns).where(ti.dag_id == dag_id, ti.run_id == run_id, ti.start_date.is_not(None))
    ends = select(XComModel.value).where(XComModel.dag_id == dag_id, XComModel.run_id == run_id)
    with create_session() as session:
        row = session.execute(of_run.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one_or_none()
        if row is None:
            return None
        tasks = session.execute(started.order_by(ti.start_date, ti.task_id).limit(_MOST_TASKS)).all()
        end = session.scalars(ends.where(XComModel.key == _END).order_by(XComModel.timestamp.desc()).limit(1)).first()
        is_flow = _is_flow(session, dag_id)
    return RunFacts(
        state=str(getattr(row.state, "value", row.state)),
        conf=row.conf if isinstance(row.conf, dict) else {},
        run_after=row.run_after or row.logical_date,
        is_flow=is_flow,
        end=end if isinstance(end, dict) else None,
        tasks=[
            RunTask(
                task.task_id,
                task.label or task.task_id,
                task.operator or "",
                str(getattr(task.state, "value", task.state)),
                task.start_date,
            )
            for task in tasks
        ],
    )


def is_flow_dag(dag_id: str) -> bool:
    """Whether a DAG is that of a flow."""
    with create_session() as session:
        return _is_flow(session, dag_id)


def _is_flow(session: Any, dag_id: str) -> bool:
    query = select(DagTag.name).where(DagTag.dag_id == dag_id, DagTag.name == TAG)
    return session.execute(query).first() is not None


def file_of_dag(dag_id: str) -> str | None:
    """Find the path of the file that a DAG was parsed from, on the machine that parsed it."""
    with create_session() as session:
        return session.execute(select(DagModel.fileloc).where(DagModel.dag_id == dag_id)).scalar_one_or_none()

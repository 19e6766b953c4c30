"""Creates the runs of a scheduled DAG as the scheduler and a backfill do."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG

from tests.airflow_runs import _quiet, _sync_to_database


def start_runs(dag: DAG, start: dt.datetime, step: dt.timedelta, number: int) -> list[str]:
    """Create the first runs of a DAG; returns their ids.

    Args:
        dag: with a schedule by time.
        start: of the first interval.
        step: from one interval to the next.
        number: of runs.
    """
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with _quiet(), create_session() as session:
        _sync_to_database(dag)
        stored = SerializedDagModel.get_dag(dag.dag_id)
        infos = list(stored.iter_dagrun_infos_between(start, start + (number - 1) * step))
        assert [info.data_interval.start for info in infos] == [start + index * step for index in range(number)]
        for info in infos:
            stored.create_dagrun(
                run_id=f"scheduled__{info.logical_date.isoformat()}",
                logical_date=info.logical_date,
                data_interval=(info.data_interval.start, info.data_interval.end),
                run_after=info.run_after,
                run_type=DagRunType.SCHEDULED,
                triggered_by=DagRunTriggeredByType.TEST,
                state="running",
                session=session,
            )
        return [f"scheduled__{info.logical_date.isoformat()}" for info in infos]

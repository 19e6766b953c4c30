"""The deadline of a replay: one of Airflow's deadline alerts."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from airflow.sdk import AsyncCallback, DeadlineReference

from airflow_whatsapp_flows import FlowFileError, build_replay_dag
from airflow_whatsapp_flows.flow.durations import parse_duration
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.operators.deadline import report_missed_deadline
from tests.dag_factory.test_replay_dag import flow_source

pytestmark = pytest.mark.usefixtures("airflow")


async def tell(**_: object) -> None:
    """A callback of a user."""


def test_a_deadline_is_an_alert_of_airflow() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = build_replay_dag(load_flow(flow_source(deadline="90m")))

    [alert] = dag.deadline
    assert (alert.interval, alert.reference) == (dt.timedelta(minutes=90), DeadlineReference.DAGRUN_QUEUED_AT)
    assert alert.callback.path == "airflow_whatsapp_flows.operators.deadline.report_missed_deadline"
    assert DagSerialization.to_dict(dag)["dag"]["deadline"]
    message = asyncio.run(report_missed_deadline(**alert.callback.kwargs, context={"dag_run": {"dag_run_id": "r"}}))
    assert message.endswith("has not ended within 90m of its start: run r; it continues")


def test_a_callback_of_the_users_replaces_the_log() -> None:
    dag = build_replay_dag(load_flow(flow_source(deadline="PT1H")), on_deadline=AsyncCallback(tell))

    assert dag.deadline[0].callback.path.endswith("tell")


def test_without_a_deadline_there_is_no_alert() -> None:
    assert not build_replay_dag(load_flow(flow_source())).deadline


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2d", 172_800), ("PT1H30M", 5400), ("P1DT2H", 93_600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "0m", "30", "m", "-1h", "1.5h", "P", "PT", "367d", "30m ", 2.0, True])
def test_anything_else_is_a_fault(text: object) -> None:
    with pytest.raises(FlowFileError, match="deadline"):
        load_flow(flow_source(deadline=text))

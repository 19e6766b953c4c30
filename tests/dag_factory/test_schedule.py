"""The schedule of a replay's DAG: cron with data intervals, assets, or both."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset, AssetAll, AssetAny, AssetOrTimeSchedule, CronDataIntervalTimetable

from airflow_whatsapp_flows import FlowFileError, build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow

A, B = Asset(uri="s3://leads/new.csv", name="s3://leads/new.csv"), Asset(uri="x-crm://leads", name="x-crm://leads")
URIS = ["s3://leads/new.csv", "x-crm://leads"]


def dag_of(schedule: Any) -> Any:
    source = {
        "flow_format": 1,
        "id": "leads",
        "timezone": "America/Bogota",
        "replay": {"source": "x.jsonl", "schedule": schedule},
        "steps": [{"name": "A", "type": "message", "body": "hi"}],
    }
    return build_replay_dag(load_flow(source))


@pytest.mark.parametrize(
    ("schedule", "expression"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("@quarterly", "0 0 1 */3 *"),
        ({"cron": "*/5 * * * *"}, "*/5 * * * *"),
    ],
    ids=["cron", "preset", "object"],
)
def test_cron_has_data_intervals_in_the_flows_time_zone(schedule: Any, expression: str) -> None:
    assert dag_of(schedule).timetable == CronDataIntervalTimetable(expression, timezone="America/Bogota")


def test_assets_start_a_replay_together_or_each() -> None:
    assert dag_of({"assets": URIS}).timetable.asset_condition == AssetAll(A, B)
    assert dag_of({"assets": {"any": URIS}}).timetable.asset_condition == AssetAny(A, B)
    assert dag_of({"assets": ["whatsapp-flows://orders/replay"]}).timetable.asset_condition == AssetAll(
        Asset(name="whatsapp_flows/orders/replay", uri="whatsapp-flows://orders/replay")
    )


def test_both_start_a_replay_by_time_and_by_assets() -> None:
    timetable = dag_of({"cron": "@daily", "assets": {"any": URIS}}).timetable
    assert isinstance(timetable, AssetOrTimeSchedule)
    assert timetable.asset_condition == AssetAny(A, B)
    assert timetable.timetable == CronDataIntervalTimetable("@daily", timezone="America/Bogota")


@pytest.mark.parametrize(
    "schedule",
    ["@hourly", "@once", {"assets": URIS}, {"cron": "@daily", "assets": URIS}, {"assets": {"any": URIS}}],
    ids=["cron", "once", "assets", "both", "any"],
)
def test_airflow_can_store_it(schedule: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = dag_of(schedule)
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).dag_id == dag.dag_id


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({}, "replay.schedule: a schedule needs 'cron', 'assets', or both"),
        ({"asets": URIS}, "replay.schedule.asets: unknown key 'asets'; did you mean 'assets'?"),
        ({"assets": []}, "replay.schedule.assets: the list must have at least 1 item"),
        ({"assets": {"any": "x"}}, "replay.schedule.assets.any: must be a list"),
        ({"cron": "often"}, "replay.schedule.cron: 'often' is neither a cron expression"),
        ({"cron": "@once", "assets": URIS}, "replay.schedule.cron: '@once' cannot be combined with assets"),
        ({"assets": {"any": ["x-crm://ñ"]}}, "replay.schedule.assets.any[0]: 'x-crm://ñ' is not the URI of an asset"),
        (5, "replay.schedule: must be a text"),
    ],
    ids=["empty", "unknown", "none", "no-list", "cron", "once", "uri", "number"],
)
def test_an_invalid_schedule_is_a_fault_at_its_place(schedule: Any, message: str) -> None:
    with pytest.raises(FlowFileError) as raised:
        dag_of(schedule)
    assert message in str(raised.value)

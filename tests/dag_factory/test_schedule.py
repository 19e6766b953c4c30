"""The schedule of a replay's DAG: cron with data intervals, assets, or both."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset, AssetAll, AssetAny, AssetOrTimeSchedule, CronDataIntervalTimetable

from airflow_whatsapp_flows import FlowFileError, build_replay_dag
from airflow_whatsapp_flows.dag_factory.placeholder import build_placeholders
from airflow_whatsapp_flows.flow.loading.load import load_flow

A, B = Asset(uri="s3://leads/new.csv", name="s3://leads/new.csv"), Asset(uri="x-crm://leads", name="x-crm://leads")
URIS = ["s3://leads/new.csv", "x-crm://leads"]


DAILY_FILE = "{{ run.data_interval_start | date('%Y-%m-%d') }}.jsonl"
QUERY = "select * from t where at >= :data_interval_start and at < :data_interval_end"


def flow_file(schedule: Any, source: str = "x.jsonl", query: str | None = None, **airflow: Any) -> dict[str, Any]:
    return {
        "flow_format": 1,
        "id": "leads",
        "timezone": "America/Bogota",
        "replay": {"source": source, "schedule": schedule, **({"query": query} if query else {})},
        "airflow": airflow,
        "steps": [{"name": "A", "type": "message", "body": "hi"}],
    }


def dag_of(schedule: Any, source: str = "x.jsonl", query: str | None = None, **airflow: Any) -> Any:
    return build_replay_dag(load_flow(flow_file(schedule, source, query, **airflow)))


def placeholder_of(schedule: Any, source: str = "x.jsonl", query: str | None = None, **airflow: Any) -> Any:
    faulty = {**flow_file(schedule, source, query, **airflow), "steps": []}
    return build_placeholders(faulty, "leads", "it has no steps")["leads__replay"]


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


@pytest.mark.parametrize("build", [dag_of, placeholder_of])
@pytest.mark.parametrize(
    ("keys", "catchup"),
    [
        ({"query": QUERY}, True),
        ({"source": DAILY_FILE}, True),
        ({"query": "select :logical_date"}, True),
        ({"query": QUERY, "catchup": False}, False),
        ({"query": "select :run_id -- not :data_interval_start"}, False),
        ({"catchup": True}, True),
        ({}, False),
    ],
    ids=["query", "source", "date", "chosen", "no-date", "asked", "plain"],
)
@pytest.mark.parametrize("schedule", ["@hourly", {"cron": "0 3 * * *", "assets": URIS}], ids=["cron", "both"])
def test_a_replay_that_reads_its_interval_leaves_none_out(
    build: Any, schedule: Any, keys: dict[str, Any], catchup: bool
) -> None:
    assert build(schedule, start_date="2026-11-20", **keys).catchup is catchup


def test_intervals_need_a_first_one() -> None:
    with pytest.raises(FlowFileError, match=r"replay\.schedule: .*: set airflow\.start_date"):
        dag_of("@hourly", query=QUERY)
    assert dag_of("@hourly", query=QUERY, catchup=False).catchup is False
    assert dag_of("@continuous", query=QUERY).catchup is False


@pytest.mark.parametrize(
    ("schedule", "kept"),
    [
        ({"cron": "@daily", "assets": ["x-crm://ñ"]}, CronDataIntervalTimetable("@daily", timezone="America/Bogota")),
        ({"cron": "@daily", "asets": URIS}, CronDataIntervalTimetable("@daily", timezone="America/Bogota")),
        ({"cron": "often", "assets": URIS}, [A, B]),
        ({"cron": "often"}, None),
        ("@continuous", None),
        ("@once", None),
        ({"cron": 5, "assets": 5}, None),
        (5, None),
    ],
)
def test_a_faulty_flow_keeps_the_valid_part_of_its_schedule(schedule: Any, kept: Any) -> None:
    """Presets without a past keep none: they would fail one run after the other."""
    assert placeholder_of(schedule).schedule == kept


def test_a_faulty_flow_waits_if_the_first_interval_is_unknown() -> None:
    assert placeholder_of("@hourly", query=QUERY).schedule is None
    assert placeholder_of("@hourly", query=QUERY, start_date="in November").schedule is None
    assert placeholder_of("@hourly", query=QUERY, start_date="2026-11-20").schedule is not None
    assert placeholder_of("@hourly", start_date="in November").schedule is not None


OWN = "whatsapp-flows://leads/replay"


@pytest.mark.parametrize(
    ("assets", "outlets", "place", "why"),
    [
        ([*URIS, OWN], [], "assets[2]", "the flow's own replays update it"),
        ({"any": [OWN]}, [], "assets.any[0]", "the flow's own replays update it"),
        (["whatsapp-flows://leads/results"], [], "assets[0]", "the flow's own replays update it"),
        (URIS, ["x-crm://leads"], "assets[1]", "it is in airflow.outlets, so they update it"),
    ],
    ids=["own", "any", "results", "outlet"],
)
def test_a_replay_cannot_start_itself(assets: Any, outlets: list[str], place: str, why: str) -> None:
    for schedule in ({"assets": assets}, {"assets": assets, "cron": "@daily"}):
        with pytest.raises(FlowFileError) as raised:
            dag_of(schedule, outlets=outlets)
        assert f"replay.schedule.{place}: this asset would start replays without end: {why}" in str(raised.value)


@pytest.mark.parametrize(
    ("schedule", "keys", "message"),
    [
        ({"assets": URIS}, {"query": QUERY}, "query: there is no data_interval_start in a run that an asset starts"),
        ({"assets": URIS}, {"source": DAILY_FILE}, "source: there is no data_interval_start in a run that an asset"),
        ({"assets": URIS}, {"query": "select :logical_date"}, "query: there is no logical_date in a run that an asset"),
        ("@once", {"query": QUERY}, "query: there is no data_interval_end in a run of '@once'"),
        ("@daily", {"query": "select :partition_key"}, "query: there is no partition_key in a run that is started by"),
        ({"cron": "@daily"}, {"source": "{{ run.partition_key }}"}, "source: there is no partition_key in a run that"),
    ],
    ids=["query", "source", "date", "once", "partition", "partition-source"],
)
def test_terms_that_no_run_of_the_schedule_has_are_faults(schedule: Any, keys: Any, message: str) -> None:
    with pytest.raises(FlowFileError) as raised:
        dag_of(schedule, **keys)
    assert f"replay.{message}" in str(raised.value)


def test_terms_that_some_run_of_the_schedule_has_are_none() -> None:
    both = {"cron": "@daily", "assets": URIS}
    dag_of(both, query=f"{QUERY} or :partition_key = key", start_date="2026-11-20")
    dag_of({"assets": URIS}, source="{{ run.partition_key }}/{{ run.run_id }}.csv")
    dag_of("@once", query="select :logical_date, :run_id")

"""The schedule of a replay's DAG: by time, when assets are updated, or both."""

from __future__ import annotations

from typing import Any

from airflow.sdk import AssetAny, AssetOrTimeSchedule, CronDataIntervalTimetable

from airflow_whatsapp_flows.dag_factory.airflow_block import read_assets
from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.format.replay import AnyAssetFormat, ScheduleFormat
from airflow_whatsapp_flows.flow.run_schedule import QUARTERLY, WITHOUT_CATCHUP, is_cron, not_cron


def build_schedule(schedule: ScheduleFormat | str | None, flow_id: str, timezone: str) -> Any:
    """Build the schedule of a DAG.

    A cron expression always has data intervals, whatever Airflow's ``[scheduler] create_cron_data_intervals`` says: a
    run is for the time since the one before.

    Args:
        schedule: as written in the flow's file.
        flow_id: id of the flow, for the message of a fault.
        timezone: IANA name of the flow's time zone.

    Raises:
        FlowFileError: it is invalid.
    """
    path = ("replay", "schedule")
    if schedule is None:
        return None
    if isinstance(schedule, str):
        return _read_cron(schedule, path, flow_id, timezone)
    timetable = None if schedule.cron is None else _read_cron(schedule.cron, (*path, "cron"), flow_id, timezone)
    if schedule.assets is None:
        return timetable
    is_any = isinstance(schedule.assets, AnyAssetFormat)
    uris = schedule.assets.any_of if isinstance(schedule.assets, AnyAssetFormat) else schedule.assets
    found, faults = read_assets(uris, *path, "assets", *(("any",) if is_any else ()))
    if isinstance(timetable, str):
        message = f"{timetable!r} cannot be combined with assets; use a cron expression such as '0 3 * * *'"
        faults.append(Fault(message, (*path, "cron")))
    if faults:
        raise FlowFileError(flow_id, faults)
    assets = AssetAny(*found) if is_any else found
    return assets if timetable is None else AssetOrTimeSchedule(timetable=timetable, assets=assets)


def _read_cron(text: str, path: tuple[str, ...], flow_id: str, timezone: str) -> Any:
    if text in WITHOUT_CATCHUP:
        return text
    if not is_cron(text):
        # Airflow would only report this when it stores the DAG, for the entire file.
        raise FlowFileError(flow_id, [Fault(not_cron(text), path)])
    expression = QUARTERLY[1] if text == QUARTERLY[0] else text
    return CronDataIntervalTimetable(expression, timezone=timezone)

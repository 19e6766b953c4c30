"""Checks of the schedule of a flow's replays, considered together with what they read and what they update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_whatsapp_flows.flow.json_source import FlowFault, Path
from airflow_whatsapp_flows.flow.run_schedule import WITHOUT_CATCHUP, catches_up, cron_of, is_cron, not_cron
from airflow_whatsapp_flows.flow.run_terms import DATE_TERMS, INTERVAL_TERMS, query_terms, source_terms

_SCHEDULE: Path = ("replay", "schedule")


def check_schedule(value: Mapping[str, Any]) -> list[FlowFault]:
    """Faults of a schedule that leaves out intervals, starts itself, or lacks a term that its runs read.

    Args:
        value: the file as plain data.
    """
    replay, airflow = value.get("replay"), value.get("airflow")
    if not isinstance(replay, dict):
        return []
    airflow = airflow if isinstance(airflow, dict) else {}
    schedule = replay.get("schedule")
    cron = cron_of(schedule)
    faults = list(_check_terms(replay, schedule))
    if not faults and airflow.get("start_date") is None and not isinstance(airflow.get("catchup"), bool):
        source, query = replay.get("source"), replay.get("query")
        if catches_up(airflow.get("catchup"), cron, source, query):
            message = (
                "each run reads its own interval, and no first one is given: set airflow.start_date, such as "
                '"2026-11-22"; or set airflow.catchup to false, to leave out intervals while the DAG is paused or late'
            )
            faults.append(FlowFault(message, _SCHEDULE))
    own = {f"whatsapp-flows://{value.get('id')}/{name}" for name in ("replay", "results")}
    outlets = airflow.get("outlets")
    written = {uri for uri in outlets if isinstance(uri, str)} if isinstance(outlets, list) else set()
    for uri, path in _assets(schedule):
        if uri in own | written:
            why = "the flow's own replays update it" if uri in own else "it is in airflow.outlets, so they update it"
            faults.append(FlowFault(f"this asset would start replays without end: {why}", path))
    return faults


def check_cron(value: Mapping[str, Any]) -> list[FlowFault]:
    """Faults of a cron expression, with which only the DAG of the flow's replays is not built.

    Args:
        value: the file as plain data, without other faults.
    """
    replay = value.get("replay")
    schedule = replay.get("schedule") if isinstance(replay, dict) else None
    cron = cron_of(schedule)
    if cron is None or cron in WITHOUT_CATCHUP or is_cron(cron):
        return []
    return [FlowFault(not_cron(cron), _SCHEDULE if cron == schedule else (*_SCHEDULE, "cron"))]


def _check_terms(replay: Mapping[str, Any], schedule: object) -> Iterator[FlowFault]:
    """Faults of terms that a run of the schedule never has."""
    cron, with_assets = cron_of(schedule), bool(list(_assets(schedule)))
    for key, terms_in in (("source", source_terms), ("query", query_terms), ("results_to", source_terms)):
        text = replay.get(key)
        for name, offset in terms_in(text) if isinstance(text, str) else ():
            why = None
            if name in DATE_TERMS and cron is None and with_assets:
                why = "that an asset starts; add 'cron' to the schedule, or leave it out"
            elif name in INTERVAL_TERMS and cron == "@once":
                why = "of '@once'; use a cron expression such as '0 3 * * *', or leave it out"
            elif name == "partition_key" and cron is not None and not with_assets:
                why = "that is started by time; add 'assets' to the schedule, or leave it out"
            if why is not None:
                yield FlowFault(f"there is no {name} in a run {why}", ("replay", key), None, offset)


def _assets(schedule: object) -> Iterator[tuple[str, Path]]:
    assets = schedule.get("assets") if isinstance(schedule, dict) else None
    path: Path = (*_SCHEDULE, "assets")
    if isinstance(assets, dict):
        assets, path = assets.get("any"), (*path, "any")
    for index, uri in enumerate(assets if isinstance(assets, list) else []):
        if isinstance(uri, str):
            yield uri, (*path, index)

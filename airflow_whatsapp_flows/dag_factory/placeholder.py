"""Placeholder DAGs of a faulty flow: they keep its id, tasks, and history, and their runs fail with the faults."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from airflow.sdk import DAG

from airflow_whatsapp_flows.dag_factory.schedule import build_schedule
from airflow_whatsapp_flows.dag_factory.task_ids import number_task_ids
from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX, TAG
from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.format import FLOW_ID, MAX_STEPS
from airflow_whatsapp_flows.flow.format.replay import ScheduleFormat
from airflow_whatsapp_flows.flow.loading.graph_checks import targets_of
from airflow_whatsapp_flows.flow.loops import components
from airflow_whatsapp_flows.flow.moments import parse_moment
from airflow_whatsapp_flows.flow.run_schedule import WITHOUT_CATCHUP, catches_up, cron_of
from airflow_whatsapp_flows.operators.markdown import code
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator

_ID = re.compile(FLOW_ID)
_REPLAY_SUCCESSORS = {"plan": ["approve"], "approve": ["replay"], "replay": ["report"], "report": []}
_CANARY_SUCCESSORS = {"approve": ["canary"], "canary": ["approve_canary"], "approve_canary": ["replay"]}


def build_placeholders(value: object, file_id: str, faults: str) -> dict[str, DAG]:
    """Build the placeholder DAGs of a faulty flow.

    Args:
        value: its file as plain data; any part may be invalid.
        file_id: the id from the file's name.
        faults: every fault, with file, line and column.

    Returns:
        DAG id to DAG; empty if the file has no id.
    """
    if not isinstance(value, Mapping) or value.get("id") != file_id:
        return {}
    if not _ID.fullmatch(file_id) or file_id.endswith(REPLAY_SUFFIX):
        return {}
    dags = [_placeholder(file_id, value, faults, _successors(value))]
    block = value.get("replay")
    if isinstance(block, Mapping):
        dags.append(_replay_placeholder(f"{file_id}{REPLAY_SUFFIX}", value, block, faults))
    return {dag.dag_id: dag for dag in dags}


def _replay_placeholder(dag_id: str, value: Mapping[str, Any], block: Mapping[str, Any], faults: str) -> DAG:
    """Leaves out no interval: a failed run has the one that it is for, and reads it once the flow is fixed."""
    airflow = value.get("airflow")
    airflow = airflow if isinstance(airflow, Mapping) else {}
    cron = cron_of(block.get("schedule"))
    catchup = catches_up(airflow.get("catchup"), cron, block.get("source"), block.get("query"))
    start = _start_date(airflow, _zone(value))
    schedule = None
    # Catching up from an unknown start would be thousands of runs. The presets would fail one run after the other, or
    # use up the only one. Without a schedule, the first run of the fixed flow goes on from the last one.
    if cron not in WITHOUT_CATCHUP and (start is not None or not catchup):
        schedule = _schedule(block.get("schedule"), value)
    may_ask = block.get("approve") or block.get("approve_above") is not None
    successors = {**_REPLAY_SUCCESSORS, **(_CANARY_SUCCESSORS if may_ask else {})}
    if block.get("results_to") is not None:
        successors |= {"replay": ["report", "results"], "results": []}
    times = {"start_date": start or dt.datetime(2020, 1, 1, tzinfo=_zone(value)), "catchup": catchup}
    return _placeholder(dag_id, value, faults, successors, schedule=schedule, **times)


def _placeholder(
    dag_id: str,
    value: Mapping[str, Any],
    faults: str,
    successors: Mapping[str, Sequence[str]],
    **times: Any,
) -> DAG:
    loops = components(successors)
    task_ids = number_task_ids(successors, loops) or {"": "faults"}
    with DAG(
        dag_id=dag_id,
        **{"schedule": None, "start_date": None, "catchup": False, **times},
        tags=[TAG, *(["replay"] if dag_id.endswith(REPLAY_SUFFIX) else []), *_tags(value)],
        doc_md=f"The flow has faults:\n\n{code(faults)}\n",
        max_active_runs=1,
        auto_register=False,
    ) as dag:
        tasks: dict[str, FlowFaultOperator] = {}
        for name, task_id in task_ids.items():
            if task_id not in tasks:
                tasks[task_id] = FlowFaultOperator(
                    task_id=task_id, task_display_name=_printable(name)[:100] or task_id, faults=faults
                )
        edges = {(task_ids[name], task_ids[after]) for name, found in successors.items() for after in found}
        for source, target in sorted(edges):
            if source != target:
                tasks[source] >> tasks[target]
    return dag


def _successors(value: Mapping[str, Any]) -> dict[str, list[str]]:
    """Step name to the names of the next steps, as far as they are known."""
    written = value.get("steps")
    # The tasks of 20,000 steps take longer than Airflow's limit for the entire folder.
    found = written[:MAX_STEPS] if isinstance(written, list) else []
    steps = [step for step in found if isinstance(step, Mapping)]
    named = {step["name"]: step for step in steps if isinstance(step.get("name"), str)}
    return {
        name: [target for _, target in targets_of(step) if isinstance(target, str) and target in named]
        for name, step in named.items()
    }


def _schedule(written: object, value: Mapping[str, Any]) -> Any:
    """That of the replay, or the half of it that is valid."""
    parts = written if isinstance(written, Mapping) else {}
    for one in (written, *({key: parts[key]} for key in ("cron", "assets") if key in parts)):
        with contextlib.suppress(msgspec.ValidationError, FlowFileError):
            schedule: Any = msgspec.convert(one, ScheduleFormat | str | None)
            return build_schedule(schedule, str(value["id"]), str(_zone(value)))
    return None


def _zone(value: Mapping[str, Any]) -> dt.tzinfo:
    with contextlib.suppress(LookupError, ValueError, OSError, TypeError):
        return ZoneInfo(value.get("timezone", "UTC"))
    return dt.timezone.utc


def _start_date(airflow: Mapping[str, Any], zone: dt.tzinfo) -> dt.datetime | None:
    """That of the replay: its zone is the schedule's, and nothing is due before it."""
    written = airflow.get("start_date")
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(written, str):
            return parse_moment(written, zone)
    return None


def _tags(value: Mapping[str, Any]) -> list[str]:
    block = value.get("airflow")
    written = block.get("tags") if isinstance(block, Mapping) else None
    found = written if isinstance(written, list) else []
    printable_tags = dict.fromkeys(_printable(str(tag)) for tag in found)
    return [tag for tag in printable_tags if 0 < len(tag) <= 100 and tag not in (TAG, "replay")]


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())

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
from airflow_whatsapp_flows.operators.markdown import code
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator

_ID = re.compile(FLOW_ID)
_REPLAY_SUCCESSORS = {"plan": ["approve"], "approve": ["replay"], "replay": ["report"], "report": []}


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
        schedule = _schedule(block, value, file_id)
        dags.append(_placeholder(f"{file_id}{REPLAY_SUFFIX}", value, faults, _REPLAY_SUCCESSORS, schedule))
    return {dag.dag_id: dag for dag in dags}


def _placeholder(
    dag_id: str,
    value: Mapping[str, Any],
    faults: str,
    successors: Mapping[str, Sequence[str]],
    schedule: Any = None,
) -> DAG:
    loops = components(successors)
    task_ids = number_task_ids(successors, loops) or {"": "faults"}
    with DAG(
        dag_id=dag_id,
        schedule=schedule,
        start_date=_start_date(value) if dag_id.endswith(REPLAY_SUFFIX) else None,
        catchup=False,
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


def _schedule(block: Mapping[str, Any], value: Mapping[str, Any], file_id: str) -> Any:
    """That of the replay: a failed run has the interval that it is for, and reads it once the flow is fixed."""
    try:
        schedule: Any = msgspec.convert(block.get("schedule"), ScheduleFormat | str | None)
        return build_schedule(schedule, file_id, str(_zone(value)))
    except (msgspec.ValidationError, FlowFileError):
        return None


def _zone(value: Mapping[str, Any]) -> dt.tzinfo:
    with contextlib.suppress(LookupError, ValueError, OSError, TypeError):
        return ZoneInfo(value.get("timezone", "UTC"))
    return dt.timezone.utc


def _start_date(value: Mapping[str, Any]) -> dt.datetime:
    """That of the replay: its zone is the schedule's, and nothing is due before it."""
    block = value.get("airflow")
    zone = _zone(value)
    written = block.get("start_date") if isinstance(block, Mapping) else None
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(written, str):
            return parse_moment(written, zone)
    return dt.datetime(2020, 1, 1, tzinfo=zone)


def _tags(value: Mapping[str, Any]) -> list[str]:
    block = value.get("airflow")
    written = block.get("tags") if isinstance(block, Mapping) else None
    found = written if isinstance(written, list) else []
    printable_tags = dict.fromkeys(_printable(str(tag)) for tag in found)
    return [tag for tag in printable_tags if 0 < len(tag) <= 100 and tag not in (TAG, "replay")]


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())

"""A run's input: one contact response, from the run's params and conf."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_whatsapp_flows.flow.response import ContactResponse, read_response

_KEYS = ("id", "contact", "step", "global", "flow_execution_variables", "created_on", "actions")


def response_of(context: Mapping[str, Any], given: object = None, *, strict: bool = False) -> ContactResponse:
    """The contact response of a run.

    A field of the trigger form has a dotted name, and says nothing when it was left blank.

    Args:
        context: Airflow's, of the running task.
        given: values of the scopes that come before the run's own.
        strict: whether unknown keys of the conf are an error; params of the DAG's own never are.

    Raises:
        ResponseError: it is not an object, or a part of it has the wrong type.
    """
    if given is not None:
        return read_response(given)
    params = dict(context.get("params") or {})
    conf = getattr(context.get("dag_run"), "conf", None) or {}
    merged = {**params, **conf}
    if not strict:
        merged = {key: value for key, value in merged.items() if key.partition(".")[0] in _KEYS}
    response = read_response(merged)
    return response if response.id is not None else replace(response, id=run_id_of(context))


def run_time(context: Mapping[str, Any]) -> dt.datetime:
    """The moment that ``global`` values are told of: the same for every task of a run, and every try."""
    dag_run = context.get("dag_run")
    moment = getattr(dag_run, "run_after", None) or getattr(dag_run, "logical_date", None)
    return moment if isinstance(moment, dt.datetime) else dt.datetime.now(dt.timezone.utc)


def run_id_of(context: Mapping[str, Any]) -> str | None:
    """Id of the DAG run; ``None`` outside of one."""
    run_id = getattr(context.get("dag_run"), "run_id", None) or context.get("run_id")
    return str(run_id) if run_id else None


def map_index_of(context: Mapping[str, Any]) -> int:
    """Place of the task in its mapping, from 0; -1 for a task that is not mapped."""
    index = getattr(context.get("ti"), "map_index", None)
    return -1 if index is None else int(index)

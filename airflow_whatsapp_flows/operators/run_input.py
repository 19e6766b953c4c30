"""A run's input: one contact response, from the run's params and conf."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from airflow_whatsapp_flows.flow.format.flow import VariableFormat
from airflow_whatsapp_flows.flow.run_terms import DATE_TERMS, INTERVAL_TERMS, RunTerms
from airflow_whatsapp_flows.flow.template.variables import Scope
from airflow_whatsapp_flows.flow.walk.response import ContactResponse, read_response

_VARIABLE = Scope.FLOW_EXECUTION_VARIABLES.value
_KEYS = ("id", "contact", "step", "global", "flow_execution_variables", "created_on", "actions")


def response_of(
    context: Mapping[str, Any],
    given: object = None,
    *,
    strict: bool = False,
    variables: Mapping[str, VariableFormat] | None = None,
) -> ContactResponse:
    """The contact response of a run.

    A field of the trigger form has a dotted name. It says nothing when it was left blank, or holds the default that the
    flow declares for its variable: the walk fills that in, on every road.

    Args:
        context: Airflow's, of the running task.
        given: values of the scopes that come before the run's own.
        strict: whether unknown keys of the conf are an error; params of the DAG's own never are.
        variables: what the flow declares.

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
    response = read_response(_without_defaults(merged, variables or {}))
    return response if response.id is not None else replace(response, id=run_id_of(context))


def _without_defaults(merged: Mapping[str, Any], variables: Mapping[str, VariableFormat]) -> dict[str, Any]:
    defaults = {f"{_VARIABLE}.{name}": variable.default for name, variable in variables.items()}
    return {key: value for key, value in merged.items() if key not in defaults or not _same(value, defaults[key])}


def _same(value: object, default: object) -> bool:
    # 1 is True to Python, and a number is no truth value in a flow. 1.0 is 1 to a browser.
    if isinstance(value, Mapping) and isinstance(default, Mapping):
        return value.keys() == default.keys() and all(_same(item, default[key]) for key, item in value.items())
    if isinstance(value, (list, tuple)) and isinstance(default, (list, tuple)):
        return len(value) == len(default) and all(map(_same, value, default))
    return isinstance(value, bool) is isinstance(default, bool) and value == default


def run_time(context: Mapping[str, Any]) -> dt.datetime:
    """Return the time of ``global`` values: the same for every task of a run, and every try."""
    dag_run = context.get("dag_run")
    moment = getattr(dag_run, "run_after", None) or getattr(dag_run, "logical_date", None)
    return moment if isinstance(moment, dt.datetime) else dt.datetime.now(dt.timezone.utc)


def run_id_of(context: Mapping[str, Any]) -> str | None:
    """Id of the DAG run; ``None`` outside of one."""
    run_id = getattr(context.get("dag_run"), "run_id", None) or context.get("run_id")
    return str(run_id) if run_id else None


def run_terms(context: Mapping[str, Any]) -> RunTerms:
    """Return the terms of the run.

    It has no dates if it was triggered without a logical date or by an asset. A schedule without data intervals gives
    its runs one that ends when it starts, in which there is nothing: such a run has no interval.
    """
    dates = {name: context.get(name) for name in DATE_TERMS}
    if dates["data_interval_start"] == dates["data_interval_end"]:
        dates.update(dict.fromkeys(INTERVAL_TERMS))
    key = context.get("partition_key") or getattr(context.get("dag_run"), "partition_key", None)
    return RunTerms(**dates, partition_key=None if key is None else str(key), run_id=run_id_of(context))


def map_index_of(context: Mapping[str, Any]) -> int:
    """Map index of the task, from 0; -1 if it is not mapped."""
    index = getattr(context.get("ti"), "map_index", None)
    return -1 if index is None else int(index)

"""What a replay reads and writes, as datasets for OpenLineage: its source, the paths of the CRM, and its results.

Names contain no secrets and no data of contacts: a path is the template of the flow's file, without its query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.hooks.action import provider_settings
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay
from airflow_whatsapp_flows.operators.replay_setup import request_sender_of, task_flow
from airflow_whatsapp_flows.replay.export import Target
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.transport.origin import origin_of

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.replay import ReplayTask
    from airflow_whatsapp_flows.operators.replay_steps import ReplayResultsOperator

Dataset = tuple[str, str]
"""Namespace and name, as in OpenLineage's naming conventions."""
_SCHEMES = {"postgresql": "postgres", "mssql": "sqlserver", "gcs": "gs", "s3a": "s3", "s3n": "s3"}
_TABLE = re.compile(
    r"""\b(?:FROM|JOIN)\s+((?:[\w$]+|"[^"]+"|`[^`]+`)(?:\.(?:[\w$]+|"[^"]+"|`[^`]+`))*)""", re.IGNORECASE
)
_LITERALS = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)


def replay_lineage(task: ReplayTask, *, sends: bool) -> Any:
    """Return the datasets of a task as Airflow's OpenLineage provider expects them.

    Args:
        sends: whether the task sends requests.
    """
    flow = task_flow(task)
    replay = None
    if task.linked_replay is not None:
        with airflow_ledger(provider_settings()) as ledger:
            replay = find_replay(ledger, task.linked_replay)
    inputs = source_datasets(replay) if replay is not None else []
    outputs = crm_datasets(flow, request_sender_of(flow)) if sends else []
    return _lineage(inputs, [*outputs, *results_datasets(task.written_to)])


def results_lineage(task: ReplayResultsOperator) -> Any:
    """Return the datasets of a task that only writes results, as Airflow's OpenLineage provider expects them."""
    return _lineage([], results_datasets(task.written_to))


def _lineage(inputs: list[Dataset], outputs: list[Dataset]) -> Any:
    # Only this provider calls these functions.
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset
    from airflow.providers.openlineage.extractors import (  # type: ignore[import-not-found,unused-ignore]
        OperatorLineage,
    )

    return OperatorLineage(
        inputs=[OpenLineageDataset(namespace=namespace, name=name) for namespace, name in inputs],
        outputs=[OpenLineageDataset(namespace=namespace, name=name) for namespace, name in outputs],
    )


def crm_datasets(flow: Flow, request_sender: RequestSender) -> list[Dataset]:
    """Return the paths to which a flow sends: the origin is the namespace, the path of the flow's file the name."""
    written = json.loads(flow.source_for_storage)  # without literal secrets
    urls = {step["name"]: step.get("url") or "" for step in written["steps"]}
    found = []
    for step in flow.steps.values():
        if isinstance(step, Action):
            connection = request_sender.find_connection(step.plan.connection) if step.plan.connection else None
            origin = origin_of(step.plan.url.origin or (connection.origin if connection else ""))
            found.append((f"{origin.scheme}://{origin.authority}", _path(urls[step.name])))
    return list(dict.fromkeys(found))


def source_datasets(replay: Replay) -> list[Dataset]:
    """Return the tables or files that a replay has read; none if they are unknown."""
    reading = replay.options.get("reading") or {}
    location = str(reading.get("source") or replay.source)
    query = reading.get("query")
    return list(_tables(location, str(query))) if query else list(_files(location))


def results_datasets(target: Target | None) -> list[Dataset]:
    """Return the tables or files to which a task has written its results."""
    found: list[Dataset] = []
    for location, table in target.places if target is not None else ():
        if table is None:
            found += _files(location)
        else:
            namespace, prefix = _database(location)
            found.append((namespace, prefix + table))
    return found


def _tables(location: str, query: str) -> Iterator[Dataset]:
    namespace, prefix = _database(location)
    for table in dict.fromkeys(_TABLE.findall(_LITERALS.sub(" ", query))):
        yield namespace, prefix + re.sub(r'["`]', "", table)


def _database(location: str) -> tuple[str, str]:
    """Return the namespace of a database, and what comes before the names of its tables."""
    parts = urlsplit(location)
    kind = parts.scheme.partition("+")[0]
    database = parts.path.lstrip("/")
    if kind == "sqlite":
        return f"sqlite:///{database}", ""
    port = f":{parts.port}" if parts.port else ""
    return f"{_SCHEMES.get(kind, kind)}://{parts.hostname or ''}{port}", f"{database}." if database else ""


def _files(location: str) -> Iterator[Dataset]:
    parts = urlsplit(location)
    if location == "-":
        return
    if parts.scheme and parts.netloc:
        host = parts.netloc.rpartition("@")[2]  # before it are a connection or credentials
        yield f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{host}", parts.path.lstrip("/") or "/"
    else:
        yield "file", parts.path if parts.scheme == "file" else location


def _path(url: str) -> str:
    """Return the path of a URL of a flow; placeholders stay."""
    text = re.split(r"[?#]", url, maxsplit=1)[0]
    absolute = re.match(r"[a-zA-Z][\w+.-]*://[^/]*(.*)", text, re.DOTALL)
    return (absolute[1] if absolute else text) or "/"

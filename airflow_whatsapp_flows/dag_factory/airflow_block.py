"""Settings of the DAGs from the ``airflow`` block of a flow."""

from __future__ import annotations

import datetime as dt
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import Asset
from airflow.sdk.configuration import conf

from airflow_whatsapp_flows.dag_names import TAG
from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.format import FLOW_ID
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.moments import parse_moment

_LONGEST_RETRY = dt.timedelta(minutes=1)
_OWN_ASSET = re.compile(rf"whatsapp-flows://({FLOW_ID})/(replay|results)")


def replay_asset(flow_id: str) -> Asset:
    """The asset that a finished replay of a flow updates; its events carry the replay's status.

    Args:
        flow_id: id of the flow.
    """
    return _own_asset(flow_id, "replay")


def results_asset(flow_id: str) -> Asset:
    """The asset that is updated when the results of a flow's replay have been written to ``results_to``.

    Args:
        flow_id: id of the flow.
    """
    return _own_asset(flow_id, "results")


def _own_asset(flow_id: str, name: str) -> Asset:
    return Asset(name=f"whatsapp_flows/{flow_id}/{name}", uri=f"whatsapp-flows://{flow_id}/{name}")


def display_name(dag_id: str, name: str) -> str:
    """The text that Airflow shows for a DAG: its id, then the name of the flow.

    Airflow's DAG list searches the start of the displayed text: a DAG whose id is not displayed is not found by it.
    """
    return dag_id if name == dag_id else f"{dag_id}: {name}"


def start_date(flow: Flow) -> dt.datetime | None:
    """The start of the replay's schedule, if the flow sets it.

    Args:
        flow: any flow.
    """
    written_date = flow.airflow.start_date
    return None if written_date is None else parse_moment(written_date, ZoneInfo(flow.timezone))


def tags(flow: Flow, *others: str) -> list[str]:
    """The tags of a DAG of the flow.

    Args:
        flow: any flow.
        *others: additional tags of this DAG.
    """
    return list(dict.fromkeys([TAG, *others, *flow.airflow.tags]))


def default_args(flow: Flow) -> dict[str, Any]:
    """The default arguments of every task in the flow's DAGs."""
    return {} if flow.airflow.owner is None else {"owner": flow.airflow.owner}


def request_task_args(flow: Flow) -> dict[str, Any]:
    """Additional arguments of the tasks that send requests: the pool, and the assets that they read and write.

    Raises:
        FlowFileError: Airflow does not accept the URI of an asset.
    """
    inlets, outlets = assets(flow)
    given = {"pool": flow.airflow.pool, "inlets": inlets, "outlets": outlets}
    return {name: value for name, value in given.items() if value}


def retry_args(flow: Flow) -> dict[str, Any]:
    """Additional arguments of the tasks that send nothing and can be retried safely."""
    return {
        "retries": flow.airflow.retries,
        "retry_delay": dt.timedelta(seconds=flow.airflow.retry_delay),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": max(_LONGEST_RETRY, dt.timedelta(seconds=flow.airflow.retry_delay)),
    }


def assets(flow: Flow) -> tuple[list[Asset], list[Asset]]:
    """The assets that the flow reads, and those that it writes.

    Raises:
        FlowFileError: Airflow does not accept the URI of one.
    """
    inlets, faults = read_assets(flow.airflow.inlets, "airflow", "inlets")
    outlets, more = read_assets(flow.airflow.outlets, "airflow", "outlets")
    if faults or more:
        raise FlowFileError(flow.id, [*faults, *more])
    return inlets, outlets


def read_assets(uris: Sequence[str], *path: str) -> tuple[list[Asset], list[Fault]]:
    """Return the assets with these URIs, and the faults of those that Airflow does not accept.

    Args:
        uris: as written in the file.
        *path: of the list in the file.
    """
    found: list[Asset] = []
    faults: list[Fault] = []
    for index, uri in enumerate(uris):
        try:
            found.append(_asset(uri))
        except Exception as error:  # each provider checks the URIs of its own scheme, in its own way
            shown = "it" if "@" in uri else repr(uri)  # there may be a password before the sign
            message = f"{shown} is not the URI of an asset, such as s3://bucket/key or x-crm://contacts: {error}"
            faults.append(Fault(message, (*path, index)))
    return found, faults


def _asset(uri: str) -> Asset:
    # Airflow rejects these when it stores the DAG, together with every other DAG of the same parse.
    if not (uri.isascii() and uri.isprintable()):
        raise ValueError("only printable ASCII characters are allowed; percent-encode others, as in %C3%A9")
    # Airflow treats two assets with one URI and different names as an error, and fails their tasks.
    own = _OWN_ASSET.fullmatch(uri)
    if own:
        return _own_asset(own[1], own[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a password, which is rejected below
        asset = Asset(uri=uri)
    if asset.uri != uri:
        raise ValueError(f"write it as Airflow normalizes it, {asset.uri!r}")
    return asset


def doc_md(flow: Flow, generated: str) -> str:
    """The documentation of a DAG.

    Args:
        flow: any flow.
        generated: used when the flow has none.
    """
    # Airflow would treat a text that ends with ".md" as a file name, and open the file.
    return f"{flow.airflow.doc_md or generated}\n"


def max_active_runs(flow: Flow) -> int:
    """The maximum number of active runs."""
    if _on_sqlite():
        return 1  # eight runs at once on Airflow's SQLite kill the scheduler with "database is locked"
    return flow.airflow.max_active_runs or conf.getint("core", "max_active_runs_per_dag", fallback=16)


def _on_sqlite() -> bool:
    url = conf.get("database", "sql_alchemy_conn", fallback="") or ""
    if url and not url.startswith("airflow-db-not-allowed"):
        return url.startswith("sqlite")
    # Airflow hides its database from the process that parses DAG files; its SQLite file is in its home.
    return (Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser() / "airflow.db").is_file()

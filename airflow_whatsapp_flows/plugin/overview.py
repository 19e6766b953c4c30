"""The navigation page: the last replays, flow files with faults, and every flow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from fastapi import APIRouter, Query, Request, Response

from airflow_whatsapp_flows.errors import ConnectionConfigError, Fault, FlowFileError, LedgerError
from airflow_whatsapp_flows.flow.loading.excerpts import excerpt
from airflow_whatsapp_flows.flow_files import read_flow_text
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.ended_contacts import count_ended_of_flows
from airflow_whatsapp_flows.ledger.reader import MissingLedgerError
from airflow_whatsapp_flows.ledger.recent_replays import (
    RecentReplay,
    latest_of_flows,
    recent_replays,
    replayed_flows,
)
from airflow_whatsapp_flows.plugin.access import CurrentUser, may_see_import_errors, readable
from airflow_whatsapp_flows.plugin.addresses import SearchText
from airflow_whatsapp_flows.plugin.airflow_tables import FileFault, FlowDag, count_runs, file_faults, flow_dags
from airflow_whatsapp_flows.plugin.charts import DAY, Chart, chart_of_week
from airflow_whatsapp_flows.plugin.ledger_access import open_ledger
from airflow_whatsapp_flows.plugin.rendering import page

router = APIRouter()

_LAST = 10  # replays on the first page
_REPLAYS = 50
_FLOWS = 50
_FAULTS = 20
_DAYS = 7
_NOTHING = ((0, 0),) * _DAYS


@dataclass(frozen=True, slots=True)
class ShownFault:
    """A fault with the line of the file that has it.

    Attributes:
        fault: as reported by Airflow.
        excerpt: the line, with a mark below the faulty part; empty if this process has no such file.
    """

    fault: FileFault
    excerpt: str


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What is known of the ledger.

    Attributes:
        is_missing: whether there is none yet.
        problem: why it cannot be read; empty if it can.
        replays: the last replays that the user may see.
        latest: the last replay of each flow.
        week: how many contacts of each flow ended on each of the last days, in replays: without and with an error.
    """

    is_missing: bool = False
    problem: str = ""
    replays: Sequence[RecentReplay] = ()
    latest: Mapping[str, RecentReplay] | None = None
    week: Mapping[str, Sequence[tuple[int, int]]] | None = None


@router.get("/")
def overview(
    request: Request,
    q: SearchText = "",
    after: str = Query("", max_length=250),
    user: Any = CurrentUser,
) -> Response:
    """Show the last replays, the flow files with faults, and the flows."""
    flows, following = _readable_dags(user, after, q)
    faults = file_faults() if may_see_import_errors(user) else []
    now = time.time()
    ledger = _ledger_state(user, flows, now)
    return page(
        request,
        "overview.html",
        q=q,
        after=after,
        flows=flows,
        next=following,
        broken={Path(fault.file).stem for fault in faults},
        faults=_excerpts(faults[:_FAULTS]),
        more_faults=max(0, len(faults) - _FAULTS),
        ledger=ledger,
        charts=_charts(flows, ledger.week or {}, now),
    )


@router.get("/replays")
def replays(
    request: Request,
    q: SearchText = "",
    before: int | None = Query(None, ge=1, lt=2**31),
    user: Any = CurrentUser,
) -> Response:
    """Show all replays, newest first."""
    with open_ledger() as ledger:
        found = recent_replays(ledger, _REPLAYS + 1, before, text=q, flow_ids=_readable_flows(user, ledger))
    older = found[_REPLAYS - 1].no if len(found) > _REPLAYS else None
    return page(request, "replays.html", q=q, before=before, replays=found[:_REPLAYS], older=older)


@router.get("/replays.part")
def last_replays(request: Request, user: Any = CurrentUser) -> Response:
    """Return the rows of the last replays, for a page that is open while they run."""
    with open_ledger() as ledger:
        found = recent_replays(ledger, _LAST, flow_ids=_readable_flows(user, ledger))
    return page(request, "replay_rows.html", replays=found)


def _readable_flows(user: Any, ledger: Ledger) -> set[str]:
    """Return the flows whose replays a user may see; lists select by them, so a page says nothing of the others."""
    return readable(user, replayed_flows(ledger))


def _readable_dags(user: Any, after: str, text: str) -> tuple[list[FlowDag], str | None]:
    """Return a page of the flows whose DAG a user may read, and the last of them if there are more."""
    found: list[FlowDag] = []
    while True:
        some = flow_dags(_FLOWS + 1, after, text)
        allowed = readable(user, [flow.id for flow in some])
        found += [flow for flow in some if flow.id in allowed]
        if len(found) > _FLOWS:
            return found[:_FLOWS], found[_FLOWS - 1].id
        if len(some) <= _FLOWS:
            return found, None
        after = some[-1].id


def _charts(
    flows: Sequence[FlowDag], replayed: Mapping[str, Sequence[tuple[int, int]]], now: float
) -> dict[str, Chart]:
    """Return a chart of the last days of each flow that sent something, by replays and DAG runs."""
    in_runs = count_runs([flow.id for flow in flows], _times(now))
    charts = {}
    for flow in flows:
        days = [*zip(replayed.get(flow.id, _NOTHING), in_runs.get(flow.id, _NOTHING), strict=True)]
        chart = chart_of_week([(one[0] + other[0], one[1] + other[1]) for one, other in days], now)
        if chart.total:
            charts[flow.id] = chart
    return charts


def _times(now: float) -> list[float]:
    return [now - DAY * number for number in range(_DAYS, -1, -1)]


def _ledger_state(user: Any, flows: Sequence[FlowDag], now: float) -> LedgerState:
    try:
        with open_ledger() as ledger:
            return LedgerState(
                replays=recent_replays(ledger, _LAST, flow_ids=_readable_flows(user, ledger)),
                latest=latest_of_flows(ledger, [flow.id for flow in flows]),
                week=count_ended_of_flows(ledger, [flow.id for flow in flows], _times(now)),
            )
    except MissingLedgerError:
        return LedgerState(is_missing=True)
    except (LedgerError, ConnectionConfigError) as error:
        return LedgerState(problem=str(error))


def _excerpts(faults: Sequence[FileFault]) -> list[ShownFault]:
    dags = Path(conf.get("core", "dags_folder", fallback="") or ".").expanduser().resolve()
    texts = {file: _read(file, dags) for file in {fault.file for fault in faults if fault.line is not None}}
    return [ShownFault(fault, _excerpt(fault, texts.get(fault.file))) for fault in faults]


def _read(file: str, dags: Path) -> str | None:
    """Return the text of a flow file, if this process has the folder of DAGs."""
    try:
        path = Path(file).resolve()
        return read_flow_text(path) if path.is_relative_to(dags) else None
    except (FlowFileError, OSError, RuntimeError, ValueError):
        return None


def _excerpt(fault: FileFault, text: str | None) -> str:
    return "" if text is None else excerpt(text, Fault(fault.message, line=fault.line, column=fault.column))

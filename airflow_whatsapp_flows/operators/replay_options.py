"""Options of a replay task: its arguments, or else the flow's ``replay``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.flow.format.replay import Empty, OnChanged
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.replay.option_checks import HandledErrors, check_concurrency, check_rate


@dataclass(frozen=True, slots=True)
class LoadedFlow:
    """A flow as an argument of a mapped task: Airflow stores the repr of such arguments.

    Attributes:
        id: of the flow.
        flow: the flow; not part of the repr.
    """

    id: str
    flow: Flow = field(repr=False)


_LARGEST_LIMIT = 2**63 - 1  # that a ledger can store
FlowSource = Flow | LoadedFlow | Mapping[str, object] | Path | str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """The arguments of a task; ``None`` means the value from the flow's ``replay``, or its default.

    Attributes:
        source: of the contact responses.
        query: one SQL statement; then ``source`` is a database's URL, or the id of an Airflow connection.
        parameters: values of its named parameters, besides the terms of the run.
        columns: column names by the key of a response that they contain.
        id_column: name of the column with the id.
        source_format: ``jsonl``, ``csv`` or ``parquet``.
        limit: maximum number of rows.
        send: ``failed`` or ``all``.
        on_changed: ``reject`` or ``update``.
        empty: ``fail`` or ``ok``.
        rate: requests per second for each host, or by host.
        concurrency: maximum concurrent requests.
        chunk_size: contacts of one chunk.
        max_failures: contacts that may fail before the replay stops.
        max_handled_errors: contacts that may take an error exit: a number, or a percentage.
        stop_when_refused: whether to stop if a server rejects everything.
        force: whether to send completed responses again.
        accept_changed_flow: whether to resume with a changed version of the flow.

    Raises:
        ValueError: a number is not one that the command line and a flow allow.
    """

    source: str | None = None
    query: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    id_column: str | None = None
    source_format: str | None = None
    limit: int | None = None
    send: str | None = None
    on_changed: OnChanged | None = None
    empty: Empty | None = None
    rate: float | Mapping[str, float] | None = None
    concurrency: int | None = None
    chunk_size: int | None = None
    max_failures: int | None = None
    max_handled_errors: HandledErrors | None = None
    stop_when_refused: bool | None = None
    force: bool = False
    accept_changed_flow: bool = False

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            check_concurrency(self.concurrency)
        check_given_rate(self.rate)


def check_given_rate(rate: object) -> None:
    """Check the numbers of a rate; texts are templates, which are rendered later.

    Raises:
        ValueError: a number is not one that the command line and a flow allow.
    """
    for one in rate.values() if isinstance(rate, Mapping) else (rate,):
        if isinstance(one, (int, float)):
            check_rate(one)


def check_query(query: object, parameters: object) -> None:
    """Check the types of a rendered query and its parameters: a template may render to anything.

    Raises:
        ValueError: the query is no text, or the parameters are no mapping.
    """
    if query and not isinstance(query, str):
        raise ValueError(f"query must be a text, not {query!r}")
    if parameters and not isinstance(parameters, Mapping):
        raise ValueError(f"parameters must be values by name, such as {{'since': '2026-11-22'}}, not {parameters!r}")


def read_limit(value: object) -> int | None:
    """Read a rendered limit; an empty text is none.

    Raises:
        ValueError: it is no whole number of at least 1.
    """
    if value is None or value == "":
        return None
    try:
        limit = int(str(value))
    except ValueError:
        limit = 0
    if not 1 <= limit <= _LARGEST_LIMIT:
        raise ValueError(f"limit must be a whole number of at least 1, not {value!r}")
    return limit


def read_rates(value: object) -> float | Mapping[str, float] | None:
    """Read a rendered rate, or rates by host; an empty text is none.

    Raises:
        ValueError: one is no number, or not one that the command line and a flow allow.
    """
    if isinstance(value, Mapping):
        return {str(host): _read_rate(rate) for host, rate in value.items()}
    return None if value is None or value == "" else _read_rate(value)


def _read_rate(value: object) -> float:
    try:
        rate = float(str(value))
    except ValueError:
        raise ValueError(f"rate must be a number of requests per second, not {value!r}") from None
    check_rate(rate)
    return rate

"""Settings of all sending commands: sender and limits, from options, environment and flow."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from airflow_whatsapp_flows.cli.ledger_access import ledger_url, open_ledger
from airflow_whatsapp_flows.connections import ActionConnection, action_connection, connection_from_environment
from airflow_whatsapp_flows.errors import ConnectionConfigError, SourceError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.run_terms import RUN_TERMS, WATERMARK, RunTerms, find_own_terms, terms_of
from airflow_whatsapp_flows.ledger.engine import is_missing_file
from airflow_whatsapp_flows.ledger.watermarks import CursorKey
from airflow_whatsapp_flows.replay.create import ReplayRequest, source_settings
from airflow_whatsapp_flows.replay.cursor import CursorRequest, ReplayCursor, find_cursor
from airflow_whatsapp_flows.replay.estimate import hosts_of
from airflow_whatsapp_flows.replay.rates import spellings
from airflow_whatsapp_flows.replay.run_settings import (
    RunSettings,
    options_to_keep,
    rates_of,
    replay_block,
    resolve_run_settings,
)
from airflow_whatsapp_flows.replay.sources import Source, SourceSpec, absolute_location
from airflow_whatsapp_flows.replay.sources.parameters import fill_location, parameters_of
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import settings_from_environment


@dataclass(frozen=True, slots=True)
class Prepared:
    """How to send a replay.

    Attributes:
        request_sender: connections and settings; includes every connection of the flow.
        run: limits of the run.
        chunk_size: contacts per chunk.
        options: the same as plain data without secrets; the ledger stores it for a later ``retry``.
        connections: URLs of connections that were given, by id; others come from the environment.
        workers: number of worker processes, or ``"auto"``.
    """

    request_sender: RequestSender
    run: RunSettings
    chunk_size: int
    options: Mapping[str, Any]
    connections: Mapping[str, str] = field(repr=False)
    workers: int | str


def prepare(options: argparse.Namespace, flow: Flow, kept: Mapping[str, Any] | None = None) -> Prepared:
    """Determine how to send a replay, before anything is read.

    The command line takes precedence, then the options stored in the ledger, then the flow's ``replay``.

    Args:
        options: command-line options.
        flow: the flow whose connections are looked up.
        kept: ``Replay.options`` of a replay to resume.

    Raises:
        ConnectionConfigError: a connection or setting is missing or invalid.
    """
    kept = kept or {}
    block = replay_block(flow)
    connections = {**kept.get("connections", {}), **dict(options.connection)}
    allowed = list(dict.fromkeys([*kept.get("allow_hosts", ()), *options.allow_host]))
    given = settings_from_environment()
    request_sender = RequestSender(
        replace(given, allowed_hosts=(*given.allowed_hosts, *allowed)), GivenConnections(connections).find
    )
    # Look up every connection first: a missing one found midway would leave contacts partly processed.
    _check_names(options, flow, hosts_of(flow, request_sender).values())
    asked = {
        "concurrency": options.concurrency,
        # A rate for one host is added to those for other hosts.
        "rates": {**rates_of(block.rate), **kept.get("rates", {}), **dict(options.rate)},
        "send": getattr(options, "send", None),
        "max_handled_errors": options.max_handled_errors,
        "stop_when_refused": options.stop_when_refused,
        "force": getattr(options, "force", False),
    }
    run = resolve_run_settings(flow, asked, kept)
    return Prepared(
        request_sender=request_sender,
        run=run,
        chunk_size=block.chunk_size,
        options={
            **options_to_keep(run, asked, kept),
            "allow_hosts": allowed,
            "connections": {id_: url for id_, url in connections.items() if not _holds_secrets(url)},
        },
        connections=connections,
        workers=given.replay_workers if options.workers is None else options.workers,
    )


def _check_names(options: argparse.Namespace, flow: Flow, hosts: Collection[str]) -> None:
    """Refuse unknown names: a misspelled host would have no limit, a misspelled connection would send elsewhere."""
    for id_, _ in options.connection:
        if id_ not in flow.connections:
            hint = did_you_mean(id_, flow.connections) or "; it uses none"
            raise ConnectionConfigError(f"--connection: the flow does not use the connection {id_!r}{hint}")
    known = {spelt for host in hosts for spelt in spellings(host)}
    for host, _ in options.rate:
        if host and host.lower() not in known:
            known_hosts = f"its hosts are {', '.join(sorted(set(hosts)))}" if hosts else "it sends nothing"
            raise ConnectionConfigError(f"--rate: the flow sends nothing to {host!r}; {known_hosts}")


def find_cursor_of(options: argparse.Namespace, flow: Flow) -> ReplayCursor | None:
    """Return from where to read the source with ``--cursor``; ``None`` without it.

    Raises:
        ReplayError: another query has moved the watermark.
        LedgerError: the ledger cannot be read.
    """
    if options.cursor is None:
        if options.cursor_overlap is not None:
            raise SourceError("--cursor-overlap needs --cursor COLUMN")
        return None
    written = SourceSpec(location=options.responses, query=options.query)
    request = CursorRequest(
        key=CursorKey(flow.id, absolute_location(written), options.cursor),
        zone=ZoneInfo(flow.timezone),
        overlap=options.cursor_overlap,
        query=options.query,
        is_own=False,
    )
    if is_missing_file(ledger_url(options)):
        return find_cursor(None, request, options.replay_id)
    with open_ledger(options) as ledger:
        return find_cursor(ledger, request, options.replay_id)


def source_spec(options: argparse.Namespace, flow: Flow, cursor: ReplayCursor | None) -> SourceSpec:
    """Return the source given on the command line.

    Raises:
        SourceError: it uses a term of a run that is not given, does not use one that is given, or the interval is
            empty.
    """
    given = {
        name: None if value is None else dt.datetime.fromtimestamp(value, dt.timezone.utc)
        for name, value in (
            ("data_interval_start", options.interval_start),
            ("data_interval_end", options.interval_end),
        )
    }
    used = {*terms_of(options.responses), *(parameters_of(options.query) if options.query else ())}
    if WATERMARK in used and cursor is None:
        raise SourceError(f"the source uses {WATERMARK}, which only a cursor has: pass --cursor COLUMN")
    own = None if cursor is None else next(find_own_terms(options.responses, options.query), None)
    if own is not None:
        raise SourceError(
            f"the source uses {own[1]}, so each interval has other rows, and all of them would share the watermark of "
            f"--cursor: rows of an earlier interval would be left out. Leave out --cursor, or {own[1]}"
        )
    for name in RUN_TERMS:
        if name == WATERMARK:
            continue
        option = f"--{name.removeprefix('data_').replace('_', '-')}"
        if name in used and given.get(name) is None:
            hint = f"pass {option} T" if name in given else "write its value instead"
            raise SourceError(f"the source uses {name}, which only a DAG run has: {hint}")
        if name not in used and given.get(name) is not None:
            raise SourceError(
                f"{option}: the source would be read in full; use :{name} in --query, or {{{{ run.{name} }}}} in "
                "--responses"
            )
    start, end = given["data_interval_start"], given["data_interval_end"]
    if start is not None and end is not None and start >= end:
        raise SourceError("--interval-end must be after --interval-start: there is nothing in between")
    first = None if cursor is None else cursor.cursor.start
    watermark = None if first is None else first.value
    terms = RunTerms(data_interval_start=start, data_interval_end=end, watermark=watermark)
    return SourceSpec(
        location=fill_location(options.responses, terms, ZoneInfo(flow.timezone)),
        columns=dict(options.column),
        id_column=options.id,
        query=options.query,
        format=options.responses_format,
        parameters={**given, WATERMARK: watermark},
        cursor=None if cursor is None else cursor.cursor,
    )


def replay_request(
    options: argparse.Namespace, flow: Flow, source: Source, prepared: Prepared, cursor: ReplayCursor | None
) -> ReplayRequest:
    """Return the replay that ``run`` starts or resumes, and that ``plan`` describes."""
    return ReplayRequest(
        flow=flow,
        source=source,
        replay_id=options.replay_id,
        reading=source_settings(source_spec(options, flow, cursor)),
        options=prepared.options,
        note=options.note,
        chunk_size=prepared.chunk_size,
        limit=options.limit,
        force=options.force,
        accept_changed_flow=options.accept_changed_flow,
        on_changed=options.on_changed or replay_block(flow).on_changed,
        cursor=cursor,
    )


@dataclass(frozen=True, slots=True)
class GivenConnections:
    """Finds connections on the command line, then in the environment."""

    urls: Mapping[str, str]

    def find(self, conn_id: str) -> ActionConnection:
        """Return a connection.

        Raises:
            ConnectionConfigError: it is missing or invalid.
        """
        url = self.urls.get(conn_id)
        environ = None if url is None else {**os.environ, f"AIRFLOW_CONN_{conn_id.upper()}": _as_airflow(url)}
        return action_connection(connection_from_environment(conn_id, environ))


def _as_airflow(url: str) -> str:
    """Convert a URL to Airflow's connection URI; the path of a plain URL is part of its base URL.

    In Airflow's own URI the path would become the schema, and thus the scheme of the request.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.scheme not in ("http", "https") or not parts.path.strip("/") or "://" in parts.netloc + parts.path:
        return url
    user, _, host = parts.netloc.rpartition("@")
    base = f"{parts.scheme}://{host}{parts.path}"
    uri = f"{parts.scheme}://{user}@{host}?{parts.query}" if user else f"{parts.scheme}://{host}?{parts.query}"
    fields = connection_from_environment("given", {"AIRFLOW_CONN_GIVEN": uri})
    written = {"conn_type": "http", "host": base, "login": fields.login, "password": fields.password}
    return msgspec.json.encode({**written, "extra": dict(fields.extra)}).decode()


def _holds_secrets(url: str) -> bool:
    return "@" in url or "?" in url or url.lstrip().startswith("{")

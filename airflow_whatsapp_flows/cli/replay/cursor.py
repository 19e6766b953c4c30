"""``whatsapp-flows replay cursor``: shows or moves the watermarks of a flow's sources."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow_whatsapp_flows.cli import REFUSED
from airflow_whatsapp_flows.cli.ledger.confirmation import agreed
from airflow_whatsapp_flows.cli.ledger_access import open_ledger, user_name
from airflow_whatsapp_flows.cli.tables import moment, plain, table
from airflow_whatsapp_flows.errors import ReplayError, SourceError
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.watermark import CursorError, Watermark, parse_watermark
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.ledger.watermarks import CursorKey, StoredWatermark, list_watermarks, set_watermark
from airflow_whatsapp_flows.replay.cursor import key_of
from airflow_whatsapp_flows.replay.run_settings import replay_block
from airflow_whatsapp_flows.replay.sources import SourceSpec, absolute_location, display_location


def cursor(options: argparse.Namespace) -> int:
    """Print the watermarks, or move one; return 0, or 1 if it was not confirmed."""
    flow = load_flow_file(Path(options.flow)) if Path(options.flow).exists() else None
    flow_id = options.flow if flow is None else flow.id
    with open_ledger(options) as ledger:
        found = [one for one in list_watermarks(ledger, flow_id) if _is_chosen(one, options)]
        if options.set is None and not options.clear:
            print(_as_json(found) if options.format == "json" else _as_text(found, flow_id))
            return 0
        key = _key_to_move(found, options, flow, flow_id)
        before = next((one.watermark for one in found if one.key == key), None)
        after = None if options.clear else _parse(options.set, before, flow)
        if not (options.yes or _is_forward(before, after)):
            where = "the first row" if after is None else after.text
            print(f"the watermark of {key.source} goes back from {before and before.text} to {where}: {_AGAIN}")
            if not agreed("Move it?", "the watermark was not moved"):
                return REFUSED
        set_watermark(ledger, key, after, user_name())
        found = [one for one in list_watermarks(ledger, flow_id) if one.key == key]
        print(_as_json(found) if options.format == "json" else _as_text(found, flow_id))
    return 0


_AGAIN = (
    "the next replay reads these rows again; those that were sent with the same content are skipped, and those with "
    "other content are handled as on_changed says"
)


def _is_chosen(one: StoredWatermark, options: argparse.Namespace) -> bool:
    if options.column not in (None, one.key.column):
        return False
    return options.source is None or one.key.source in _names_of(options.source)


def _names_of(source: str) -> set[str]:
    """Return how the ledger may name a source: passwords are hidden in another way in the URL of a database."""
    return {source, display_location(SourceSpec(location=source)), _name_of(source), os.path.abspath(source)}


def _name_of(source: str) -> str:
    """Return how ``replay run`` names a source; a name that is no file is that of an Airflow connection."""
    if "://" not in source and not (os.path.lexists(source) or has_magic(source)):
        return source
    try:
        return absolute_location(SourceSpec(location=source, query="" if "://" in source else None))
    except SourceError:  # not the URL of a database
        return display_location(SourceSpec(location=source))


def _key_to_move(
    found: Sequence[StoredWatermark], options: argparse.Namespace, flow: Flow | None, flow_id: str
) -> CursorKey:
    if len(found) == 1:
        return found[0].key
    own = None if flow is None else key_of(flow)
    if own is not None and options.source in (None, own.source) and options.column in (None, own.column):
        return own
    if found:
        listed = "; ".join(f"--source {one.key.source} --column {one.key.column}" for one in found)
        raise ReplayError(f"the flow {flow_id!r} has several watermarks; choose one: {listed}")
    column = options.column or (replay_block(flow).cursor if flow is not None else None)
    if options.source is None or column is None:
        raise ReplayError(
            f"no replay of the flow {flow_id!r} has read a source with a cursor; name what to set: --source S and "
            "--column COLUMN, or a flow file with replay.source and replay.cursor"
        )
    return CursorKey(flow_id, _name_of(options.source), column)


def _parse(text: str, before: Watermark | None, flow: Flow | None) -> Watermark:
    zone: dt.tzinfo = dt.timezone.utc if flow is None else ZoneInfo(flow.timezone)
    try:
        return parse_watermark(text, before, zone)
    except CursorError as error:
        raise ReplayError(f"the watermark {text!r} {error}") from None


def _is_forward(before: Watermark | None, after: Watermark | None) -> bool:
    if before is None or before == after:
        return True
    return after is not None and before.family == after.family and after.is_after(before)


def _as_json(found: Sequence[StoredWatermark]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "flow_id": one.key.flow_id,
            "source": one.key.source,
            "column": one.key.column,
            "watermark": one.watermark and one.watermark.text,
            "kind": one.watermark and one.watermark.family,
            "replay_id": one.replay_id,
            "moved_at": moment(one.moved_at).replace(" ", "T") + "Z",
            "moved_by": one.moved_by,
        }
        for one in found
    ]
    return json.dumps(rows, ensure_ascii=False)


def _as_text(found: Sequence[StoredWatermark], flow_id: str) -> str:
    if not found:
        return plain(f"no replay of the flow {flow_id!r} has read a source with a cursor")
    head = ("source", "cursor", "watermark", "moved (UTC)", "by")
    return table(
        head,
        [
            (
                one.key.source,
                one.key.column,
                "(everything is read)" if one.watermark is None else one.watermark.text,
                moment(one.moved_at),
                one.moved_by if one.is_given else f"replay {one.replay_id}",
            )
            for one in found
        ],
    )

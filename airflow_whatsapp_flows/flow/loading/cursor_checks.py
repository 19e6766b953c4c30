"""Checks of the cursor of a flow's replays, considered together with what they read."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_whatsapp_flows.flow.json_source import FlowFault
from airflow_whatsapp_flows.flow.run_terms import WATERMARK, find_own_terms, query_terms, source_terms
from airflow_whatsapp_flows.flow.watermark import FILE_MODIFIED


def check_cursor(replay: object) -> list[FlowFault]:
    """Faults of a cursor, and of what needs one.

    Args:
        replay: the block as plain data; any part may be invalid.
    """
    if not isinstance(replay, dict):
        return []
    if replay.get("cursor") is None:
        return list(_check_without(replay))
    return list(_check_with(replay))


def _check_without(replay: dict[str, object]) -> Iterator[FlowFault]:
    """Faults of what needs a cursor."""
    if replay.get("cursor_overlap") is not None:
        message = "an overlap needs a 'cursor': the column by which rows are read, such as \"updated_at\""
        yield FlowFault(message, ("replay", "cursor_overlap"))
    for key, terms_in in (("source", source_terms), ("query", query_terms)):
        text = replay.get(key)
        for name, offset in terms_in(text) if isinstance(text, str) else ():
            if name == WATERMARK:
                message = f"there is no {WATERMARK} without a 'cursor': the column by which rows are read"
                yield FlowFault(message, ("replay", key), None, offset)


def _check_with(replay: dict[str, object]) -> Iterator[FlowFault]:
    """Faults of a cursor."""
    path = ("replay", "cursor")
    source, query = replay.get("source"), replay.get("query")
    if source is None:
        yield FlowFault("a cursor needs a 'source': what is read", path)
    elif source == "-":
        yield FlowFault("standard input cannot be read again, so it has no cursor", path)
    if replay["cursor"] == FILE_MODIFIED and query is not None:
        message = f"{FILE_MODIFIED!r} is for files, and a query has none; name one of its columns"
        yield FlowFault(message, path)
    if isinstance(source, str) and isinstance(query, (str, type(None))):
        for key, name, offset in find_own_terms(source, query):
            message = (
                f"with {name}, each run reads other rows, and with a 'cursor' all runs share one watermark: a run that "
                f"is late or cleared would leave out its rows. Leave out the cursor, or {name}"
            )
            yield FlowFault(message, ("replay", key), None, offset)
    if replay.get("on_changed") is None:
        message = (
            "a row that is updated is read again under its id: set 'on_changed' to \"update\" to send its new content, "
            'or to "reject" if rows never change'
        )
        yield FlowFault(message, path)

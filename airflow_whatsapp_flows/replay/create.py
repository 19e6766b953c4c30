"""Creates a replay, or finds the one to resume."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.format.replay import Empty, OnChanged
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.run_terms import WATERMARK
from airflow_whatsapp_flows.ledger.claims import exclusive
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import (
    Replay,
    change_flow,
    create_replay,
    discard_replay,
    find_replay,
    note_snapshot,
    replays_of_source,
    unfinished_replays,
)
from airflow_whatsapp_flows.ledger.watermarks import CURSOR, WatermarkMove
from airflow_whatsapp_flows.replay.cursor import ReplayCursor
from airflow_whatsapp_flows.replay.renames import load_step_identities
from airflow_whatsapp_flows.replay.snapshot import Snapshot
from airflow_whatsapp_flows.replay.source_warnings import SourceWarnings, empty_means, rows_or_error
from airflow_whatsapp_flows.replay.sources import Source, SourceSpec, display_location
from airflow_whatsapp_flows.replay.sources.parameters import parameters_of

_ID = "replay id (replay_id, --replay-id)"
_NAMED = {
    "source": "source",
    "query": "query",
    "parameters": "set of query parameters",
    "columns": "mapping of columns",
    "id_column": "id column",
    "format": "format",
    "limit": "limit",
}
_LONGEST_SHOWN = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """A request to create or resume a replay.

    Attributes:
        flow: flow for every contact.
        source: source of the contact responses.
        replay_id: name of the replay to resume or create; ``None`` to resume the replay of the same flow and source
            content, read in the same way, or else create one. A replay that finished with another version of the flow
            is not resumed, and neither is a forced one.
        reading: other settings that determine the rows, see :func:`source_settings`.
        options: settings for a later ``retry``, as plain data.
        note: the user's note.
        chunk_size: contacts per chunk.
        limit: maximum rows to read; ``None`` for all.
        force: whether to resend responses that were completed before.
        accept_changed_flow: whether a replay may continue with another version of its flow.
        on_changed: what to do with a response whose id is known with different content: ``reject`` or ``update``.
        cursor: from where the source is read; ``None`` to read all of it.
        empty: what a source without rows means; by default a warning.
    """

    flow: Flow
    source: Source
    replay_id: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    chunk_size: int = 1000
    limit: int | None = None
    force: bool = False
    accept_changed_flow: bool = False
    on_changed: OnChanged = "reject"
    cursor: ReplayCursor | None = None
    empty: Empty | None = None

    @property
    def move(self) -> Callable[[bool], WatermarkMove] | None:
        """Given whether a limit left rows out, returns how far the source was read; ``None`` without a cursor."""
        cursor = self.cursor
        return None if cursor is None else lambda is_cut: cursor.move(self.source.cursor_reading, is_cut=is_cut)

    @property
    def cursor_warnings(self) -> list[str]:
        """Warnings about the cursor, once the source was read."""
        if self.cursor is None:
            return []
        return [*self.cursor.warnings, *(self.source.cursor_reading.warnings() if self.source.cursor_reading else ())]


def create_or_resume_replay(
    ledger: Ledger, request: ReplayRequest, on_rows: Callable[[int], None] = lambda _: None
) -> Replay:
    """Create or find the requested replay, with every row of its source in the ledger.

    Args:
        request: the requested replay.
        on_rows: called with the number of rows read so far.

    Raises:
        ReplayError: the replay exists with another source, query, mapping, limit or flow; the message names which.
        SourceError: the source cannot be read.
        LedgerError: the ledger cannot be written.
    """
    flow = request.flow.source_for_storage
    with exclusive(ledger, "begin", request.flow.id):  # a second process that starts the same replay finds this one
        replay = _find_existing(ledger, request, flow)
        warnings = _warn_of_unsent(ledger, request) if replay is None or not replay.sealed else []
        if replay is not None and not replay.sealed:
            discard_replay(ledger, replay.no)  # it was not read to its end: its settings do not matter
        if replay is None or not replay.sealed:
            replay = create_replay(
                ledger,
                replay.id if replay else request.replay_id or _new_id(request.flow),
                request.flow.id,
                flow,
                (request.source.name, request.source.mark),
                options={
                    **request.options,
                    "force": request.force,
                    "on_changed": request.on_changed,
                    "reading": _read_settings(request),
                    **({} if request.cursor is None else {CURSOR: request.cursor.options()}),
                },
                note=request.note,
            )
            source_warnings = SourceWarnings(request.flow)
            snapshot = Snapshot(
                ledger, replay, request.chunk_size, request.force, request.limit, on_rows, source_warnings.check,
                request.flow.identity, request.on_changed, request.move,
            )  # fmt: skip
            empty = empty_means(request.flow, request.empty)
            taken = snapshot.take(rows_or_error(request.source, empty))
            warnings += source_warnings.warnings(taken, request.source.ignored_columns, empty)
            note_snapshot(ledger, replay.no, [*warnings, *request.cursor_warnings], snapshot.changed)
        else:
            _check_same(replay, request, flow)
            if replay.flow != flow:
                load_step_identities(ledger, replay, request.flow, states=())  # refuses an unconfirmed rename
                change_flow(ledger, replay.no, flow)
    found = find_replay(ledger, replay.id)
    if found is None:
        raise ReplayError(f"the replay {replay.id!r} has been removed from the ledger")
    return found


def find_existing_replay(ledger: Ledger, request: ReplayRequest) -> Replay | None:
    """Find the replay that this request resumes; ``None`` if it creates a new one.

    Raises:
        ReplayError: the replay exists with another source, query, mapping, limit or flow; the message names which.
        LedgerError: the ledger cannot be read.
    """
    flow = request.flow.source_for_storage
    replay = _find_existing(ledger, request, flow)
    if replay is None or not replay.sealed:
        return None
    _check_same(replay, request, flow)
    return replay


def _find_existing(ledger: Ledger, request: ReplayRequest, flow: str) -> Replay | None:
    if request.replay_id is not None:
        return find_replay(ledger, request.replay_id)
    if request.cursor is not None:
        # Its rows are not read again, so they would stay unsent; an ended one does not have the new rows.
        of_cursor = filter(request.cursor.is_of, unfinished_replays(ledger, request.flow.id))
        return next((replay for replay in of_cursor if _is_same(replay, request)), None)
    same = [
        (replay, ended)
        for replay, ended in replays_of_source(ledger, request.flow.id, request.source.name, request.source.mark)
        if _is_same(replay, request)
    ]
    unfinished = next((replay for replay, ended in same if not ended), None)
    if unfinished is not None or request.force:
        return unfinished  # an intentional resend is a separate replay
    return next((replay for replay, _ in same if replay.flow == flow), None)


def _warn_of_unsent(ledger: Ledger, request: ReplayRequest) -> list[str]:
    """Warn of replays whose rows are before the watermark, so that no other replay sends them."""
    cursor = request.cursor
    if cursor is None:
        return []
    unsent = [one.id for one in unfinished_replays(ledger, request.flow.id) if one.sealed and cursor.is_of(one)]
    return [
        f"contacts of the replay {name} are pending, and are not read again: resume it to send them"
        for name in unsent[-_MOST_NAMED:]
    ]


_MOST_NAMED = 5


def _is_same(replay: Replay, request: ReplayRequest) -> bool:
    return (
        replay.is_forced == request.force
        and _on_changed(replay) == request.on_changed
        and not _differences(replay, request)
    )


def source_settings(spec: SourceSpec) -> dict[str, Any]:
    """Return the settings that determine a source's rows, for :attr:`ReplayRequest.reading`, without passwords.

    Args:
        spec: location of the source, and how it is read.
    """
    plain = asdict(replace(spec, cursor=None))
    kept = {key: value for key, value in plain.items() if key not in ("location", "parameters") and value}
    used = parameters_of(spec.query) if spec.query is not None else ()
    parameters = {name: _plain(spec.parameters.get(name)) for name in used if name != WATERMARK}
    return {"source": display_location(spec), **kept, **({"parameters": parameters} if parameters else {})}


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.timezone.utc).isoformat()
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def keeps_source(replay: Replay) -> bool:
    """Whether the ledger stores the location of a replay's source; earlier versions stored only its name."""
    return "source" in (replay.options.get("reading") or {})


def _read_settings(request: ReplayRequest) -> dict[str, Any]:
    return {**request.reading, "limit": request.limit}


def _differences(replay: Replay, request: ReplayRequest) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ between a replay and a request: old and new value."""
    then, now = dict(replay.options.get("reading") or {}), _read_settings(request)
    if not keeps_source(replay) or "source" not in now or replay.source != request.source.name:
        then["source"], now["source"] = replay.source, request.source.name
    if request.cursor is not None and request.cursor.is_of(replay):
        then["source"] = now["source"] = ""  # its path may contain the watermark, which has moved
    differing = [key for key in _NAMED if (then.get(key) or None) != (now.get(key) or None)]
    return {key: (then.get(key), now.get(key)) for key in differing}


def _on_changed(replay: Replay) -> str:
    return str(replay.options.get("on_changed") or "reject")


def _check_same(replay: Replay, request: ReplayRequest, flow: str) -> None:
    if replay.flow_id != request.flow.id:
        raise ReplayError(f"the replay {replay.id!r} is of the flow {replay.flow_id!r}: use another {_ID}")
    for key, (then, now) in _differences(replay, request).items():
        raise ReplayError(
            f"the replay {replay.id!r} was started with another {_NAMED[key]}: {_shorten(then)} then, {_shorten(now)} "
            f"now; use another {_ID}, or the original value"
        )
    if replay.is_forced != request.force:
        how = "with --force" if replay.is_forced else "without --force"
        raise ReplayError(f"the replay {replay.id!r} was started {how}: resume it {how}, or use another {_ID}")
    if replay.flow != flow and not request.accept_changed_flow:
        raise ReplayError(
            f"the flow has changed since the replay {replay.id!r} started: resume with the original flow, or use "
            "--accept-changed-flow (accept_changed_flow) to send the rest with the changed flow"
        )
    if _on_changed(replay) != request.on_changed and not request.accept_changed_flow:
        raise ReplayError(
            f"the replay {replay.id!r} was started with on_changed {_on_changed(replay)!r}, which was applied to its "
            f"rows: resume it with the same value (--on-changed), or use another {_ID}"
        )


def _shorten(value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _new_id(flow: Flow) -> str:
    now = dt.datetime.now(dt.timezone.utc)
    return f"{flow.id}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"

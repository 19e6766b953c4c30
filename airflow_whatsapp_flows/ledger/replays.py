"""Replays: their settings and progress."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, func, insert, null, or_, select, update

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger.counts import count_requests, pending_chunks, select_counts, total
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts, replays

_WARNINGS, _CHANGED = "warnings", "changed"  # keys of the options


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as stored in the ledger.

    Attributes:
        no: number in the ledger.
        id: name of the replay.
        flow_id: id of the flow.
        flow: the flow file at the time, JSON.
        source: where the responses came from, as entered by the user.
        source_mark: changes with the content of the source; ``None`` if unknown.
        options: settings that a later ``retry`` uses.
        note: the user's note.
        created_at: epoch seconds.
        started_at: start of the first run, moved forward by the pauses between runs; ``None`` before the first run.
        ended_at: end of the last run; ``None`` before the first run, and while a run is in progress or was killed.
        sealed: whether every row of the source is in the ledger; nothing is sent before that.
    """

    no: int
    id: str
    flow_id: str
    flow: str
    source: str
    source_mark: str | None
    options: Mapping[str, Any]
    note: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    sealed: bool

    @property
    def is_forced(self) -> bool:
        """Whether it resends every request intentionally, independent of earlier ones."""
        return bool(self.options.get("force"))

    @property
    def warnings(self) -> list[str]:
        """Warnings about its source, one sentence each."""
        return list(self.options.get(_WARNINGS, ()))

    @property
    def rows_changed(self) -> int:
        """Number of rows whose ids were known with other content when the source was read."""
        return int(self.options.get(_CHANGED) or 0)

    def run_seconds(self, now: float) -> float:
        """Return the seconds it has run, without the time between runs.

        Args:
            now: epoch seconds.
        """
        return run_seconds(self.started_at, self.ended_at, now)


def run_seconds(started_at: float | None, ended_at: float | None, now: float) -> float:
    """Return the seconds that a replay has run, without the time between runs; arguments in epoch seconds."""
    if started_at is None:
        return 0.0
    return max(0.0, (now if ended_at is None else ended_at) - started_at)


@dataclass(frozen=True, slots=True)
class Tally:
    """Progress of a replay; the states add up to ``total``.

    Attributes:
        total: number of rows in the source.
        states: number of contacts in each state, including empty ones.
        handled_errors: number of errors handled by error exits.
        handled: number of completed contacts with at least one of these.
        unanswered: number of contacts whose walk ended at an unanswered question.
        requests: number of attempts that may have reached a server, including those later resolved as not sent.
    """

    total: int
    states: Mapping[ContactState, int]
    handled_errors: int
    handled: int
    unanswered: int
    requests: int


def create_replay(
    ledger: Ledger, replay_id: str, flow_id: str, flow: str, source: tuple[str, str | None], **settings: Any
) -> Replay:
    """Create a replay; add its contacts next, then seal it.

    Args:
        replay_id: an unused name.
        flow_id: id of the flow.
        flow: the flow file, JSON.
        source: name and mark of the source.
        **settings: ``options`` (stored as JSON) and ``note``.

    Raises:
        LedgerError: a replay of that name already exists.
    """
    values = {
        "id": replay_id,
        "flow_id": flow_id,
        "flow": flow,
        "source": source[0],
        "source_mark": source[1],
        "options": json.dumps(settings.get("options") or {}),
        "note": settings.get("note"),
        "created_at": time.time(),
        "sealed": False,
    }
    with ledger.write() as connection:
        taken = connection.execute(select(replays.c.no).where(replays.c.id == replay_id)).scalar_one_or_none()
        if taken is not None:
            raise LedgerError(f"the replay {replay_id!r} already exists")
        row = connection.execute(insert(replays).values(values).returning(replays)).one()
    return _replay(row)


def discard_replay(ledger: Ledger, replay_no: int) -> None:
    """Delete a replay that was not sealed, so has sent nothing."""
    with ledger.write() as connection:
        connection.execute(delete(contacts).where(contacts.c.replay_no == replay_no))
        connection.execute(delete(replays).where(replays.c.no == replay_no, ~replays.c.sealed))


def find_replay(ledger: Ledger, replay_id: str) -> Replay | None:
    """Return the replay with a name, if it exists."""
    with ledger.read() as connection:
        row = connection.execute(select(replays).where(replays.c.id == replay_id)).one_or_none()
    return None if row is None else _replay(row)


def list_replays(ledger: Ledger) -> list[Replay]:
    """Return all replays, newest first."""
    with ledger.read() as connection:
        rows = connection.execute(select(replays).order_by(replays.c.no.desc())).all()
    return [_replay(row) for row in rows]


def states_of_replays(ledger: Ledger) -> dict[int, dict[ContactState, int]]:
    """Count the contacts of every replay by state; keyed by replay number, without empty states."""
    found: dict[int, dict[ContactState, int]] = {}
    with ledger.read() as connection:
        rows = select_counts(connection)
        query = select(rows.c.replay_no, rows.c.state, total(rows.c.contacts)).group_by(rows.c.replay_no, rows.c.state)
        for replay_no, state, count in connection.execute(query):
            found.setdefault(replay_no, {})[ContactState(state)] = count
    return found


def replays_of_source(ledger: Ledger, flow_id: str, source: str, mark: str | None) -> list[tuple[Replay, bool]]:
    """Find the replays of a flow and source with this mark, newest first, each with whether it is finished.

    A replay that is not sealed or has pending contacts is unfinished. Without a mark the source may have changed, so
    there are none.
    """
    if mark is None:
        return []
    pending = pending_chunks(replays.c.no).correlate(replays)
    query = (
        select(replays, (replays.c.sealed & ~pending.exists()).label("ended"))
        .where(replays.c.flow_id == flow_id, replays.c.source == source, replays.c.source_mark == mark)
        .order_by(replays.c.no.desc())
    )
    with ledger.read() as connection:
        return [(_replay(row), bool(row.ended)) for row in connection.execute(query)]


def unfinished_replays(ledger: Ledger, flow_id: str) -> list[Replay]:
    """Find the replays of a flow that are not sealed, or have pending contacts, oldest first."""
    pending = pending_chunks(replays.c.no).correlate(replays)
    query = select(replays).where(replays.c.flow_id == flow_id, or_(~replays.c.sealed, pending.exists()))
    with ledger.read() as connection:
        return [_replay(row) for row in connection.execute(query.order_by(replays.c.no))]


def mark_started(ledger: Ledger, replay_no: int, now: float) -> None:
    """Record that a run has started.

    Args:
        replay_no: number of the replay.
        now: epoch seconds.
    """
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        begun, until = connection.execute(select(replays.c.started_at, replays.c.ended_at).where(own)).one()
        if begun is not None and until is None:
            # A killed run is taken to have lasted until its last contact ended.
            rows = select_counts(connection, replay_no).c
            until = connection.execute(select(func.max(rows.last_ended_at))).scalar_one_or_none()
        before = 0.0 if begun is None or until is None else max(0.0, until - begun)
        connection.execute(update(replays).where(own).values(started_at=now - before, ended_at=null()))


def mark_ended(ledger: Ledger, replay_no: int, now: float) -> None:
    """Record that a run has ended, whether or not contacts are pending.

    Args:
        replay_no: number of the replay.
        now: epoch seconds.
    """
    with ledger.write() as connection:
        connection.execute(update(replays).where(replays.c.no == replay_no).values(ended_at=now))


def note_snapshot(ledger: Ledger, replay_no: int, warnings: Sequence[str], changed: int) -> None:
    """Store what was found while reading the source of a replay.

    Args:
        replay_no: number of the replay.
        warnings: warnings about the source.
        changed: number of rows whose ids were known with other content.
    """
    if not warnings and not changed:
        return
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        options = json.loads(connection.execute(select(replays.c.options).where(own)).scalar_one())
        kept = json.dumps({**options, _WARNINGS: list(warnings), _CHANGED: changed})
        connection.execute(update(replays).where(own).values(options=kept))


def change_flow(ledger: Ledger, replay_no: int, flow: str) -> None:
    """Set the flow version that the replay uses from now on."""
    with ledger.write() as connection:
        connection.execute(update(replays).where(replays.c.no == replay_no).values(flow=flow))


def find_accepted_steps(ledger: Ledger, replay_no: int) -> set[str]:
    """Find the names of the steps that a server has carried out for any contact of a replay."""
    query = select(attempts.c.step).distinct()
    query = query.where(attempts.c.replay_no == replay_no, attempts.c.fate == Fate.SUCCEEDED.value)
    with ledger.read() as connection:
        return set(connection.execute(query).scalars())


def tally(ledger: Ledger, replay_no: int, only: Sequence[int] | None = None) -> Tally:
    """Count the contacts and requests of a replay, or of some of its chunks.

    Args:
        replay_no: number of the replay.
        only: chunks to count; by default all.
    """
    with ledger.read() as connection:
        rows = select_counts(connection, replay_no, only).c
        columns = (total(rows.contacts), total(rows.handled_errors), total(rows.handled), total(rows.unanswered))
        found = connection.execute(select(rows.state, *columns).group_by(rows.state)).all()
        requests = connection.execute(count_requests(replay_no, only)).scalar_one()
    return tally_of(found, requests)


def tally_of(counted: Iterable[Sequence[Any]], requests: int) -> Tally:
    """Return the progress of a replay.

    Args:
        counted: states, with the numbers of contacts, handled errors, contacts with handled errors, and unanswered.
        requests: number of requests.
    """
    found = list(counted)
    by_state: Counter[ContactState] = Counter()
    for state, count, *_ in found:
        by_state[ContactState(state)] += count
    return Tally(
        total=by_state.total(),
        states={state: by_state.get(state, 0) for state in ContactState},
        handled_errors=sum(row[2] for row in found),
        handled=sum(row[3] for row in found if row[0] == ContactState.COMPLETED.value),
        unanswered=sum(row[4] for row in found),
        requests=requests,
    )


def find_pending_chunks(ledger: Ledger, replay_no: int) -> list[int]:
    """Return the numbers of the chunks that have pending contacts."""
    with ledger.read() as connection:
        return list(connection.execute(pending_chunks(replay_no).order_by(chunks.c.chunk)).scalars())


def _replay(row: Row[Any]) -> Replay:
    return Replay(
        no=row.no,
        id=row.id,
        flow_id=row.flow_id,
        flow=row.flow,
        source=row.source,
        source_mark=row.source_mark,
        options=json.loads(row.options),
        note=row.note,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        sealed=bool(row.sealed),
    )

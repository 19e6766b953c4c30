"""Replays: what was asked for, and how far it has come."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, and_, case, delete, func, insert, null, or_, select, update

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.resolutions import RESOLVED
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts, replays

_WARNINGS, _CHANGED = "warnings", "changed"  # keys of the options


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay.

    Attributes:
        no: its number in the ledger.
        id: its name.
        flow_id: id of the flow.
        flow: the flow file as it was, JSON.
        source: where the responses came from, as the user wrote it.
        source_mark: changes when the content of the source does; ``None`` when that cannot be known.
        options: settings that a later ``retry`` goes on with.
        note: why, in the user's words.
        created_at: epoch seconds.
        started_at: when the first run would have begun, had every run followed the one before without a pause; ``None``
            before it.
        ended_at: of the last run; ``None`` while one runs, or was killed, and before the first.
        sealed: whether every row of the source is in the ledger; nothing is sent before.
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
    def warnings(self) -> list[str]:
        """What was odd about its source, one sentence each."""
        return list(self.options.get(_WARNINGS, ()))

    @property
    def rows_changed(self) -> int:
        """Rows whose ids were known with other content when its source was read."""
        return int(self.options.get(_CHANGED) or 0)

    def run_seconds(self, now: float) -> float:
        """Seconds for which it ran, the time between two runs left out.

        Args:
            now: epoch seconds.
        """
        if self.started_at is None:
            return 0.0
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.started_at)


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a replay has come; the states add up to ``total``.

    Attributes:
        total: rows of the source.
        states: contacts by state, every state named.
        handled_errors: errors that error exits took care of.
        handled: contacts that completed, with at least one of these.
        unanswered: contacts whose walk ended at a question without an answer.
        requests: attempts that may have reached a server, also where somebody found later that one did not arrive.
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
    """Begin a replay; its contacts are to be added, and then it is to be sealed.

    Args:
        ledger: where.
        replay_id: its name, not yet taken.
        flow_id: id of the flow.
        flow: the flow file, JSON.
        source: name and mark of the source.
        **settings: ``options`` (to be kept as JSON) and ``note``.

    Raises:
        LedgerError: there is such a replay already.
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
    """Remove a replay that was not sealed; nothing of it was sent."""
    with ledger.write() as connection:
        connection.execute(delete(contacts).where(contacts.c.replay_no == replay_no))
        connection.execute(delete(replays).where(replays.c.no == replay_no, ~replays.c.sealed))


def find_replay(ledger: Ledger, replay_id: str) -> Replay | None:
    """The replay of a name, if there is one."""
    with ledger.read() as connection:
        row = connection.execute(select(replays).where(replays.c.id == replay_id)).one_or_none()
    return None if row is None else _replay(row)


def list_replays(ledger: Ledger) -> list[Replay]:
    """Every replay, the newest first."""
    with ledger.read() as connection:
        rows = connection.execute(select(replays).order_by(replays.c.no.desc())).all()
    return [_replay(row) for row in rows]


def states_of_replays(ledger: Ledger) -> dict[int, dict[ContactState, int]]:
    """Contacts of every replay by state; replays by number, states without contacts left out."""
    query = select(contacts.c.replay_no, contacts.c.state, func.count()).group_by(
        contacts.c.replay_no, contacts.c.state
    )
    found: dict[int, dict[ContactState, int]] = {}
    with ledger.read() as connection:
        for replay_no, state, count in connection.execute(query):
            found.setdefault(replay_no, {})[ContactState(state)] = count
    return found


def replays_of_source(ledger: Ledger, flow_id: str, source: str, mark: str | None) -> list[tuple[Replay, bool]]:
    """The replays of a flow, a source and its mark, the newest first, each with whether it has come to its end.

    One that is not sealed, or has pending contacts, has not. Without a mark the source may hold anything: none.
    """
    if mark is None:
        return []
    pending = select(contacts.c.id).where(
        contacts.c.replay_no == replays.c.no, contacts.c.state == ContactState.PENDING.value
    )
    query = (
        select(replays, (replays.c.sealed & ~pending.exists()).label("ended"))
        .where(replays.c.flow_id == flow_id, replays.c.source == source, replays.c.source_mark == mark)
        .order_by(replays.c.no.desc())
    )
    with ledger.read() as connection:
        return [(_replay(row), bool(row.ended)) for row in connection.execute(query)]


def mark_started(ledger: Ledger, replay_no: int, now: float) -> None:
    """Note that a run has begun.

    Args:
        ledger: where.
        replay_no: number of the replay.
        now: epoch seconds.
    """
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        begun, until = connection.execute(select(replays.c.started_at, replays.c.ended_at).where(own)).one()
        if begun is not None and until is None:
            # A run that was killed ran until its last contact ended, as far as anybody knows.
            last = select(func.max(contacts.c.ended_at)).where(contacts.c.replay_no == replay_no)
            until = connection.execute(last).scalar_one_or_none()
        before = 0.0 if begun is None or until is None else max(0.0, until - begun)
        connection.execute(update(replays).where(own).values(started_at=now - before, ended_at=null()))


def mark_ended(ledger: Ledger, replay_no: int, now: float) -> None:
    """Note that a run has ended, whether or not contacts are pending.

    Args:
        ledger: where.
        replay_no: number of the replay.
        now: epoch seconds.
    """
    with ledger.write() as connection:
        connection.execute(update(replays).where(replays.c.no == replay_no).values(ended_at=now))


def note_snapshot(ledger: Ledger, replay_no: int, warnings: Sequence[str], changed: int) -> None:
    """Keep what was found when the source of a replay was read.

    Args:
        ledger: where the replay is.
        replay_no: number of the replay.
        warnings: what was odd about the source.
        changed: rows whose ids were known with other content.
    """
    if not warnings and not changed:
        return
    own = replays.c.no == replay_no
    with ledger.write() as connection:
        options = json.loads(connection.execute(select(replays.c.options).where(own)).scalar_one())
        kept = json.dumps({**options, _WARNINGS: list(warnings), _CHANGED: changed})
        connection.execute(update(replays).where(own).values(options=kept))


def change_flow(ledger: Ledger, replay_no: int, flow: str) -> None:
    """Go on with another version of the flow."""
    with ledger.write() as connection:
        connection.execute(update(replays).where(replays.c.no == replay_no).values(flow=flow))


def find_accepted_steps(ledger: Ledger, replay_no: int) -> set[str]:
    """Names of the steps that a server has carried out for a contact of a replay."""
    query = select(attempts.c.step).distinct()
    query = query.where(attempts.c.replay_no == replay_no, attempts.c.fate == Fate.SUCCEEDED.value)
    with ledger.read() as connection:
        return set(connection.execute(query).scalars())


def tally(ledger: Ledger, replay_no: int, only: Sequence[int] | None = None) -> Tally:
    """How far a replay, or a part of it, has come.

    Args:
        ledger: where.
        replay_no: number of the replay.
        only: of these chunks; of all by default.
    """
    of_replay = contacts.c.replay_no == replay_no
    chosen = of_replay if only is None else and_(of_replay, contacts.c.chunk.in_(list(only)))
    query = (
        select(
            contacts.c.state,
            func.count(),
            func.sum(contacts.c.handled_errors),
            func.sum(case((contacts.c.handled_errors > 0, 1), else_=0)),
            func.sum(func.cast(contacts.c.unanswered, attempts.c.number.type)),
        )
        .where(chosen)
        .group_by(contacts.c.state)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
        requests = connection.execute(_requests(replay_no, only)).scalar_one()
    counted = {ContactState(row[0]): row for row in rows}
    completed = counted.get(ContactState.COMPLETED)
    return Tally(
        total=sum(row[1] for row in rows),
        states={state: counted[state][1] if state in counted else 0 for state in ContactState},
        handled_errors=sum(row[2] or 0 for row in rows),
        handled=completed[3] if completed else 0,
        unanswered=sum(row[4] or 0 for row in rows),
        requests=requests,
    )


def _requests(replay_no: int, only: Sequence[int] | None) -> Select[Any]:
    """Count the attempts of a replay that may have reached a server; those of all chunks add up to the replay's.

    An attempt that somebody resolved as ``not_sent`` counts: as far as this side knew, it was sent.
    """
    reached = or_(
        func.coalesce(attempts.c.fate, "") != Fate.NOT_SENT.value,
        func.coalesce(attempts.c.origin, "").contains(RESOLVED),
    )
    query = select(func.count()).where(attempts.c.replay_no == replay_no, reached)
    if only is None:
        return query
    # Another row of the source may have the id of one that was sent: a rejected one, or a duplicate, which has no
    # digest. A row that is rejected in a later round was sent in an earlier one.
    return query.select_from(contacts.join(attempts, attempts.c.response_id == contacts.c.response_id)).where(
        contacts.c.replay_no == replay_no,
        contacts.c.chunk.in_(list(only)),
        contacts.c.digest.is_not(None),
        or_(contacts.c.state != ContactState.REJECTED.value, contacts.c.round > 1),
    )


def find_pending_chunks(ledger: Ledger, replay_no: int) -> list[int]:
    """Numbers of the chunks that have pending contacts."""
    pending = select(contacts.c.id).where(
        contacts.c.replay_no == replay_no,
        contacts.c.chunk == chunks.c.chunk,
        contacts.c.state == ContactState.PENDING.value,
    )
    query = select(chunks.c.chunk).where(chunks.c.replay_no == replay_no, pending.exists()).order_by(chunks.c.chunk)
    with ledger.read() as connection:
        return list(connection.execute(query).scalars())


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

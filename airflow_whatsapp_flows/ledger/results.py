"""What became of the contacts of a replay, one by one and in groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from airflow_whatsapp_flows.flow.delivery import Fate
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.known_rows import full_reason, names_of_replays, response_of
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts

_PAGE = 1000
_NOTHING_SENT = (ContactState.REJECTED.value, ContactState.SKIPPED.value)
_CONTACT: tuple[ColumnElement[Any], ...] = (
    contacts.c.id, contacts.c.place, contacts.c.response_id, contacts.c.state, contacts.c.reason,
    contacts.c.handled_errors, contacts.c.path, contacts.c.error,
)  # fmt: skip
_ATTEMPT: tuple[ColumnElement[Any], ...] = (
    attempts.c.response_id, attempts.c.step, attempts.c.visit, attempts.c.key, attempts.c.method, attempts.c.fate,
    attempts.c.status_code, attempts.c.error_kind, attempts.c.begun_at, attempts.c.step_id,
)  # fmt: skip


@dataclass(slots=True)
class ActionRecord:
    """One visit of an action, over all its attempts.

    Attributes:
        step: name of the action.
        visit: which visit of it, from 1.
        attempts: requests that were intended.
        method: of the last one.
        status_code: of the reply to the last one, if one came.
        outcome: ``"success"``, ``"error"``, or ``"unknown"`` while nothing is known of the last one.
        error_kind: why the last one was no success.
        idempotency_key: of the last one.
        sent_at: when the last one was begun, epoch seconds.
    """

    step: str
    visit: int
    attempts: int
    method: str
    status_code: int | None
    outcome: str
    error_kind: str | None
    idempotency_key: str
    sent_at: float


@dataclass(frozen=True, slots=True)
class ContactResult:
    """What became of one contact.

    Attributes:
        id: identity of its response; ``None`` for a row without one.
        place: where its row stood in the source.
        state: its state.
        reason: for people.
        handled_errors: errors that an error exit took care of.
        path: the steps visited.
        error: the last error of an action.
        actions: what was sent for it, in order, earlier replays of the same response included.
    """

    id: str | None
    place: str
    state: ContactState
    reason: str | None
    handled_errors: int
    path: list[str]
    error: dict[str, Any] | None
    actions: list[ActionRecord]


def contact_results(ledger: Ledger, replay: Replay, states: Sequence[str] = ()) -> Iterator[ContactResult]:
    """What became of each contact, in the order of the source; memory does not grow with their number.

    Args:
        ledger: where the replay is.
        replay: any.
        states: of contacts in these states alone; of all by default.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        names = names_of_replays(connection)
        for rows in _pages(connection, replay.no, _CONTACT, states):
            sent = [row.response_id for row in rows if row.response_id and row.state not in _NOTHING_SENT]
            actions = _actions(connection, replay.flow_id, sent)
            for row in rows:
                sent_for = [] if row.state in _NOTHING_SENT else actions.get(row.response_id, [])
                yield _result(row, sent_for, names)


def recorded_responses(ledger: Ledger, replay: Replay, states: Sequence[str] = ()) -> Iterator[str | None]:
    """The responses of a replay as JSON texts, in the order of the source.

    Yields:
        ``None`` for a row that was rejected, or whose response was purged.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        for rows in _pages(connection, replay.no, (contacts.c.id, response_of().label("response")), states):
            yield from (row.response for row in rows)


def _pages(
    connection: Connection, replay_no: int, columns: Sequence[ColumnElement[Any]], states: Sequence[str]
) -> Iterator[Sequence[Row[Any]]]:
    ids = select(func.min(contacts.c.id), func.max(contacts.c.id)).where(contacts.c.replay_no == replay_no)
    first, last = connection.execute(ids).one()
    # A replay's rows lie together but for those of replays taken at the same time. The sum keeps the databases from
    # the index of chunks, in whose order every page would be a search of all rows.
    of_replay = (contacts.c.replay_no + 0) == replay_no
    query = select(*columns).where(of_replay).order_by(contacts.c.id)
    if states:
        query = query.where(contacts.c.state.in_(states))
    for start in range(first, last + 1, _PAGE) if first is not None else ():
        rows = connection.execute(query.where(contacts.c.id >= start, contacts.c.id < start + _PAGE)).all()
        if rows:
            yield rows


def _actions(connection: Connection, flow_id: str, response_ids: Sequence[str]) -> dict[str, list[ActionRecord]]:
    query = (
        select(*_ATTEMPT)
        .where(attempts.c.response_id.in_(response_ids), attempts.c.flow_id == flow_id)
        .order_by(attempts.c.id)
    )
    found: dict[str, dict[tuple[str, int], ActionRecord]] = defaultdict(dict)
    for row in connection.execute(query) if response_ids else ():
        of_response = found[row.response_id]
        visit = (row.step_id or row.step, row.visit)  # a renamed step is one step
        earlier = of_response.get(visit)
        of_response[visit] = ActionRecord(
            step=row.step,
            visit=row.visit,
            attempts=1 + (earlier.attempts if earlier else 0),
            method=row.method,
            status_code=row.status_code,
            outcome=_outcome(row),
            error_kind=row.error_kind,
            idempotency_key=row.key,
            sent_at=row.begun_at,
        )
    return {response_id: list(records.values()) for response_id, records in found.items()}


def _outcome(row: Row[Any]) -> str:
    if row.fate is None:
        return "unknown"
    return "success" if row.fate == Fate.SUCCEEDED.value else "error"


def _result(row: Any, actions: list[ActionRecord], names: Mapping[int, str] = MappingProxyType({})) -> ContactResult:
    reason = full_reason(row.reason, names) or None
    if row.state == ContactState.REJECTED.value:
        reason = f"{reason} ({row.place})" if reason else row.place
    return ContactResult(
        id=row.response_id,
        place=row.place,
        state=ContactState(row.state),
        reason=reason,
        handled_errors=row.handled_errors,
        path=msgspec.json.decode(row.path) if row.path else [],
        error=msgspec.json.decode(row.error) if row.error else None,
        actions=actions,
    )


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Contacts with the same error.

    Attributes:
        fingerprint: of the error.
        count: contacts.
        in_doubt: those of them that are in doubt.
        first_seen: epoch seconds.
        last_seen: epoch seconds.
        sample: the first of them.
        response: its response, JSON; ``None`` when it was purged.
    """

    fingerprint: str
    count: int
    in_doubt: int
    first_seen: float
    last_seen: float
    sample: ContactResult
    response: str | None


def error_groups(ledger: Ledger, replay_no: int, limit: int = 20) -> list[ErrorGroup]:
    """Errors of actions and walks by fingerprint, the most frequent first.

    Args:
        ledger: where the replay is.
        replay_no: number of the replay.
        limit: groups at most.
    """
    in_doubt = func.sum(case((contacts.c.state == ContactState.IN_DOUBT.value, 1), else_=0))
    count = func.count()
    query = (
        select(
            contacts.c.fingerprint, count, in_doubt, func.min(contacts.c.ended_at), func.max(contacts.c.ended_at),
            func.min(contacts.c.id),
        )
        .where(contacts.c.replay_no == replay_no, contacts.c.fingerprint.is_not(None))
        .group_by(contacts.c.fingerprint)
        .order_by(count.desc(), contacts.c.fingerprint)
        .limit(limit)
    )  # fmt: skip
    with ledger.read() as connection:
        groups = connection.execute(query).all()
        chosen = select(*_CONTACT, contacts.c.response).where(contacts.c.id.in_([group[5] for group in groups]))
        samples = {row.id: (_result(row, []), row.response) for row in connection.execute(chosen).all()}
    return [
        ErrorGroup(key, count_, doubt, first, last, *samples[id_]) for key, count_, doubt, first, last, id_ in groups
    ]


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """Contacts that were not sent, or not to their end, for the same reason.

    Attributes:
        state: of them.
        code: the reason up to its colon, such as ``missing_id``.
        count: contacts.
        sample: the first of them.
    """

    state: ContactState
    code: str
    count: int
    sample: ContactResult


def reason_groups(ledger: Ledger, replay_no: int) -> list[ReasonGroup]:
    """Rejected and skipped contacts by the kind of reason, the most frequent first."""
    if ledger.is_sqlite:
        code = func.substr(contacts.c.reason, 1, func.instr(contacts.c.reason.concat(":"), ":") - 1)
    else:
        code = func.split_part(contacts.c.reason, ":", 1)
    count = func.count()
    query = (
        select(contacts.c.state, code.label("code"), count, func.min(contacts.c.id))
        .where(contacts.c.replay_no == replay_no, contacts.c.state.in_(_NOTHING_SENT))
        .group_by(contacts.c.state, code)
        .order_by(count.desc())
    )
    with ledger.read() as connection:
        groups = connection.execute(query).all()
        chosen = select(*_CONTACT).where(contacts.c.id.in_([group[3] for group in groups]))
        names = names_of_replays(connection)
        samples = {row.id: _result(row, [], names) for row in connection.execute(chosen)}
    return [ReasonGroup(ContactState(state), code_ or "", count_, samples[id_]) for state, code_, count_, id_ in groups]


def oldest_in_doubt(ledger: Ledger, replay_no: int) -> tuple[str, float] | None:
    """Response id and end of the contact that has been in doubt for longest; ``None`` when there is none."""
    query = (
        select(contacts.c.response_id, contacts.c.ended_at)
        .where(contacts.c.replay_no == replay_no, contacts.c.state == ContactState.IN_DOUBT.value)
        .where(contacts.c.ended_at.is_not(None))
        .order_by(contacts.c.ended_at)
        .limit(1)
    )
    with ledger.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else (row.response_id, row.ended_at)

"""Results of a replay's contacts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, func, literal, select

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.known_rows import full_reason, names_of_replays, response_of
from airflow_whatsapp_flows.ledger.later_results import (
    AttemptsMade,
    LaterResult,
    States,
    later_result,
    outcome_of,
    states_elsewhere,
)
from airflow_whatsapp_flows.ledger.pages import parts, size_of, size_of_attempts
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.replies import Replies, refused_result
from airflow_whatsapp_flows.ledger.rows import NOTHING_SENT, ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, has_replay

_PAGE = 1000
CONTACT: tuple[ColumnElement[Any], ...] = (
    contacts.c.id, contacts.c.place, contacts.c.response_id, contacts.c.state, contacts.c.reason,
    contacts.c.handled_errors, contacts.c.path, contacts.c.error, contacts.c.epoch, contacts.c.fingerprint,
    contacts.c.ended_at,
)  # fmt: skip
ATTEMPT: tuple[ColumnElement[Any], ...] = (
    attempts.c.response_id, attempts.c.step, attempts.c.visit, attempts.c.key, attempts.c.method, attempts.c.fate,
    attempts.c.status_code, attempts.c.error_kind, attempts.c.begun_at, attempts.c.step_id, attempts.c.epoch,
    attempts.c.replay_no, attempts.c.origin, attempts.c.ended_at, refused_result,
)  # fmt: skip


@dataclass(slots=True)
class ActionRecord:
    """One visit of an action, with all its attempts.

    Attributes:
        step: name of the action.
        visit: number of the visit, from 1.
        attempts: number of intended requests.
        method: HTTP method of the last one.
        status_code: status of the reply to the last one, if there was one.
        outcome: ``"success"``, ``"error"``, or ``"unknown"`` while the outcome of the last one is unknown.
        error_kind: why the last one did not succeed.
        idempotency_key: key of the last one.
        sent_at: when the last one was started, epoch seconds.
        reply: the server's reply if it refused the last one, masked and shortened.
        answered_at: when the outcome of the last one was known, epoch seconds.
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
    reply: str | None
    answered_at: float | None = None


@dataclass(frozen=True, slots=True)
class ContactResult:
    """The result of one contact.

    Attributes:
        id: id of its response; ``None`` for a row without one.
        place: location of its row in the source.
        state: the contact's state.
        reason: why it is in that state, for people.
        handled_errors: number of errors handled by error exits.
        path: steps visited.
        error: the last error of an action, with the server's reply, if any, as ``reply``.
        actions: requests sent for it until it ended, in order, including earlier replays of the same response and
            content.
        later: what happened to its response after that, if anything.
        number: of its row in the ledger, in the order of the source.
        fingerprint: groups equal errors.
        ended_at: epoch seconds.
    """

    id: str | None
    place: str
    state: ContactState
    reason: str | None
    handled_errors: int
    path: list[str]
    error: dict[str, Any] | None
    actions: list[ActionRecord]
    later: LaterResult | None = None
    number: int = 0
    fingerprint: str | None = None
    ended_at: float | None = None


def contact_results(
    ledger: Ledger,
    replay: Replay,
    states: Sequence[str] = (),
    *,
    handled: bool = False,
    chunks: Sequence[int] | None = None,
    retry_no: int | None = None,
) -> Generator[ContactResult, None, None]:
    """Iterate over the results of contacts in the order of the source; memory does not grow with their number.

    Args:
        states: states of the contacts to include; by default all.
        handled: whether to include only contacts that took an error exit.
        chunks: chunks of the contacts to include; by default all.
        retry_no: number of the retry by a DAG run whose contacts to include; by default all.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    replies = Replies(replay.flow)
    columns = (*CONTACT, *((response_of().label("response"),) if replies.needs_response else ()))
    where = [contacts.c.handled_errors > 0] if handled else []
    where += [] if chunks is None else [contacts.c.chunk.in_(list(chunks))]
    where += [] if retry_no is None else [contacts.c.retry_no == retry_no]
    with ledger.read() as connection:
        names = names_of_replays(connection)
        size = _size_of(columns) + size_of_attempts(replay.flow_id, refused_result)
        for rows in _pages(connection, replay.no, columns, states, where, size):
            sent_for = [row.response_id for row in rows if row.response_id and row.state not in NOTHING_SENT]
            attempted = attempts_of(connection, replay.flow_id, sent_for)
            made = {
                row.id: AttemptsMade.of(row, attempted.get((row.response_id, row.epoch), ()), replay)
                for row in rows
                if row.state not in NOTHING_SENT
            }
            elsewhere = states_elsewhere(connection, made.values())
            for row in rows:
                yield _build_result(row, made.get(row.id) or AttemptsMade(), (names, elsewhere), replies)


def iter_responses(ledger: Ledger, replay: Replay, states: Sequence[str] = ()) -> Iterator[str | None]:
    """Iterate over the responses of a replay as JSON texts, in the order of the source.

    Yields:
        ``None`` for a rejected row or a purged response.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    columns = (contacts.c.id, response_of().label("response"))
    with ledger.read() as connection:
        for rows in _pages(connection, replay.no, columns, states, (), _size_of(columns)):
            yield from (row.response for row in rows)


def _pages(
    connection: Connection,
    replay_no: int,
    columns: Sequence[ColumnElement[Any]],
    states: Sequence[str],
    where: Sequence[ColumnElement[bool]],
    size: ColumnElement[int],
) -> Iterator[Sequence[Row[Any]]]:
    ids = select(func.min(contacts.c.id), func.max(contacts.c.id)).where(contacts.c.replay_no == replay_no)
    first, last = connection.execute(ids).one()
    # A replay's rows are adjacent, except if replays were read at the same time.
    wanted = [has_replay(replay_no), *where, *([contacts.c.state.in_(states)] if states else [])]
    query = select(*columns).where(*wanted).order_by(contacts.c.id)
    sizes = select(contacts.c.id, size).where(*wanted).order_by(contacts.c.id)
    for start in range(first, last + 1, _PAGE) if first is not None else ():
        found = connection.execute(sizes.where(contacts.c.id >= start, contacts.c.id < start + _PAGE)).all()
        for begin, end in parts(found):
            yield connection.execute(query.where(contacts.c.id >= begin, contacts.c.id <= end)).all()


def _size_of(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[int]:
    """Return the expression for the total size of columns with long texts."""
    return size_of(*(column for column in columns if column.name in ("path", "error", "response")), literal(""))


def attempts_of(
    connection: Connection, flow_id: str, response_ids: Sequence[str]
) -> dict[tuple[str, int], list[Row[Any]]]:
    """Find the attempts made for responses, in order, by response and epoch of its content."""
    query = (
        select(*ATTEMPT)
        .where(attempts.c.response_id.in_(response_ids), attempts.c.flow_id == flow_id)
        .order_by(attempts.c.id)
    )
    found: dict[tuple[str, int], list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query) if response_ids else ():
        found[row.response_id, row.epoch].append(row)
    return found


def _build_result(
    contact: Any, made: AttemptsMade, known: tuple[Mapping[int, str], States], replies: Replies
) -> ContactResult:
    response = contact.response if replies.needs_response else None
    later = later_result(made, *known, _actions(made.later, response, replies))
    result = contact_result(contact, _actions(made.own, response, replies), known[0], later)
    if result.error is not None:
        reply = error_reply(result.error, contact, made.own, replies, response)
        result.error.update({} if reply is None else {"reply": reply})
    return result


def _actions(attempted: Iterable[Any], response: str | None, replies: Replies) -> list[ActionRecord]:
    visits: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for row in attempted:
        visits[row.step_id or row.step, row.visit].append(row)  # a renamed step is the same step
    return [_action(rows, response, replies) for rows in visits.values()]


def _action(rows: Sequence[Any], response: str | None, replies: Replies) -> ActionRecord:
    last = rows[-1]
    return ActionRecord(
        step=last.step,
        visit=last.visit,
        attempts=len(rows),
        method=last.method,
        status_code=last.status_code,
        outcome=outcome_of(last),
        error_kind=last.error_kind,
        idempotency_key=last.key,
        sent_at=last.begun_at,
        reply=replies.excerpt(last.step, last.refused_result, response),
        answered_at=last.ended_at,
    )


def error_reply(
    error: Mapping[str, Any], contact: Any, attempted: Sequence[Any], replies: Replies, response: str | None,
    *, foreign: bool = False,
) -> str | None:  # fmt: skip
    """Return an excerpt of the reply that caused a contact's last error.

    Args:
        error: the contact's error.
        contact: the contact's row, with ``ended_at``.
        attempted: rows of the attempts for its response, in order; those of later replays are ignored.
        replies: excerpts for its flow.
        response: the contact's response, JSON.
        foreign: whether to hide the contact's values too.
    """
    ended_at = contact.ended_at if contact.ended_at is not None else float("inf")
    for row in reversed(attempted):
        if row.step == error.get("step") and row.refused_result is not None and row.begun_at <= ended_at:
            return replies.excerpt(row.step, row.refused_result, response, foreign=foreign)
    return None


def contact_result(
    row: Any,
    actions: list[ActionRecord],
    names: Mapping[int, str] = MappingProxyType({}),
    later: LaterResult | None = None,
) -> ContactResult:
    """Build the result of a row of :data:`CONTACT`, its requests, and what happened after it ended."""
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
        later=later,
        number=row.id,
        fingerprint=row.fingerprint,
        ended_at=row.ended_at,
    )

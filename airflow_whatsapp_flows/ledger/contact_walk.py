"""Everything about one contact of a replay: how its walk went, and each attempt for its response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, case, null, select

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.known_rows import full_reason, names_of_replays, response_of
from airflow_whatsapp_flows.ledger.pages import size_of
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.replies import Replies
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, has_replay

MOST_BYTES = 65_536
"""A longer response or result is not read: pages stay small, whatever a server answers."""
_MOST_ROWS = 10  # of one response in one replay


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact of a replay.

    Attributes:
        id: number of its row.
        response_id: id of its response.
        phone: its phone number, if any.
        place: location of its row in the source.
        state: its state.
        reason: why it is in that state.
        path: names of the steps visited.
        error: the last error of an action.
        fingerprint: groups equal errors.
        handled_errors: number of errors handled by error exits.
        round: incremented with each retry.
        ended_at: epoch seconds.
        response: its response, JSON; ``None`` if it was purged, or is too long.
        response_bytes: size of its response.
    """

    id: int
    response_id: str
    phone: str | None
    place: str
    state: ContactState
    reason: str
    path: Sequence[str]
    error: dict[str, Any] | None
    fingerprint: str | None
    handled_errors: int
    round: int
    ended_at: float | None
    response: str | None
    response_bytes: int


@dataclass(frozen=True, slots=True)
class AttemptDetail:
    """One attempt for a response.

    Attributes:
        id: number of its row.
        step: name of the action.
        visit: number of the visit of the step, from 1.
        number: number of the attempt under its key, from 1.
        key: idempotency key.
        method: HTTP method of the request.
        host: host and port.
        url: as recorded with the reply, its query hidden; ``None`` without a reply.
        fate: what is known about it; ``None`` if nothing.
        status_code: of the reply, if there was one.
        error_kind: why it did not succeed.
        error: the same, for people.
        begun_at: epoch seconds.
        ended_at: epoch seconds.
        replay_id: the replay it belongs to; ``None`` in a DAG run.
        origin: where a task sent it: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` and ``try_number``; a person's
            decision.
        reply: the server's reply, masked and shortened.
        reply_bytes: size of the recorded result if it is too long to be read, else 0.
    """

    id: int
    step: str
    visit: int
    number: int
    key: str
    method: str
    host: str
    url: str | None
    fate: str | None
    status_code: int | None
    error_kind: str | None
    error: str | None
    begun_at: float
    ended_at: float | None
    replay_id: str | None
    origin: dict[str, Any]
    reply: str | None
    reply_bytes: int


def read_contacts(ledger: Ledger, replay: Replay, response_id: str, row: int | None = None) -> list[Contact]:
    """Find the contacts of a replay with a response id, usually one; a source may have repeated rows.

    Args:
        replay: the replay.
        response_id: id of the response.
        row: number of its row, which finds one that has no content of its own.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    response, size = _if_short(response_of())
    path, _ = _if_short(contacts.c.path)
    error, _ = _if_short(contacts.c.error)
    reason, _ = _if_short(contacts.c.reason)
    query = select(
        contacts.c.id, contacts.c.response_id, contacts.c.phone, contacts.c.place, contacts.c.state,
        contacts.c.fingerprint, contacts.c.handled_errors, contacts.c.round, contacts.c.ended_at,
        response.label("response"), size.label("size"), path.label("path"), error.label("error"),
        reason.label("reason"),
    )  # fmt: skip
    query = query.where(contacts.c.response_id == response_id, has_replay(replay.no))
    query = query.where(contacts.c.digest.is_not(None) if row is None else contacts.c.id == row)
    with ledger.read() as connection:
        names = names_of_replays(connection)
        rows = connection.execute(query.order_by(contacts.c.id).limit(_MOST_ROWS)).all()
    return [_contact(row, full_reason(row.reason, names) or "") for row in rows]


def read_attempts(
    ledger: Ledger, replay: Replay, contact: Contact, after: int = 0, limit: int = 50
) -> tuple[list[AttemptDetail], int | None]:
    """Read the attempts for a response, also those of other replays and DAG runs, oldest first.

    Args:
        replay: the replay, whose flow says what is sensitive.
        contact: the contact.
        after: number of the last attempt of the page before.
        limit: maximum number of attempts.

    Returns:
        The attempts, and after which number the next page starts; ``None`` at the end.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    own = [attempts.c.response_id == contact.response_id, attempts.c.flow_id == replay.flow_id]
    with ledger.read() as connection:
        return details_of(connection, own, Replies(replay.flow), contact.response, after, limit)


def details_of(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    replies: Replies,
    response: str | None,
    after: int,
    limit: int,
) -> tuple[list[AttemptDetail], int | None]:
    """Read a page of attempts under some conditions, as :func:`read_attempts` does."""
    result, size = _if_short(attempts.c.result)
    query = (
        select(*(column for column in attempts.c if column.name != "result"))
        .add_columns(result.label("result"), size.label("size"))
        .where(*conditions, attempts.c.id > after)
        .order_by(attempts.c.id)
        .limit(limit + 1)
    )
    names = names_of_replays(connection)
    rows = connection.execute(query).all()
    found = [_attempt(row, names, replies, response) for row in rows[:limit]]
    return found, found[-1].id if len(rows) > limit else None


def _if_short(column: ColumnElement[Any]) -> tuple[ColumnElement[Any], ColumnElement[int]]:
    size = size_of(column)
    return case((size <= MOST_BYTES, column), else_=null()), size


def _contact(row: Any, reason: str) -> Contact:
    return Contact(
        id=row.id,
        response_id=row.response_id,
        phone=row.phone,
        place=row.place,
        state=ContactState(row.state),
        reason=reason,
        path=msgspec.json.decode(row.path) if row.path else [],
        error=msgspec.json.decode(row.error) if row.error else None,
        fingerprint=row.fingerprint,
        handled_errors=row.handled_errors,
        round=row.round,
        ended_at=row.ended_at,
        response=row.response,
        response_bytes=row.size,
    )


def _attempt(row: Row[Any], names: dict[int, str], replies: Replies, response: str | None) -> AttemptDetail:
    known: dict[str, Any] = msgspec.json.decode(row.result) if row.result else {}
    error = known.get("error")
    return AttemptDetail(
        id=row.id,
        step=row.step,
        visit=row.visit,
        number=row.number,
        key=row.key,
        method=row.method,
        host=row.host,
        url=known.get("url"),
        fate=row.fate,
        status_code=row.status_code,
        error_kind=row.error_kind,
        error=error.get("message") if isinstance(error, dict) else None,
        begun_at=row.begun_at,
        ended_at=row.ended_at,
        replay_id=names.get(row.replay_no, str(row.replay_no)) if row.replay_no is not None else None,
        origin=json.loads(row.origin) if row.origin else {},
        reply=replies.text(row.step, row.result, response),
        reply_bytes=row.size if row.result is None else 0,
    )

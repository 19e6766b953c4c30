"""Groups the contacts of a replay by error, and by the reason why nothing was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, func, select

from airflow_whatsapp_flows.ledger.counts import select_counts, total
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.known_rows import names_of_replays
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.replies import Replies
from airflow_whatsapp_flows.ledger.results import (
    CONTACT,
    ContactResult,
    attempts_of,
    contact_result,
    error_reply,
)
from airflow_whatsapp_flows.ledger.rows import NOTHING_SENT, ContactState
from airflow_whatsapp_flows.ledger.schema import contacts

_SHOWN = (ContactState.IN_DOUBT, ContactState.COMPLETED)  # besides all of them together


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Contacts with the same error.

    Attributes:
        fingerprint: of the error.
        count: number of contacts.
        in_doubt: number of those in doubt.
        handled: number of those that completed because an error exit handled the error.
        first_seen: epoch seconds.
        last_seen: epoch seconds.
        sample: the first contact.
        response: its response, JSON; ``None`` when it was purged.
        reply: the server's reply to it, masked, shortened, and without the contact's values.
    """

    fingerprint: str
    count: int
    in_doubt: int
    handled: int
    first_seen: float
    last_seen: float
    sample: ContactResult
    response: str | None
    reply: str | None


def error_groups(ledger: Ledger, replay: Replay, limit: int = 20) -> list[ErrorGroup]:
    """Group errors of actions and walks by fingerprint, most frequent first, including handled ones.

    Args:
        limit: maximum number of groups.
    """
    replies = Replies(replay.flow)
    with ledger.read() as connection:
        rows = select_counts(connection, replay.no).c
        count = total(rows.contacts)
        in_state = [total(rows.contacts, rows.state == state.value) for state in _SHOWN]
        seen = (func.min(rows.first_ended_at), func.max(rows.last_ended_at), func.min(rows.first_id))
        query = (
            select(rows.fingerprint, count, *in_state, *seen)
            .where(rows.fingerprint.is_not(None))
            .group_by(rows.fingerprint)
            .order_by(count.desc(), rows.fingerprint)
            .limit(limit)
        )
        groups = connection.execute(query).all()
        chosen = select(*CONTACT, contacts.c.response).where(contacts.c.id.in_([group[-1] for group in groups]))
        samples = {row.id: row for row in connection.execute(chosen)}
        attempted = attempts_of(connection, replay.flow_id, [row.response_id for row in samples.values()])
    return [_group(group, samples[group[-1]], attempted, replies) for group in groups]


def _group(
    group: Sequence[Any], row: Any, attempted: Mapping[tuple[str, int], Sequence[Row[Any]]], replies: Replies
) -> ErrorGroup:
    key, count, in_doubt, handled, first_seen, last_seen, _ = group
    sample, reply = contact_result(row, []), None
    if sample.error is not None:
        of_response = attempted.get((row.response_id, row.epoch), ())
        reply = error_reply(sample.error, row, of_response, replies, row.response, foreign=True)
    return ErrorGroup(key, count, in_doubt, handled, first_seen, last_seen, sample, row.response, reply)


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """Contacts that were not sent, or not completely, for the same reason.

    Attributes:
        state: their state.
        code: the reason up to its colon, such as ``missing_id``.
        count: number of contacts.
        sample: the first contact.
    """

    state: ContactState
    code: str
    count: int
    sample: ContactResult


def reason_groups(ledger: Ledger, replay_no: int) -> list[ReasonGroup]:
    """Group rejected and skipped contacts by kind of reason, most frequent first."""
    with ledger.read() as connection:
        rows = select_counts(connection, replay_no).c
        count = total(rows.contacts)
        query = (
            select(rows.state, rows.code, count, func.min(rows.first_id))
            .where(rows.state.in_(NOTHING_SENT))
            .group_by(rows.state, rows.code)
            .order_by(count.desc(), func.min(rows.first_id))
        )
        groups = connection.execute(query).all()
        chosen = select(*CONTACT).where(contacts.c.id.in_([group[3] for group in groups]))
        names = names_of_replays(connection)
        samples = {row.id: contact_result(row, [], names) for row in connection.execute(chosen)}
    return [ReasonGroup(ContactState(state), code_ or "", count_, samples[id_]) for state, code_, count_, id_ in groups]


def oldest_in_doubt(ledger: Ledger, replay_no: int) -> tuple[str, float] | None:
    """Return the response id and end time of the contact in doubt for longest; ``None`` if there is none."""
    with ledger.read() as connection:
        rows = select_counts(connection, replay_no).c
        in_doubt = and_(rows.state == ContactState.IN_DOUBT.value, rows.first_ended_at.is_not(None))
        oldest = select(rows.chunk).where(in_doubt).order_by(rows.first_ended_at).limit(1)
        query = (
            select(contacts.c.response_id, contacts.c.ended_at)
            .where(contacts.c.replay_no == replay_no, contacts.c.chunk == oldest.scalar_subquery())
            .where(contacts.c.state == ContactState.IN_DOUBT.value, contacts.c.ended_at.is_not(None))
            .order_by(contacts.c.ended_at)
            .limit(1)
        )
        row = connection.execute(query).one_or_none()
    return None if row is None else (row.response_id, row.ended_at)

"""What servers answered to some contacts of a replay: exits, and the shape of replies, without their contents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, case, null, select

from airflow_whatsapp_flows.flow.reply.shape import HIDDEN_KEY, ReplyShape
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.holds import Hold
from airflow_whatsapp_flows.ledger.later_results import outcome_of
from airflow_whatsapp_flows.ledger.pages import size_of
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, has_replay

MOST_CONTACTS = 1000
"""Contacts whose replies are read."""
_PAGE = 200
_LONGEST = 64 * 1024
_NO_REPLY = ReplyShape("", ())
_TOO_LONG = ReplyShape("", ("too long to show",))


@dataclass(frozen=True, slots=True)
class StepReply:
    """Replies to one step that have one shape.

    Attributes:
        step: name of the action.
        status: of the replies; ``None`` if none came.
        shape: of their content.
    """

    step: str
    status: int | None
    shape: ReplyShape


@dataclass(slots=True)
class ReplyShapes:
    """What came of some contacts.

    Attributes:
        read: number of contacts whose replies were read.
        states: number of contacts by final state.
        exits: number of visits by step and outcome.
        replies: number of replies by step, status, and shape.
    """

    read: int = 0
    states: Counter[ContactState] = field(default_factory=Counter)
    exits: Counter[tuple[str, str]] = field(default_factory=Counter)
    replies: Counter[StepReply] = field(default_factory=Counter)


def reply_shapes(ledger: Ledger, replay: Replay, hold: Hold) -> ReplyShapes:
    """Read what came of the contacts that were sent first, up to :data:`MOST_CONTACTS`."""
    found = ReplyShapes()
    with ledger.read() as connection:
        for rows in _pages(connection, replay, hold):
            found.read += len(rows)
            found.states.update(ContactState(row.state) for row in rows)
            own = {row.response_id: _texts_of(row.response) for row in rows}
            for row in _last_attempts(connection, replay, hold, list(own)):
                found.exits[row.step, outcome_of(row)] += 1
                found.replies[_reply(row, own[row.response_id])] += 1
    return found


def _pages(connection: Connection, replay: Replay, hold: Hold) -> Iterator[Sequence[Any]]:
    after, left = hold.first - 1, MOST_CONTACTS
    while left:
        query = (
            select(contacts.c.id, contacts.c.response_id, contacts.c.state, contacts.c.response)
            .where(has_replay(replay.no), contacts.c.id > after, contacts.c.id <= hold.last)
            .where(contacts.c.state != ContactState.PENDING.value, contacts.c.ended_at >= hold.at)
            .order_by(contacts.c.id)
            .limit(min(_PAGE, left))
        )
        rows = connection.execute(query).all()
        if not rows:
            return
        after, left = rows[-1].id, left - len(rows)
        yield rows


def _last_attempts(connection: Connection, replay: Replay, hold: Hold, ids: Sequence[str]) -> list[Any]:
    """Return the last attempt of each visit."""
    result = case((size_of(attempts.c.result) <= _LONGEST, attempts.c.result), else_=null()).label("result")
    query = (
        select(
            attempts.c.response_id, attempts.c.step, attempts.c.visit, attempts.c.fate, attempts.c.status_code, result
        )
        .where(attempts.c.response_id.in_(ids), attempts.c.flow_id == replay.flow_id)
        .where(attempts.c.replay_no == replay.no, attempts.c.begun_at >= hold.at)
        .order_by(attempts.c.id)
    )
    return list({(row.response_id, row.step, row.visit): row for row in connection.execute(query)}.values())


def _reply(row: Any, own: frozenset[str]) -> StepReply:
    shape = _NO_REPLY if row.status_code is None else _shape(row.result)
    keys = [key for key in shape.keys if key.casefold() not in own]  # one may be the name of the contact
    if len(keys) < len(shape.keys):
        shape = ReplyShape(shape.media_type, tuple(dict.fromkeys((*keys, HIDDEN_KEY))))
    return StepReply(row.step, row.status_code, shape)


def _shape(result: str | None) -> ReplyShape:
    if result is None:
        return _TOO_LONG
    value: Mapping[str, Any] = msgspec.json.decode(result)
    kept = value.get("shape")
    if kept is not None:  # of a reply whose content is not stored
        return ReplyShape(kept["media_type"], tuple(kept["keys"]))
    return ReplyShape.of(value.get("response"), value.get("headers") or {})


def _texts_of(response: str | None) -> frozenset[str]:
    """Return the texts in the values of a response."""
    found: set[str] = set()
    left: list[Any] = [msgspec.json.decode(response) if response else None]
    while left:
        value = left.pop()
        if isinstance(value, str):
            found.add(value.strip().casefold())
        elif isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return frozenset(found)

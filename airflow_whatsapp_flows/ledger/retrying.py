"""Choosing ended contacts of a replay to be walked again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, null, select, true, update

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.delivery import Fate
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, replays

_ENDED = (ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT)

AGAIN: dict[str, Any] = {
    "state": ContactState.PENDING.value,
    "round": contacts.c.round + 1,
    "reason": null(),
    "path": null(),
    "error": null(),
    "fingerprint": null(),
    "handled_errors": 0,
    "unanswered": False,
    "ended_at": null(),
}
"""What a contact is set to that is to be walked again; what was tried for it stays among the attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which contacts are to be walked again; every condition that is given must hold.

    Attributes:
        states: of these states; by default those that ``failed``, with ``step`` all that ended.
        step: name of an action; its last attempt was an error.
        fingerprint: of the contact's last error.
        since: epoch seconds; ended at that moment or after.
        until: epoch seconds; ended before that moment.
    """

    states: Collection[ContactState] = ()
    step: str | None = None
    fingerprint: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a choice came to.

    Attributes:
        contacts: that are pending now, and were not.
        purged: contacts that it holds for, but whose response has been erased; they stay as they are.
        others: contacts that it holds for but for their state, by state.
    """

    contacts: int
    purged: int
    others: dict[ContactState, int]


def walk_again(ledger: Ledger, replay: Replay, choice: Choice, flow: str | None = None) -> Chosen:
    """Set contacts to ``pending``, in one transaction; the next run walks them.

    Args:
        ledger: where they are.
        replay: whose contacts they are.
        choice: which of them.
        flow: another version of the flow to go on with, JSON; the replay's own by default.

    Raises:
        ReplayError: rejected rows were asked for.
        LedgerError: the ledger cannot be written; nothing was changed.
    """
    if ContactState.REJECTED in choice.states:
        raise ReplayError(
            "a rejected row cannot be walked again, for it is no valid response: mend it in the source, and run a "
            "replay of that; what was completed before is skipped"
        )
    states = tuple(choice.states) or (_ENDED if choice.step is not None else (ContactState.FAILED,))
    wanted = [state.value for state in states if state is not ContactState.PENDING]
    holds = and_(contacts.c.replay_no == replay.no, *_conditions(replay, choice))
    chosen = and_(holds, contacts.c.state.in_(wanted))
    with ledger.write() as connection:
        if flow is not None:
            connection.execute(update(replays).where(replays.c.no == replay.no).values(flow=flow))
        others = _states(connection, and_(holds, contacts.c.state.not_in([*wanted, ContactState.PENDING.value])))
        count = connection.execute(update(contacts).where(chosen, contacts.c.response.is_not(None)).values(AGAIN))
        purged = connection.execute(select(func.count()).where(chosen)).scalar_one()
    return Chosen(count.rowcount, purged, others)


def _conditions(replay: Replay, choice: Choice) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if choice.fingerprint is not None:
        conditions.append(contacts.c.fingerprint == choice.fingerprint)
    if choice.since is not None:
        conditions.append(contacts.c.ended_at >= choice.since)
    if choice.until is not None:
        conditions.append(contacts.c.ended_at < choice.until)
    if choice.step is not None:
        last = (
            select(func.coalesce(attempts.c.fate, Fate.UNKNOWN.value))
            .where(attempts.c.response_id == contacts.c.response_id, attempts.c.flow_id == replay.flow_id)
            .where(attempts.c.step == choice.step)
            .where(attempts.c.replay_no == replay.no if replay.options.get("force") else true())
            .order_by(attempts.c.id.desc())
            .limit(1)
            .correlate(contacts)
            .scalar_subquery()
        )
        conditions.append(last != Fate.SUCCEEDED.value)
    return conditions


def _states(connection: Connection, where: ColumnElement[bool]) -> dict[ContactState, int]:
    query = select(contacts.c.state, func.count()).where(where).group_by(contacts.c.state)
    return {ContactState(state): count for state, count in connection.execute(query)}

"""Choosing ended contacts of a replay to be walked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true, update

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.attempts import AGAIN
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.known_rows import restore_content
from airflow_whatsapp_flows.ledger.renames import step_identities
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts, replays
from airflow_whatsapp_flows.ledger.unconfirmed import accept_duplicates, find_stuck_contacts, may_be_unconfirmed

_PAGE = 500
_ENDED = (ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySelection:
    """Which contacts are to be walked again; every condition that is given must hold.

    Attributes:
        states: of these states; by default those that ``failed``, with ``step`` all that ended.
        step: name of an action; its last attempt was an error.
        fingerprint: of the contact's last error.
        since: epoch seconds; ended at that moment or after.
        until: epoch seconds; ended before that moment.
        handled_errors: with an error that an error exit took care of; all that ended, not only those that ``failed``.
        chunks: of these chunks of the replay.
        duplicates_accepted_by: who accepts that requests which may have been applied are sent again, and may be
            applied twice; by default contacts with nothing else to send are left out.
    """

    states: Collection[ContactState] = ()
    step: str | None = None
    fingerprint: str | None = None
    since: float | None = None
    until: float | None = None
    handled_errors: bool = False
    chunks: Collection[int] | None = None
    duplicates_accepted_by: str | None = None


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What a choice came to.

    Attributes:
        contacts: that are pending now, and were not.
        purged: contacts that it holds for, but whose response has been erased; they stay as they are.
        others: contacts that it holds for but for their state, by state.
        left_out: contacts that it holds for, but whose request may have been applied and is not sent again; they stay
            as they are.
        unconfirmed: the requests of these, by step and what came of them.
    """

    contacts: int
    purged: int
    others: dict[ContactState, int]
    left_out: int = 0
    unconfirmed: Mapping[tuple[str, str], int] = field(default_factory=dict)


def walk_again(ledger: Ledger, replay: Replay, choice: RetrySelection, flow: Flow | None = None) -> RetryResult:
    """Set contacts to ``pending``, in one transaction; the next run walks them.

    Contacts of which nothing may be sent any more are left out: every request of theirs that came to nothing may have
    been applied, and its delivery does not send it again. With another flow they are walked all the same, for it may
    lead elsewhere; what may have been applied is not sent again by that flow either.

    Args:
        ledger: where they are.
        replay: whose contacts they are.
        choice: which of them.
        flow: another version of the flow to go on with; the replay's own by default.

    Raises:
        ReplayError: rejected rows were asked for.
        LedgerError: the ledger cannot be written; nothing was changed.
    """
    if ContactState.REJECTED in choice.states:
        raise ReplayError(
            "a rejected row cannot be retried, because it is not a valid response: fix it in the source, and replay "
            "the source; completed responses are skipped"
        )
    of_all = choice.step is not None or choice.handled_errors
    states = tuple(choice.states) or (_ENDED if of_all else (ContactState.FAILED,))
    wanted = [state.value for state in states if state is not ContactState.PENDING]
    walked = flow or load_flow(replay.flow, f"the flow of the replay {replay.id}")
    with ledger.write() as connection:
        steps = step_identities(connection, walked)
        names = steps.names_and_ids(choice.step) if choice.step is not None else ()
        holds = and_(contacts.c.replay_no == replay.no, *_conditions(replay, choice, names))
        chosen = and_(holds, contacts.c.state.in_(wanted))
        walkable = and_(chosen, contacts.c.response.is_not(None))
        if flow is not None:
            connection.execute(update(replays).where(replays.c.no == replay.no).values(flow=flow.source_for_storage))
        others = _states(connection, and_(holds, contacts.c.state.not_in([*wanted, ContactState.PENDING.value])))
        restore_content(connection, chosen)
        suspects, stuck = find_stuck_contacts(connection, replay, walkable, walked, steps)
        if choice.duplicates_accepted_by is not None:
            under_way = accept_duplicates(connection, replay, stuck, choice.duplicates_accepted_by)
            stuck = [contact for contact in stuck if contact.id in under_way]
        elif flow is not None:
            stuck = []
        again = connection.execute(update(contacts).where(walkable, ~may_be_unconfirmed(replay)).values(AGAIN)).rowcount
        left = {contact.id for contact in stuck}
        suspects = [number for number in suspects if number not in left]
        for start in range(0, len(suspects), _PAGE):
            these = contacts.c.id.in_(suspects[start : start + _PAGE])
            again += connection.execute(update(contacts).where(walkable, these).values(AGAIN)).rowcount
        purged = connection.execute(select(func.count()).where(chosen, contacts.c.response.is_(None))).scalar_one()
    return RetryResult(
        again, purged, others, len(stuck), Counter(what for contact in stuck for what in contact.requests)
    )


def walk_failed_again(
    ledger: Ledger, replay: Replay, of_chunks: Collection[int] | None, clear: str
) -> RetryResult | None:
    """Set the failed contacts of a cleared task to ``pending``: once for each clear, however often the task is tried.

    Args:
        ledger: where they are.
        replay: whose contacts they are.
        of_chunks: the chunks of the task; all of the replay by default.
        clear: names the task and the number of its clear.

    Returns:
        What :func:`walk_again` came to; ``None`` when an earlier try of the task did it.

    Raises:
        LedgerError: the ledger cannot be written.
    """
    own = chunks.c.replay_no == replay.no
    if of_chunks is not None:
        own &= chunks.c.chunk.in_(list(of_chunks))
    due = and_(own, func.coalesce(chunks.c.cleared_by, "") != clear)
    with ledger.read() as connection:
        numbers = list(connection.execute(select(chunks.c.chunk).where(due)).scalars())
    if not numbers:
        return None
    chosen = walk_again(ledger, replay, RetrySelection(chunks=numbers))
    # A worker that dies before this is noted has sent nothing yet: the next try finds the same contacts pending.
    with ledger.write() as connection:
        connection.execute(update(chunks).where(due).values(cleared_by=clear))
    return chosen


def _conditions(replay: Replay, choice: RetrySelection, names: Sequence[str]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if choice.fingerprint is not None:
        conditions.append(contacts.c.fingerprint == choice.fingerprint)
    if choice.since is not None:
        conditions.append(contacts.c.ended_at >= choice.since)
    if choice.until is not None:
        conditions.append(contacts.c.ended_at < choice.until)
    if choice.chunks is not None:
        conditions.append(contacts.c.chunk.in_(list(choice.chunks)))
    if choice.handled_errors:
        conditions.append(contacts.c.handled_errors > 0)
    if names:
        last = (
            select(func.coalesce(attempts.c.fate, Fate.UNKNOWN.value))
            .where(attempts.c.response_id == contacts.c.response_id, attempts.c.flow_id == replay.flow_id)
            .where(or_(attempts.c.step.in_(names), attempts.c.step_id.in_(names)))
            .where(attempts.c.epoch == contacts.c.epoch)
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

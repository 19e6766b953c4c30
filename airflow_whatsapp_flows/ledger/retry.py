"""Selects ended contacts of a replay to be walked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, null, or_, select, true, update

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.applied import counts_for
from airflow_whatsapp_flows.ledger.attempts import AGAIN
from airflow_whatsapp_flows.ledger.counts import refresh_counts
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.known_rows import is_known, restore_content
from airflow_whatsapp_flows.ledger.pages import slices
from airflow_whatsapp_flows.ledger.renames import step_identities
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts, replays
from airflow_whatsapp_flows.ledger.unconfirmed import accept_duplicates, find_stuck_contacts, may_be_unconfirmed

_PAGE = 500
_ENDED = (ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySelection:
    """Selects contacts to walk again: all given conditions must hold.

    Attributes:
        states: in one of these states; by default ``failed``, or with ``steps`` any ended state. ``pending`` alone
            selects nothing: what is pending is walked anyway.
        steps: names of actions; the last attempt of one of them was an error.
        fingerprint: fingerprint of the contact's last error.
        responses: ids of responses.
        since: epoch seconds; ended at or after this time.
        until: epoch seconds; ended before this time.
        handled_errors: with an error handled by an error exit; in any ended state, not only ``failed``.
        chunks: in one of these chunks of the replay.
        or_failed_in: number of a retry by a DAG run; also failed contacts of these chunks that it has selected,
            whatever else is given.
        last: row number; only contacts up to it.
        retry_no: number of a retry by a DAG run; only contacts that it has selected. Negative: only those that no task
            of the run has made pending yet.
        duplicates_accepted_by: who accepts resending requests that may have been applied, so may be applied twice; by
            default contacts with nothing else to send are left out.
    """

    states: Collection[ContactState] = ()
    steps: Collection[str] = ()
    fingerprint: str | None = None
    responses: Collection[str] = ()
    since: float | None = None
    until: float | None = None
    handled_errors: bool = False
    chunks: Collection[int] | None = None
    or_failed_in: int | None = None
    last: int | None = None
    retry_no: int | None = None
    duplicates_accepted_by: str | None = None


@dataclass(frozen=True, slots=True)
class RetryResult:
    """The effect of a retry.

    Attributes:
        contacts: number of contacts that became pending.
        purged: number of matching contacts whose response was purged; they are unchanged.
        others: number of contacts that match except for their state, by state.
        left_out: number of matching contacts whose request may have been applied and is not sent again; they are
            unchanged.
        unconfirmed: the requests of these, by step and outcome.
    """

    contacts: int
    purged: int
    others: dict[ContactState, int]
    left_out: int = 0
    unconfirmed: Mapping[tuple[str, str], int] = field(default_factory=dict)


def walk_again(ledger: Ledger, replay: Replay, choice: RetrySelection, flow: Flow | None = None) -> RetryResult:
    """Set contacts to ``pending`` in one transaction; the next run walks them.

    Contacts for which nothing may be sent any more are left out: each of their failed requests may have been applied,
    and its delivery mode does not resend it. With another flow they are walked, because it may lead elsewhere; that
    flow does not resend what may have been applied either.

    Args:
        replay: replay of the contacts.
        choice: the contacts to walk again.
        flow: another version of the flow to use; by default the replay's own.

    Raises:
        ReplayError: rejected rows were selected.
        LedgerError: the ledger cannot be written; nothing was changed.
    """
    walked = flow or load_flow(replay.flow, f"the flow of the replay {replay.id}")
    with ledger.write() as connection:
        steps, narrow, chosen, walkable = _conditions_of(connection, replay, choice, walked)
        if flow is not None:
            connection.execute(update(replays).where(replays.c.no == replay.no).values(flow=flow.source_for_storage))
        others = _count_others(connection, choice, narrow)
        own_chunks = select(contacts.c.chunk).where(chosen).distinct()
        of_chunks: set[int] | None = set(connection.execute(own_chunks).scalars())
        if restore_content(connection, chosen):
            of_chunks = None  # rows were moved
        suspects, stuck = find_stuck_contacts(connection, replay, walkable, walked, steps)
        if choice.duplicates_accepted_by is not None:
            under_way = accept_duplicates(connection, replay, stuck, choice.duplicates_accepted_by)
            stuck = [contact for contact in stuck if contact.id in under_way]
        elif flow is not None:
            stuck = []
        left = {contact.id for contact in stuck}
        suspects = [number for number in suspects if number not in left]
        values = {**AGAIN, "retry_no": null() if choice.retry_no is None else abs(choice.retry_no)}
        changing = update(contacts).where(walkable).values(values)
        again = connection.execute(changing.where(~may_be_unconfirmed(replay))).rowcount
        for some in slices(suspects, _PAGE):
            again += connection.execute(changing.where(contacts.c.id.in_(some))).rowcount
        if choice.retry_no is not None and choice.retry_no < 0:
            _release_others(connection, replay, choice, sorted(left))
        refresh_counts(connection, replay.no, of_chunks)
        purged = connection.execute(select(func.count()).where(chosen, contacts.c.response.is_(None))).scalar_one()
    return RetryResult(
        again, purged, others, len(stuck), Counter(what for contact in stuck for what in contact.requests)
    )


def _release_others(connection: Connection, replay: Replay, choice: RetrySelection, left: Sequence[int]) -> None:
    """Keep the contacts of a retry that were left out, and forget those that no longer match."""
    number = choice.retry_no or 0
    for some in slices(left, _PAGE):
        connection.execute(update(contacts).where(contacts.c.id.in_(some)).values(retry_no=-number))
    others = [contacts.c.replay_no == replay.no, contacts.c.retry_no == number]
    if choice.chunks is not None:
        others.append(contacts.c.chunk.in_(list(choice.chunks)))
    connection.execute(update(contacts).where(*others).values(retry_no=null()))


@dataclass(frozen=True, slots=True)
class SelectedContacts:
    """What a retry would do.

    Attributes:
        result: what :func:`walk_again` would return.
        states: the contacts that would become pending, by the state that they have now.
        where: condition that selects these and the contacts that would be left out, without known contacts.
        or_known: the same, with contacts whose content is in another replay.
        left_out: row numbers of the contacts that would be left out.
        known: number of the contacts that would become pending whose content is in another replay.
        chunks: numbers of the chunks that would have pending contacts, in order.
    """

    result: RetryResult
    states: Mapping[ContactState, int]
    where: ColumnElement[bool]
    or_known: ColumnElement[bool]
    left_out: frozenset[int]
    known: int
    chunks: Sequence[int]


def find_selected(ledger: Ledger, replay: Replay, choice: RetrySelection, flow: Flow | None = None) -> SelectedContacts:
    """Find what :func:`walk_again` would do; changes nothing.

    Args:
        replay: replay of the contacts.
        choice: the contacts to walk again.
        flow: another version of the flow to use; by default the replay's own.

    Raises:
        ReplayError: rejected rows were selected.
        LedgerError: the ledger cannot be read.
    """
    walked = flow or load_flow(replay.flow, f"the flow of the replay {replay.id}")
    with ledger.read() as connection:
        steps, narrow, chosen, walkable = _conditions_of(connection, replay, choice, walked)
        is_purged = and_(chosen, contacts.c.response.is_(None), ~is_known())
        stuck = find_stuck_contacts(connection, replay, walkable, walked, steps)[1] if flow is None else []
        left_out = frozenset(contact.id for contact in stuck)
        or_known = or_(walkable, and_(chosen, is_known()))
        states = Counter(_states(connection, or_known))
        for start in range(0, len(stuck), _PAGE):
            page = [contact.id for contact in stuck[start : start + _PAGE]]
            states.subtract(_states(connection, contacts.c.id.in_(page)))
        purged = connection.execute(select(func.count()).where(is_purged)).scalar_one()
        known = connection.execute(select(func.count()).where(chosen, is_known())).scalar_one()
        # The content of such a row moves to the chunk of its person, which may be any.
        of_chunks = select(chunks.c.chunk).where(chunks.c.replay_no == replay.no)
        if not known:
            of_chunks = select(contacts.c.chunk).where(walkable).distinct()
        numbers = sorted(connection.execute(of_chunks).scalars())
        others = _count_others(connection, choice, narrow)
    requests = Counter(what for contact in stuck for what in contact.requests)
    result = RetryResult(states.total(), purged, others, len(stuck), requests)
    by_state = {state: n for state, n in states.items() if n}
    return SelectedContacts(result, by_state, walkable, or_known, left_out, known, numbers)


def walk_failed_again(
    ledger: Ledger,
    replay: Replay,
    of_chunks: Collection[int] | None,
    clear: str,
    choice: RetrySelection = RetrySelection(),
) -> RetryResult | None:
    """Set the failed contacts of a cleared task to ``pending``, once per clear even if the task is retried.

    Args:
        replay: replay of the contacts.
        of_chunks: the task's chunks; by default all of the replay.
        clear: identifies the task and the number of its clear.
        choice: other contacts than the failed ones, of these chunks.

    Returns:
        The result of :func:`walk_again`; ``None`` if an earlier try of the task already did this.

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
    chosen = walk_again(ledger, replay, replaced(choice, chunks=numbers))
    # A worker that dies before this is recorded has sent nothing yet: the next try finds the same contacts pending.
    with ledger.write() as connection:
        connection.execute(update(chunks).where(due).values(cleared_by=clear))
    return chosen


class _Selecting(NamedTuple):
    """The conditions of a retry, and the steps that they name.

    Attributes:
        steps: identities of the flow's steps.
        narrow: the condition without the states.
        chosen: selects contacts.
        walkable: selects those of them whose response is there.
    """

    steps: StepIdentities
    narrow: ColumnElement[bool]
    chosen: ColumnElement[bool]
    walkable: ColumnElement[bool]


def _conditions_of(connection: Connection, replay: Replay, choice: RetrySelection, flow: Flow) -> _Selecting:
    """Return the conditions of a retry.

    Raises:
        ReplayError: rejected rows were selected.
    """
    if ContactState.REJECTED in choice.states:
        raise ReplayError(
            "a rejected row cannot be retried, because it is not a valid response: fix it in the source, and replay "
            "the source; completed responses are skipped"
        )
    steps = step_identities(connection, flow)
    own = contacts.c.replay_no == replay.no
    own &= true() if choice.last is None else contacts.c.id <= choice.last
    if choice.chunks is not None:
        own &= contacts.c.chunk.in_(list(choice.chunks))
    narrow = and_(own, *_conditions(connection, replay, choice, steps))
    chosen = and_(narrow, contacts.c.state.in_(_wanted_states(choice)))
    if choice.or_failed_in is not None:
        failed = contacts.c.state == ContactState.FAILED.value
        chosen = or_(chosen, and_(own, failed, contacts.c.retry_no == choice.or_failed_in))
    if choice.retry_no is not None:
        chosen = and_(contacts.c.retry_no == choice.retry_no, chosen)
    return _Selecting(steps, narrow, chosen, and_(chosen, contacts.c.response.is_not(None)))


def _wanted_states(choice: RetrySelection) -> list[str]:
    of_all = choice.steps or choice.handled_errors
    states = tuple(choice.states) or (_ENDED if of_all else (ContactState.FAILED,))
    return [state.value for state in states if state is not ContactState.PENDING]


def _conditions(
    connection: Connection, replay: Replay, choice: RetrySelection, steps: StepIdentities
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if choice.fingerprint is not None:
        conditions.append(contacts.c.fingerprint == choice.fingerprint)
    if choice.responses:
        conditions.append(dialect_of(connection).is_one_of(contacts.c.response_id, list(choice.responses)))
    if choice.since is not None:
        conditions.append(contacts.c.ended_at >= choice.since)
    if choice.until is not None:
        conditions.append(contacts.c.ended_at < choice.until)
    if choice.handled_errors:
        conditions.append(contacts.c.handled_errors > 0)
    if choice.steps:
        conditions.append(or_(*(_ended_in_error(replay, steps.names_and_ids(step)) for step in choice.steps)))
    return conditions


def _ended_in_error(replay: Replay, names: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that the last attempt of an action was an error."""
    last = (
        select(func.coalesce(attempts.c.fate, Fate.UNKNOWN.value))
        .where(attempts.c.response_id == contacts.c.response_id, attempts.c.flow_id == replay.flow_id)
        .where(or_(attempts.c.step.in_(names), attempts.c.step_id.in_(names)))
        .where(attempts.c.epoch == contacts.c.epoch)
        .where(counts_for(replay))
        .order_by(attempts.c.id.desc())
        .limit(1)
        .correlate(contacts)
        .scalar_subquery()
    )
    return last != Fate.SUCCEEDED.value


def _count_others(
    connection: Connection, choice: RetrySelection, narrow: ColumnElement[bool]
) -> dict[ContactState, int]:
    named = [*_wanted_states(choice), ContactState.PENDING.value]
    return _states(connection, and_(narrow, contacts.c.state.not_in(named)))


def _states(connection: Connection, where: ColumnElement[bool]) -> dict[ContactState, int]:
    query = select(contacts.c.state, func.count()).where(where).group_by(contacts.c.state)
    return {ContactState(state): count for state, count in connection.execute(query)}


def find_unknown_responses(ledger: Ledger, replay: Replay, responses: Sequence[str]) -> list[str]:
    """Return those of some ids of responses that no contact of a replay has."""
    with ledger.read() as connection:
        listed = dialect_of(connection).is_one_of(contacts.c.response_id, list(responses))
        query = select(contacts.c.response_id).where(contacts.c.replay_no == replay.no, listed)
        known = set(connection.execute(query).scalars())
    return [one for one in responses if one not in known]

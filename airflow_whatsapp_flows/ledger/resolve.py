"""Resolves requests that may have been applied, after a person has checked at the server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, or_, select, update

from airflow_whatsapp_flows.errors import FlowFileError, ReplayError
from airflow_whatsapp_flows.flow.delivery.decision import may_have_been_applied
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.applied import counts_for, is_suspect_answer, is_unknown, was_carried_out
from airflow_whatsapp_flows.ledger.attempts import AGAIN, overrule_attempt
from airflow_whatsapp_flows.ledger.claims import Claim, check_fences, claim, is_owned, release
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.once import free_person
from airflow_whatsapp_flows.ledger.pages import batches, size_of_attempts
from airflow_whatsapp_flows.ledger.records import attempt_of
from airflow_whatsapp_flows.ledger.renames import find_sent_steps, renames_of, step_identities
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.resolutions import LONGEST_EXCHANGE, found_result, origin_with_decision
from airflow_whatsapp_flows.ledger.rows import ContactState, Subject
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts

_PAGE = 500
_REASONS = 5  # shown to the user


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveSelection:
    """Selects requests: all given conditions must hold; a response, a step or a fingerprint is required.

    Attributes:
        response_id: requests of this response.
        step: requests of this action, by its current name or its name when sent.
        visit: requests of this visit of the action, from 1.
        fingerprint: requests of contacts with this error.
        handled: requests handled by an error exit that the server may have applied, such as a 504 of a completed
            contact; by default those in doubt.
    """

    response_id: str | None = None
    step: str | None = None
    visit: int | None = None
    fingerprint: str | None = None
    handled: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person found out about requests.

    Attributes:
        sent: whether the server has carried out the requests.
        by: who found out.
        reply: the server's reply, for later steps; ``None`` if unknown.
    """

    sent: bool
    by: str
    reply: Value = None


@dataclass(frozen=True, slots=True)
class ResolveResult:
    """The effect of a resolution.

    Attributes:
        contacts: number of contacts that are now pending.
        attempts: number of attempts whose fate was set.
        elsewhere: number of contacts in doubt because of another replay's requests, and the reasons of the first of
            them.
        purged: number of contacts whose response was purged; they can no longer be walked and are unchanged.
    """

    contacts: int = 0
    attempts: int = 0
    elsewhere: int = 0
    reasons: tuple[str, ...] = ()
    purged: int = 0

    def and_then(self, more: ResolveResult) -> ResolveResult:
        """Combine this result with that of a later step."""
        return ResolveResult(
            self.contacts + more.contacts,
            self.attempts + more.attempts,
            self.elsewhere + more.elsewhere,
            tuple(dict.fromkeys((*self.reasons, *more.reasons)))[:_REASONS],
            self.purged + more.purged,
        )


class _Request(NamedTuple):
    """The requests of a replay to resolve, and what was found out.

    Attributes:
        sent_as: names and identities under which the step was sent; ``None`` if no step is given.
        flow: the replay's flow; ``None`` if this release cannot read it.
    """

    replay: Replay
    which: ResolveSelection
    finding: Resolution
    sent_as: Sequence[tuple[str, str | None]] | None
    steps: StepIdentities
    flow: Flow | None


def _build_request(connection: Connection, replay: Replay, which: ResolveSelection, finding: Resolution) -> _Request:
    flow = None
    with suppress(FlowFileError):
        flow = load_flow(replay.flow)
    if flow is not None:
        steps = step_identities(connection, flow)
    else:
        names = frozenset(() if which.step is None else (which.step,))
        steps = StepIdentities({}, names, renames_of(connection, replay.flow_id))
    if which.step is None:
        return _Request(replay, which, finding, None, steps, flow)
    wanted = steps.owner(which.step, None) or which.step
    sent = [(one.step, one.step_id) for one in find_sent_steps(connection, replay, _states(which))]
    sent_as = [(step, step_id) for step, step_id in sent if (steps.owner(step, step_id) or step) == wanted]
    return _Request(replay, which, finding, sent_as, steps, flow)


def _states(which: ResolveSelection) -> tuple[ContactState, ...]:
    return (ContactState.COMPLETED, ContactState.FAILED) if which.handled else (ContactState.IN_DOUBT,)


def resolve(ledger: Ledger, replay: Replay, which: ResolveSelection, finding: Resolution) -> ResolveResult:
    """Set the fate of attempts that may have been applied; their contacts become ``pending``.

    Of several attempts with the same key, the last one counts as the one carried out. The ``origin`` of each attempt
    records who resolved it, when, and its previous outcome.

    Args:
        replay: replay of the contacts.
        which: the requests to resolve.
        finding: what the person found out.

    Raises:
        ReplayError: the replay is running.
        LedgerError: the ledger cannot be read or written.
    """
    done = ResolveResult()
    with ledger.connect() as connection:
        with ledger.read() as reading:
            asked = _build_request(reading, replay, which, finding)
            chosen = select(contacts.c.chunk).where(*_contacts(asked)).distinct().order_by(contacts.c.chunk)
            numbers = list(reading.execute(chosen).scalars())
        for number in numbers:
            if is_owned(ledger, connection, replay.no, number):
                raise _is_running(ledger, replay, number, done)
        # One at a time: in SQLite each owned chunk is an open file.
        for number in numbers:
            claimed = claim(ledger, connection, replay.no, number)
            if claimed is None:
                raise _is_running(ledger, replay, number, done)
            try:
                done = done.and_then(_resolve_chunk(ledger, connection, asked, claimed))
            finally:
                release(ledger, connection, claimed)
    return done


def _resolve_chunk(ledger: Ledger, connection: Connection, asked: _Request, claimed: Claim) -> ResolveResult:
    done, again = ResolveResult(), list[int]()
    with ledger.write(connection):
        check_fences(connection, [claimed])
        own = and_(*_contacts(asked), contacts.c.chunk == claimed.chunk)
        size = size_of_attempts(asked.replay.flow_id, attempts.c.result)
        sizes = connection.execute(select(contacts.c.id, size).where(own).order_by(contacts.c.id)).all()
        for page in batches(sizes, _PAGE, lambda row: row[1]):
            done = done.and_then(_resolve_contacts(connection, asked, [row[0] for row in page], again))
        for start in range(0, len(again), _PAGE):
            these = contacts.c.id.in_(again[start : start + _PAGE])
            connection.execute(update(contacts).where(these).values(AGAIN))
    return done


def _resolve_contacts(
    connection: Connection, asked: _Request, numbers: Sequence[int], again: list[int]
) -> ResolveResult:
    elsewhere, purged, changed, before = 0, 0, 0, len(again)
    reasons: dict[str, None] = {}
    columns = [contacts.c[name] for name in ("id", "response_id", "reason", "epoch")]
    found_out = [contacts.c.path.is_not(None).label("was_walked"), contacts.c.response.is_not(None).label("is_kept")]
    query = select(*columns, *found_out).where(contacts.c.id.in_(numbers)).order_by(contacts.c.id)
    rows = connection.execute(query).all()
    doubtful = _attempts(connection, asked, [row.response_id for row in rows])
    for row in rows:
        unknown = _of_contact(row, doubtful.get(row.response_id, ()))
        if asked.which.handled and not unknown:
            continue
        if not row.is_kept:
            purged += 1
        elif not unknown:
            elsewhere += 1
            reasons.setdefault(row.reason or "", None)
        else:
            again.append(row.id)
            changed += _settle(connection, unknown, asked.finding)
    return ResolveResult(len(again) - before, changed, elsewhere, tuple(filter(None, reasons)), purged)


def _of_contact(contact: Row[Any], unknown: Sequence[Row[Any]]) -> list[Row[Any]]:
    """Return the attempts of unknown fate to resolve with a contact.

    A contact that was not walked is held back by earlier requests with other content. Those are resolved here only if
    a DAG run sent them, because then no replay contains them.
    """
    if not contact.was_walked:
        return [row for row in unknown if row.epoch < contact.epoch and row.replay_no is None]
    return [row for row in unknown if row.epoch == contact.epoch]


def _contacts(asked: _Request) -> list[ColumnElement[bool]]:
    which = asked.which
    states = [state.value for state in _states(which)]
    conditions = [contacts.c.replay_no == asked.replay.no, contacts.c.state.in_(states)]
    if which.response_id is not None:
        conditions += [contacts.c.response_id == which.response_id, contacts.c.digest.is_not(None)]
    if which.fingerprint is not None:
        conditions.append(contacts.c.fingerprint == which.fingerprint)
    if which.handled:
        conditions.append(contacts.c.handled_errors > 0)
    if which.handled or which.step is not None or which.visit is not None:
        conditions.append(
            select(attempts.c.id)
            .where(attempts.c.response_id == contacts.c.response_id, *_open(asked))
            .correlate(contacts)
            .exists()
        )
    return conditions


def _is_running(ledger: Ledger, replay: Replay, number: int, done: ResolveResult) -> ReplayError:
    with ledger.read() as reading:
        of_chunk = and_(chunks.c.replay_no == replay.no, chunks.c.chunk == number)
        owner = reading.execute(select(chunks.c.owner).where(of_chunk)).scalar_one_or_none()
    changed, rest = "nothing was changed", ""
    if done.contacts:
        contacts_were = "1 contact was" if done.contacts == 1 else f"{done.contacts:,} contacts were"
        changed, rest = f"{contacts_were} resolved before it started", " the others"
    return ReplayError(
        f"the replay {replay.id!r} is running (process {owner}): {changed}; let it finish, or stop it, then "
        f"resolve{rest}"
    )


def _open(asked: _Request) -> list[ColumnElement[bool]]:
    """Return conditions on attempts that may have been applied; for handled ones see :func:`_may_be_handled`."""
    replay, which = asked.replay, asked.which
    own_or_over = or_(
        attempts.c.replay_no == replay.no,
        attempts.c.fate == Fate.UNKNOWN.value,
        attempts.c.begun_at < time.time() - LONGEST_EXCHANGE,
    )
    unknown = and_(is_unknown(), own_or_over)
    conditions = [
        counts_for(replay),
        attempts.c.flow_id == replay.flow_id,
        is_suspect_answer() if which.handled else unknown,
        attempts.c.method.not_in(SAFE_METHODS),
    ]
    if asked.sent_as is not None:
        sent_as = [and_(attempts.c.step == step, attempts.c.step_id == step_id) for step, step_id in asked.sent_as]
        conditions.append(or_(false(), *sent_as))
    if which.visit is not None:
        conditions.append(attempts.c.visit == which.visit)
    return conditions


def _may_be_handled(asked: _Request, row: Row[Any]) -> bool:
    """Whether an answer leaves open what the server did; a status in the step's ``retry.statuses`` does not."""
    name = asked.steps.owner(row.step, row.step_id)
    step = asked.flow.steps.get(name) if asked.flow is not None and name is not None else None
    return not isinstance(step, Action) or may_have_been_applied(step.retry, attempt_of(row, current=False))


def _attempts(connection: Connection, asked: _Request, response_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """Find attempts that may have been applied, by response, without those whose visit or key is resolved.

    Also leaves out a handled one that was ``not_sent`` if a later visit has carried out the same request, unless its
    own visit is selected: a retry would send it twice.
    """
    found: dict[str, list[Row[Any]]] = {}
    later = attempts.alias()
    same_step = func.coalesce(later.c.step_id, later.c.step) == func.coalesce(attempts.c.step_id, attempts.c.step)
    same_visit = and_(same_step, later.c.visit == attempts.c.visit, later.c.epoch == attempts.c.epoch)
    if asked.which.handled and not asked.finding.sent and asked.which.visit is None:
        # An error exit that returns to the step has sent the same request again.
        by_loop = and_(later.c.visit > attempts.c.visit, later.c.digest == attempts.c.digest)
        same_visit = or_(same_visit, and_(same_step, by_loop, later.c.epoch == attempts.c.epoch))
    settled = (
        select(later.c.id)
        .where(later.c.response_id == attempts.c.response_id, later.c.flow_id == attempts.c.flow_id)
        .where(or_(later.c.key == attempts.c.key, same_visit))
        .where(was_carried_out(later), counts_for(asked.replay, later))
        .correlate(attempts)
        .exists()
    )
    of_these = attempts.c.response_id.in_(response_ids)
    for row in connection.execute(select(attempts).where(of_these, ~settled, *_open(asked)).order_by(attempts.c.id)):
        if not asked.which.handled or _may_be_handled(asked, row):
            found.setdefault(row.response_id, []).append(row)
    return found


def _settle(connection: Connection, rows: Sequence[Row[Any]], finding: Resolution) -> int:
    if finding.sent:  # one request was carried out, no matter how often it was sent
        rows = list({row.key: row for row in rows}.values())
    for row in rows:
        # The previous outcome is no longer true; it remains in the origin.
        origin = origin_with_decision(row, "sent" if finding.sent else "not_sent", finding.by)
        if finding.sent:
            result = found_result(row, finding.reply)
            overrule_attempt(connection, row, Fate.SUCCEEDED, origin, status_code=200, result=result)
        else:
            overrule_attempt(connection, row, Fate.NOT_SENT, origin, status_code=None, result=None)
            free_person(
                connection, Subject(row.flow_id, row.response_id), row.step, {row.step, row.step_id or row.step}
            )
    return len(rows)

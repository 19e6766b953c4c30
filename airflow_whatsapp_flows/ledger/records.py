"""Reads contacts to be walked, and every attempt made for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Row, case, literal, or_, select, true

from airflow_whatsapp_flows.flow.delivery.decision import Attempt, derive_key
from airflow_whatsapp_flows.flow.delivery.decision import may_have_been_applied as may_be_applied
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import CARRIED_OUT_FATES, Fate
from airflow_whatsapp_flows.flow.identity import PHONE, Identity, IdentityRule
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.walk.perform import SendAction
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.applied import may_have_been_applied
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.epochs import AttemptSummary
from airflow_whatsapp_flows.ledger.pages import parts, size_of, size_of_attempts
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import (
    attempts,
    contacts,
    has_replay,
    identifiers,
    replays,
    stands_for_its_person,
)


class RecordedAttempt(msgspec.Struct, frozen=True):
    """One attempt, with its step and key.

    Attributes:
        step: current name of the action; its former name if the flow no longer has it.
        visit: number of the visit of the step, from 1.
        key: idempotency key of the request.
        attempt: the attempt as the delivery rules see it.
    """

    step: str
    visit: int
    key: str
    attempt: Attempt


class ResponseRecord(msgspec.Struct):
    """Every attempt made for one response.

    Attributes:
        walk_started_at: when its walk first started, epoch seconds; ``None`` if nothing was attempted.
        tried: attempts under the epoch of its content, in order.
        identities: identities of actions when first sent, by current name; their keys are derived from these.
        made: attempts under any epoch, in order, without those added during the walk.
    """

    walk_started_at: float | None = None
    tried: list[RecordedAttempt] = []
    identities: dict[str, str] = {}
    made: list[AttemptSummary] = []

    def note(self, row: Any, steps: StepIdentities | None, *, current: bool) -> None:
        """Add an attempt from the ledger.

        Args:
            row: row of the attempt.
            steps: the actions of the flow; ``None`` outside a flow.
            current: see :class:`~airflow_whatsapp_flows.flow.delivery.decision.Attempt`.
        """
        if self.walk_started_at is None:
            self.walk_started_at = row.moment
        owner = None if steps is None else steps.owner(row.step, row.step_id)
        if owner is not None:
            self.identities.setdefault(owner, row.step_id or row.step)
        self.tried.append(RecordedAttempt(owner or row.step, row.visit, row.key, attempt_of(row, current=current)))

    def add(self, effect: SendAction, attempt: Attempt) -> None:
        """Add an attempt just made."""
        if attempt.result is not None:  # as stored in the ledger
            attempt = replace(attempt, result=effect.veil.hide(attempt.result))
        if effect.visit > 1:
            self._drop_contents(effect.step.name, effect.visit)
        self.tried.append(RecordedAttempt(effect.step.name, effect.visit, effect.idempotency_key, attempt))

    def _drop_contents(self, step: str, visit: int) -> None:
        """Forget the replies of earlier visits, which nobody reads again: a loop would keep all of them in memory."""
        for index, tried in enumerate(self.tried):
            result = tried.attempt.result
            if tried.step == step and tried.visit < visit and result is not None and result.response is not None:
                attempt = replace(tried.attempt, result=replace(result, response=None))
                self.tried[index] = replace(tried, attempt=attempt)

    def has_effect(self, flow: Flow) -> bool:
        """Whether a request of the walk may have been applied, so that the walk has started at the server."""
        for tried in self.tried:
            step = flow.steps.get(tried.step)
            if not isinstance(step, Action):
                return True
            if step.plan.method not in SAFE_METHODS and may_be_applied(step.retry, tried.attempt):
                return True
        return False

    def find_settled_result(self, step: str, visit: int) -> ActionResult | None:
        """Return the known result of a visit that the server has carried out, if any."""
        for tried in self.tried:
            if (tried.step, tried.visit) == (step, visit) and tried.attempt.fate in CARRIED_OUT_FATES:
                return tried.attempt.result
        return None

    def attempts(self, effect: SendAction, request: HttpRequest, base: str) -> list[Attempt]:
        """Return the attempts that decide whether a request may be sent, for :func:`next_move`.

        Args:
            effect: the action to send, with its key.
            request: the complete request.
            base: key of the visit before any change of the request's bytes. It stands for all attempts of the visit,
                including those under keys of changed bytes: one in doubt forbids all others.
        """
        if not self.tried:
            return []
        key_of_changed_bytes = derive_key(base, request.digest()) if effect.idempotency_key == base else None
        found = []
        for tried in self.tried:
            key, attempt = tried.key, tried.attempt
            if tried.step != effect.step.name or tried.visit > effect.visit:
                continue
            if tried.visit < effect.visit:
                # A loop that returns to a keyed action in doubt keeps the key; this visit's attempts are counted
                # separately.
                if key == effect.idempotency_key:
                    found.append(replace(attempt, current=False))
            elif key == effect.idempotency_key or (key_of_changed_bytes is not None and key != key_of_changed_bytes):
                found.append(attempt)
        return [one if one.result is None else replace(one, result=effect.veil.restore(one.result)) for one in found]


class PendingContact(msgspec.Struct, frozen=True):
    """A contact to be walked.

    Attributes:
        id: number of its row.
        place: location of its row in the source.
        response_id: identity of its response.
        phone: the contact's phone number.
        response: JSON.
        round: incremented with each retry.
        record: the attempts made for it.
        identity: identifiers of the contact.
        epoch: epoch of its content, see :mod:`~airflow_whatsapp_flows.ledger.epochs`.
        digest: digest of its content.
    """

    id: int
    place: str
    response_id: str
    phone: str | None
    response: str
    round: int
    record: ResponseRecord
    identity: Identity = Identity()
    epoch: int = 1
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Selects the contacts to read.

    Attributes:
        replay_no: number of the replay.
        chunk: number of the chunk.
        after: only rows after this row number.
        size: maximum number of contacts.
        alone: whether to ignore attempts outside this replay, which resends intentionally.
        identity: how contacts are identified.
        steps: the identities of the flow's steps.
        also: condition that selects other contacts than the pending ones, as if they were to be walked again.
        last: only rows up to this row number; ``None`` for no limit.
    """

    flow_id: str
    replay_no: int
    chunk: int
    after: int
    size: int
    alone: bool = False
    identity: IdentityRule = field(default_factory=IdentityRule)
    steps: StepIdentities = field(default_factory=StepIdentities)
    also: ColumnElement[bool] | None = None
    last: int | None = None


def read_pending_contacts(connection: Connection, page: Page) -> list[PendingContact]:
    """Read contacts to be walked, in the order of the source, each with the attempts made for it.

    Returns fewer than the page's size if their texts are long, and none only at the end.
    """
    is_pending = contacts.c.state == ContactState.PENDING.value
    of_page = (
        contacts.c.replay_no == page.replay_no, contacts.c.chunk == page.chunk, contacts.c.id > page.after,
        is_pending if page.also is None else or_(is_pending, page.also),
        true() if page.last is None else contacts.c.id <= page.last,
    )  # fmt: skip
    size = size_of(contacts.c.response) + size_of_attempts(page.flow_id, attempts.c.result)
    sizes = select(contacts.c.id, size).where(*of_page).order_by(contacts.c.id).limit(page.size)
    with connection.execute(sizes) as found:  # reads no more than the page holds
        last = next((last for _, last in parts(found)), page.after)
    query = select(
        contacts.c.id, contacts.c.place, contacts.c.response_id, contacts.c.phone, contacts.c.response,
        case((is_pending, contacts.c.round), else_=contacts.c.round + 1).label("round"),
        contacts.c.epoch, contacts.c.digest,
    ).where(*of_page, contacts.c.id <= last).order_by(contacts.c.id)  # fmt: skip
    rows = connection.execute(query).all()
    rounds = {row.response_id: (page.replay_no, row.round) for row in rows}
    epochs = {row.response_id: row.epoch for row in rows}
    alone = page.replay_no if page.alone else None
    records = read_records(connection, page.flow_id, rounds, page.steps, alone, epochs)
    return [
        PendingContact(
            *row[:6], records.get(row.response_id) or ResponseRecord(), _identify(page.identity, row.response), *row[6:]
        )
        for row in rows
    ]


def read_records(
    connection: Connection,
    flow_id: str,
    rounds: Mapping[str, tuple[int | None, int]],
    steps: StepIdentities,
    alone: int | None = None,
    epochs: Mapping[str, int] | None = None,
) -> dict[str, ResponseRecord]:
    """Read the attempts for responses of a flow, by replays and DAG runs alike.

    Args:
        rounds: maps response ids to the number of the current replay and round.
        steps: the identities of the flow's steps.
        alone: number of a replay, to leave out attempts outside it.
        epochs: maps response ids to the epoch of their content; 1 by default.
    """
    if not rounds:
        return {}
    query = (
        select(attempts)
        .where(dialect_of(connection).is_one_of(attempts.c.response_id, list(rounds)), attempts.c.flow_id == flow_id)
        .order_by(attempts.c.id)
    )
    if alone is not None:
        query = query.where(attempts.c.replay_no == alone)
    found: dict[str, ResponseRecord] = defaultdict(ResponseRecord)
    for row in connection.execute(query):
        record = found[row.response_id]
        record.made.append(
            AttemptSummary(
                row.epoch, row.step, row.visit, row.key, row.fate, row.method, row.status_code, row.replay_no,
                row.origin, row.content,
            )
        )  # fmt: skip
        if row.epoch != (epochs or {}).get(row.response_id, 1):
            continue
        current = (row.replay_no, row.round) == rounds[row.response_id]
        record.note(row, steps, current=current)
    return dict(found)


def attempt_of(row: Row[Any], *, current: bool) -> Attempt:
    """Convert a row to an attempt as the delivery rules see it."""
    return Attempt(
        number=row.number,
        digest=row.digest,
        begun_at=row.begun_at,
        fate=None if row.fate is None else Fate(row.fate),
        result=None if row.result is None else ActionResult.from_value(msgspec.json.decode(row.result)),
        current=current,
        status_code=row.status_code,
    )


def responses_sent_to(connection: Connection, flow_id: str, people: Sequence[Identity]) -> Mapping[str, set[str]]:
    """Find the responses of some people for which a request may have been applied, by identifier, for ``only_once``.

    A renamed step counts under all of its names.

    Args:
        people: identifiers of the people.

    Returns:
        Ids of responses by mark, see :attr:`~airflow_whatsapp_flows.flow.identity.Identity.marks`.
    """
    wanted = {mark for one in people for mark in one.marks}
    if not wanted:
        return {}
    phones = [mark.removeprefix(_PHONE) for mark in wanted if mark.startswith(_PHONE)]
    values = {value for one in people for _, value in one.others} | set(phones)
    applied = (attempts.c.flow_id == flow_id) & attempts.c.method.not_in(SAFE_METHODS) & may_have_been_applied()
    phone = literal(PHONE).label("kind")
    of_replays = (
        select(phone, contacts.c.phone, contacts.c.response_id)
        .join(attempts, attempts.c.response_id == contacts.c.response_id)
        .join(replays, has_replay(replays.c.no))  # another flow may have another person's response under this id
        .where(contacts.c.phone.in_(phones), replays.c.flow_id == flow_id, stands_for_its_person(), applied)
        .distinct()
    )
    of_runs = select(phone, attempts.c.phone, attempts.c.response_id).where(attempts.c.phone.in_(phones), applied)
    of_others = (
        select(identifiers.c.kind, identifiers.c.value, identifiers.c.response_id)
        .join(attempts, attempts.c.response_id == identifiers.c.response_id)
        .where(identifiers.c.value.in_(values), identifiers.c.flow_id == flow_id, applied)
        .distinct()
    )
    found: dict[str, set[str]] = defaultdict(set)
    for query in (of_replays, of_runs, of_others):
        for kind, value, response_id in connection.execute(query):
            found[f"{kind}:{value}"].add(response_id)
    return {mark: ids for mark, ids in found.items() if mark in wanted}


_PHONE = f"{PHONE}:"


class _Who(msgspec.Struct):
    """The parts of a response that identify the contact; other parts are not parsed."""

    contact: dict[str, Any] = {}
    flow_execution_variables: dict[str, Any] = {}


_WHO = msgspec.json.Decoder(_Who)


def _identify(rule: IdentityRule, response: str) -> Identity:
    try:
        who = _WHO.decode(response)
    except msgspec.DecodeError:
        return Identity()
    return rule.of(who.contact, who.flow_execution_variables)

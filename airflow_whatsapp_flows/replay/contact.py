"""Walks one contact of a replay, from its pending row in the ledger to its final state."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from airflow_whatsapp_flows.errors import IntentConflictError, OnceClaimedError, ResponseError
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import CARRIED_OUT_FATES, UNKNOWN_FATES, Delivery
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.messages import MessageRecorder
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, Wait
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.response_content import read_stored_response
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.unchanged import SentWalk
from airflow_whatsapp_flows.flow.walk.walk import State, Walk, Walking, walk
from airflow_whatsapp_flows.ledger.records import PendingContact
from airflow_whatsapp_flows.ledger.rows import ContactEnd, ContactState, Subject
from airflow_whatsapp_flows.replay.comparison import ContactComparison
from airflow_whatsapp_flows.replay.contact_run import ContactRun
from airflow_whatsapp_flows.replay.fingerprints import fingerprint
from airflow_whatsapp_flows.replay.guards import Guards, Later, Skip
from airflow_whatsapp_flows.replay.prior_sends import NotWalked, Postponed, skip_contact
from airflow_whatsapp_flows.replay.send import ContactSender

_NO_VARIABLES = Variables()  # a walk starts with those of its contact
_LARGE = 32_768
"""If a response or reply has more characters than this, the walk runs in a thread."""


@dataclass(slots=True)
class ContactWalker:
    """Walks the contacts of one replay.

    Attributes:
        flow: their flow.
        replay_no: number of the replay.
        sender: performs the effects of walks.
        guards: decide who must not be sent to, or not now.
        epoch: last part of every key: the replay's id if it sends deliberately for a second time, or else the epoch of
            the contact's content.
        resend: whether actions that succeeded on the platform are sent again.
        steps: identities of the flow's steps.
        comparison: finds contacts that would send the same as the last time.
        runs: the contacts being walked, by row number.
    """

    flow: Flow
    replay_no: int
    sender: ContactSender
    guards: Guards
    epoch: str | None = None
    resend: bool = False
    steps: StepIdentities = field(default_factory=StepIdentities)
    comparison: ContactComparison = field(default_factory=ContactComparison)
    clock: Callable[[], float] = time.time
    runs: dict[int, ContactRun] = field(default_factory=dict)

    async def walk(self, contact: PendingContact, sent: SentWalk | None = None) -> NotWalked:
        """Walk a contact to its final state.

        Args:
            sent: what was last sent for the contact, if that is to be compared.

        Raises:
            LedgerError: the ledger cannot be written; the contact stays pending.
        """
        now = self.clock()
        try:
            response = read_stored_response(contact.response)
        except ResponseError as error:
            return ContactEnd(contact.id, ContactState.REJECTED, f"invalid: {error}", now)
        verdict = self.guards.judge(response, dt.datetime.fromtimestamp(now, dt.timezone.utc))
        if isinstance(verdict, Skip):
            return skip_contact(contact, str(verdict), now)
        if sent is not None and await self._is_unchanged(contact, response, sent):
            return ContactEnd(contact.id, ContactState.SKIPPED, sent.reason(contact.response_id), now)
        if isinstance(verdict, Later):
            return Postponed(f"{verdict.reason}: until {verdict.until:%Y-%m-%d %H:%M} UTC", verdict.until)
        run = ContactRun(
            subject=Subject(self.flow.id, contact.response_id),
            replay_no=self.replay_no,
            round=contact.round,
            walk_started_at=contact.record.walk_started_at or now,
            record=contact.record,
            reached=now,
            contact_id=contact.id,
            epoch=contact.epoch,
        )
        if self.flow.only_once and self.epoch is None:
            run.once = self.flow.identity.of(response.contact, response.flow_execution_variables).marks
        record = Walk(_NO_VARIABLES, identities=run.record.identities, messages=MessageRecorder(0))  # nothing reads it
        self.runs[contact.id] = run
        try:
            await self._follow(response, run, record, large=len(contact.response) > _LARGE)
        except IntentConflictError:
            return Postponed("another replay or DAG run is sending the same response")
        except OnceClaimedError as error:
            return self._end_claimed(contact, run, record, str(error))
        finally:
            del self.runs[contact.id]
        return _contact_end(contact, record, run, self.clock())

    async def _is_unchanged(self, contact: PendingContact, response: ContactResponse, sent: SentWalk) -> bool:
        compare = partial(self.comparison.is_unchanged, contact, response, sent, self.clock())
        return await asyncio.to_thread(compare) if len(contact.response) > _LARGE else compare()

    @property
    def in_flight(self) -> int:
        """Number of requests in flight."""
        return sum(run.under_way for run in self.runs.values())

    @property
    def in_flight_by_delivery(self) -> Counter[Delivery]:
        """Number of requests in flight, by what may be done with them when they are cut off."""
        return Counter(run.sent_as for run in self.runs.values() if run.sent_as is not None)

    def _end_claimed(self, contact: PendingContact, run: ContactRun, record: Walk, reason: str) -> ContactEnd:
        """End a contact whose next step was already sent to the same person for another response."""
        fates = {tried.attempt.fate for tried in run.record.tried if self._changes_something(tried.step)}
        state = ContactState.SKIPPED
        if fates & UNKNOWN_FATES:
            state = ContactState.IN_DOUBT
        elif fates & CARRIED_OUT_FATES:
            state = ContactState.FAILED  # part of its walk was sent; the rest is not
        return ContactEnd(contact.id, state, reason, self.clock(), path=_json(record.path))

    def _changes_something(self, name: str) -> bool:
        step = self.flow.steps.get(name)
        return not isinstance(step, Action) or step.plan.method not in SAFE_METHODS

    async def _follow(self, response: ContactResponse, run: ContactRun, record: Walk, *, large: bool) -> None:
        walk_started_at = dt.datetime.fromtimestamp(run.walk_started_at, dt.timezone.utc)
        epoch = self.epoch or run.epoch
        walking = walk(self.flow, response, now=walk_started_at, record=record, epoch=epoch, resend=self.resend)
        # Large answers and replies take a while; other contacts continue meanwhile.
        effect = await asyncio.to_thread(_next, walking, None) if large else _next(walking, None)
        while effect is not None:
            asked, before = effect, len(record.visits)
            done = await self.sender.do(run, effect)
            large = large or run.has_large_reply
            effect = await asyncio.to_thread(_next, walking, done) if large else _next(walking, done)
            if self.flow.loops:
                _drop_contents(record, before)
            if isinstance(asked, Wait) and any(visit.result for visit in record.visits[before:]):
                run.arrive(self.clock())  # the platform has already sent what follows the delay


def _drop_contents(record: Walk, before: int) -> None:
    """Drop the replies of visits that a loop has repeated: nothing reads them, and there may be a hundred."""
    repeated = {(visit.step, visit.number - 1) for visit in record.visits[before:] if visit.number > 1}
    if not repeated:
        return
    for index, visit in enumerate(record.visits):
        result = visit.result
        if (visit.step, visit.number) in repeated and result is not None and result.response is not None:
            record.visits[index] = replace(visit, result=replace(result, response=None))


def _next(walking: Walking, done: EffectResult | None) -> Effect | None:
    """Return the walk's next effect; ``None`` at its end."""
    try:
        return walking.send(done)  # type: ignore[arg-type]  # None starts a generator
    except StopIteration:
        return None


_STATES: dict[State | None, ContactState] = {
    None: ContactState.FAILED,
    **{state: ContactState(state.value) for state in State},
}


def _contact_end(contact: PendingContact, record: Walk, run: ContactRun, now: float) -> ContactEnd:
    state = _STATES[record.state]
    error, print_ = None, None
    step = _step_to_blame(record, run)
    if step is not None:
        host, result = run.errors[step]
        problem = result.error
        if problem is not None:
            found = fingerprint(problem.kind, result.status_code, host, step, problem.message)
            print_ = found.key
            error = _json(
                {
                    "step": step,
                    "kind": problem.kind.value,
                    "message": problem.message,
                    "sent": problem.sent.value,
                    "status_code": result.status_code,
                    "host": host,
                }
            )
    elif state is ContactState.FAILED:
        print_ = fingerprint("flow", None, "", record.path[-1] if record.path else "", record.reason).key
    return ContactEnd(
        contact_id=contact.id,
        state=state,
        reason=record.reason,
        ended_at=now,
        path=_json(record.path),
        error=error,
        fingerprint=print_,
        handled_errors=record.handled_errors,
        unanswered=record.unanswered,
    )


def _step_to_blame(record: Walk, run: ContactRun) -> str | None:
    """Return the step whose error a contact is listed under: the one in doubt, else the last one with an error."""
    if not run.errors:
        return None
    in_doubt = (one.step for one in record.uncertain_requests if one.step in run.errors)
    return next(in_doubt, next(reversed(run.errors), None))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

"""Checks other replays and other responses of the same contact before a contact is walked."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.response_content import is_content
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.unchanged import SentWalk
from airflow_whatsapp_flows.ledger.database import Connection
from airflow_whatsapp_flows.ledger.epochs import (
    AttemptSummary,
    KnownResponse,
    find_known_responses,
    first_in_doubt,
    names_of,
)
from airflow_whatsapp_flows.ledger.known_rows import state_elsewhere
from airflow_whatsapp_flows.ledger.records import PendingContact, responses_sent_to
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactEnd, ContactState
from airflow_whatsapp_flows.ledger.sent_walks import find_sent_walks
from airflow_whatsapp_flows.replay.commands import replay_command

ONLY_ONCE = "only_once: an earlier response of this person was sent"


@dataclass(frozen=True, slots=True)
class Postponed:
    """A contact that stays pending for now.

    Attributes:
        reason: why, for people; equal for contacts that wait for the same thing.
        until: when it may be walked, if known; an aware time.
    """

    reason: str
    until: dt.datetime | None = None


NotWalked = ContactEnd | Postponed
"""The state of a contact that is not walked, and why."""


@dataclass(slots=True)
class PriorFindings:
    """What the ledger knows of some contacts besides their own attempts.

    Attributes:
        held: the contacts that must not be walked, by row number.
        sent: what was last sent for the others or for the same people, by row number, if only changes are sent.
    """

    held: dict[int, NotWalked] = field(default_factory=dict)
    sent: dict[int, SentWalk] = field(default_factory=dict)

    def add(self, more: PriorFindings) -> None:
        """Add what is known of other contacts."""
        self.held.update(more.held)
        self.sent.update(more.sent)


@dataclass(frozen=True, slots=True)
class PriorSends:
    """Finds the contacts of a page that must not be walked now.

    Attributes:
        flow: the replay's flow.
        replay: the running replay.
        force: whether everything is resent intentionally.
    """

    flow: Flow
    replay: Replay
    force: bool = False

    @property
    def only_once(self) -> bool:
        """Whether each person gets each step only once, across responses."""
        return self.flow.only_once

    @property
    def only_changes(self) -> bool:
        """Whether contacts are compared with what was last sent for them."""
        return self.flow.sends_only_changes and not self.force

    @property
    def by_person(self) -> bool:
        """Whether it matters for a contact what was sent for other responses of the same person."""
        return self.only_once or self.only_changes

    def find(self, connection: Connection, contacts: Sequence[PendingContact], steps: StepIdentities) -> PriorFindings:
        """Find what the ledger knows of some contacts.

        Args:
            contacts: contacts of one page.
            steps: identities of the flow's steps.
        """
        found = PriorFindings(self.find_not_walked(connection, contacts))
        if self.only_changes:  # last: what other replays have finished by now is part of it
            waiting = {one.response_id: one for one in contacts if one.id not in found.held}
            people = [(response_id, one.identity) for response_id, one in waiting.items()]
            sent = find_sent_walks(connection.execute, self.flow.id, people, steps)
            found.sent = {waiting[response_id].id: walk for response_id, walk in sent.items()}
        return found

    def find_not_walked(self, connection: Connection, contacts: Sequence[PendingContact]) -> dict[int, NotWalked]:
        """Find the contacts that must not be walked, by row number.

        Args:
            contacts: contacts of one page.
        """
        held: dict[int, NotWalked] = {}
        if self.force or not contacts:
            return held
        ids = [contact.response_id for contact in contacts]
        own = self.replay.no
        known = find_known_responses(connection, self.flow.id, ids, of_runs=False, apart_from=own)  # records have runs
        people = [contact.identity for contact in contacts] if self.only_once else []
        sent = responses_sent_to(connection, self.flow.id, people)
        for contact in contacts:
            others = known.get(contact.response_id, [])
            if not (others or contact.record.made or sent):
                continue
            found = self._check_other_replays(contact, others) or self._check_other_content(contact, others)
            if found is None and any(sent.get(mark, set()) - {contact.response_id} for mark in contact.identity.marks):
                found = skip_contact(contact, ONLY_ONCE, time.time())
            if found is not None:
                held[contact.id] = found
        return held

    def _check_other_replays(self, contact: PendingContact, others: Sequence[KnownResponse]) -> NotWalked | None:
        return next((held for other in others if (held := self._check_replay(contact, other)) is not None), None)

    def _check_replay(self, contact: PendingContact, other: KnownResponse) -> NotWalked | None:
        elsewhere = state_elsewhere(other) if other.epoch == contact.epoch else None
        if elsewhere is not None:
            return ContactEnd(contact.id, *elsewhere, time.time())
        is_older = other.replay_no is not None and other.replay_no < self.replay.no
        if is_older and other.state is ContactState.PENDING and other.epoch <= contact.epoch:
            # If two replays wait for each other, the older one goes first; otherwise the contact would never be sent.
            command = f"whatsapp-flows {replay_command('retry', other.replay_id)}"
            held = "`replay run … --release` if it is held there"
            return Postponed(f"pending in the replay {other.replay_id}: `{command}` resumes it, or {held}")
        return None

    def _check_other_content(self, contact: PendingContact, others: Sequence[KnownResponse]) -> NotWalked | None:
        """Return what holds a contact back because its response was or is being sent with other content."""
        made = contact.record.made
        newer = next((one for one in made if one.epoch > contact.epoch), None)
        newest = next((one for one in others if one.epoch > contact.epoch and one.sent), None)
        waiting = next((one for one in others if one.epoch > contact.epoch and one.state is ContactState.PENDING), None)
        if newer is None and waiting is not None:
            # Doubts about this content may be resolved first; the newer content waits for that.
            own = [one for one in made if one.epoch == contact.epoch]
            waiting = None if first_in_doubt(own) else waiting
        newer_elsewhere = waiting or newest
        if newer is not None or newer_elsewhere is not None:
            where = newer_elsewhere.where if newer is None and newer_elsewhere else _where(newer, others)
            reason = f"superseded: {where} has newer content of this response; the older content is no longer sent"
            return ContactEnd(contact.id, ContactState.SKIPPED, reason, time.time())
        doubtful = first_in_doubt([one for one in made if one.epoch < contact.epoch])
        if doubtful is not None:
            return ContactEnd(contact.id, ContactState.IN_DOUBT, self._doubt_reason(doubtful, others), time.time())
        taken = next((one for one in made if one.epoch == contact.epoch and _differs(one, contact)), None)
        if taken is not None:  # both were started at the same time; the next replay determines the newer one
            reason = f"id_reused: {_where(taken, others)} sent different content of this response at the same time"
            return ContactEnd(contact.id, ContactState.REJECTED, f"{reason}; run it in another replay", time.time())
        return None

    def _doubt_reason(self, doubtful: AttemptSummary, others: Sequence[KnownResponse]) -> str:
        what = f"{_where(doubtful, others)} may have sent earlier content of this response (step {doubtful.step})"
        name = names_of(others).get(doubtful.replay_no or 0) or self.replay.id
        again = replay_command("retry", self.replay.id, options="--state in_doubt")
        return (
            f"in doubt: {what}, and it is unknown whether it arrived; resolve it with "
            f"`{replay_command('resolve', name)}`, then `{again}` sends the newer content"
        )


def skip_contact(contact: PendingContact, reason: str, now: float) -> ContactEnd:
    """Return the outcome of a contact that a guard stops; if earlier requests are in doubt, it stays in doubt."""
    doubtful = first_in_doubt([one for one in contact.record.made if one.epoch == contact.epoch])
    if doubtful is None:
        return ContactEnd(contact.id, ContactState.SKIPPED, reason, now)
    doubt = f"in doubt: {doubtful.step} was sent before, and it is unknown whether it arrived; the rest is not sent"
    return ContactEnd(
        contact.id, ContactState.IN_DOUBT, f"{doubt}, for: {reason}", now, path=json.dumps([doubtful.step])
    )


def _where(made: AttemptSummary | None, known: Sequence[KnownResponse]) -> str:
    if made is None or made.replay_no is None:
        return f"the DAG run {made.run_id if made else ''}"
    return f"the replay {names_of(known).get(made.replay_no, made.replay_no)}"


def _differs(made: AttemptSummary, contact: PendingContact) -> bool:
    if made.content in (None, contact.digest) or contact.digest is None or not contact.response:
        return False
    return not is_content(read_response(msgspec.json.decode(contact.response)), made.content)

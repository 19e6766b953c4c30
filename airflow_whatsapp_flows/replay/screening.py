"""What other replays and other responses of the same contact say, before a contact is walked."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.known_rows import done_by
from airflow_whatsapp_flows.ledger.records import PendingContact, responses_sent_to
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactEnd, ContactState
from airflow_whatsapp_flows.ledger.snapshots import Known, known_responses

ONLY_ONCE = "only_once: an earlier response of this person was sent"


@dataclass(frozen=True, slots=True)
class Postponed:
    """A contact that stays pending for now.

    Attributes:
        reason: why, for people; equal for contacts that wait for the same.
        until: when it may be walked, if that is known; an aware time.
    """

    reason: str
    until: dt.datetime | None = None


Held = ContactEnd | Postponed
"""What becomes of a contact that is not walked."""


@dataclass(frozen=True, slots=True)
class Screening:
    """Finds the contacts of a page that are not to be walked now.

    Attributes:
        flow: of the replay.
        replay: that runs.
        only_once: whether a person gets each step once, whatever the response.
        force: whether everything is sent again on purpose.
    """

    flow: Flow
    replay: Replay
    only_once: bool = False
    force: bool = False

    def hold(self, connection: Connection, contacts: Sequence[PendingContact]) -> dict[int, Held]:
        """Contacts that are not to be walked, by row number.

        Args:
            connection: of the ledger.
            contacts: of one page.
        """
        held: dict[int, Held] = {}
        if self.force or not contacts:
            return held
        known = known_responses(connection, self.flow.id, [contact.response_id for contact in contacts])
        people = [contact.identity for contact in contacts] if self.only_once else []
        sent = responses_sent_to(connection, self.flow.id, people)
        for contact in contacts:
            others = [one for one in known.get(contact.response_id, []) if one.replay_no != self.replay.no]
            found = self._elsewhere(contact, others)
            if found is None and any(sent.get(mark, set()) - {contact.response_id} for mark in contact.identity.marks):
                found = ContactEnd(contact.id, ContactState.SKIPPED, ONLY_ONCE, time.time())
            if found is not None:
                held[contact.id] = found
        return held

    def _elsewhere(self, contact: PendingContact, others: Sequence[Known]) -> Held | None:
        return next((held for other in others if (held := self._held_by(contact, other)) is not None), None)

    def _held_by(self, contact: PendingContact, other: Known) -> Held | None:
        if other.state is ContactState.COMPLETED:
            return ContactEnd(contact.id, ContactState.SKIPPED, done_by(other.replay_id), time.time())
        if other.state is ContactState.IN_DOUBT:
            reason = f"in doubt in the replay {other.replay_id}; resolve it there, with `replay resolve`"
            return ContactEnd(contact.id, ContactState.IN_DOUBT, reason, time.time())
        if other.state is ContactState.PENDING and other.replay_no < self.replay.no:
            # Two replays that both wait for each other would leave a contact behind: the older one goes first.
            command = f"whatsapp-flows replay retry {other.replay_id}"
            return Postponed(f"pending in the replay {other.replay_id}: `{command}` goes on with it")
        return None

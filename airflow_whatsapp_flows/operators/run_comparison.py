"""Whether a DAG run would send what was last sent for its contact, under ``send_when: changed``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.walk.perform import SendAction
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.unchanged import Comparison, SentWalk
from airflow_whatsapp_flows.ledger.records import ResponseRecord
from airflow_whatsapp_flows.ledger.task_store import TaskLedger, Transaction
from airflow_whatsapp_flows.operators.task_record import Recipient


@dataclass(slots=True)
class RunComparison:
    """Compares the contact of a DAG run with what was last sent for it.

    Attributes:
        flow: of the DAG.
        response: of the run.
        recipient: the run's contact.
    """

    flow: Flow
    response: ContactResponse
    recipient: Recipient
    _same: SentWalk | None = None

    def compare(self, ledger: TaskLedger, complete: Callable[[SendAction], HttpRequest]) -> bool:
        """Return whether the run would send what was last sent for the contact.

        Args:
            ledger: of the task.
            complete: adds to the request of an action what its connection adds.
        """
        if not self.flow.sends_only_changes:
            return False
        with ledger.transaction() as transaction:
            sent = self._read(transaction)
        comparison, now = Comparison(self.flow, complete), self.recipient.walk_started_at
        self._same = sent if sent is not None and comparison.is_unchanged(self.response, sent, now) else None
        return self._same is not None

    def confirm(self, transaction: Transaction) -> SentWalk | None:
        """Return what the run would send again, if nothing else was sent for the contact since it was compared."""
        return self._same if self._same is not None and self._read(transaction) == self._same else None

    def _read(self, transaction: Transaction) -> SentWalk | None:
        """Return what was last sent for the contact; ``None`` if there is nothing to compare the run with."""
        subject, recipient = self.recipient.subject, self.recipient
        if recipient.steps is None:
            return None
        record = ResponseRecord()
        for row in transaction.attempts(subject):
            if row.epoch == recipient.epoch:
                record.note(row, recipient.steps, current=False)
        if record.has_effect(self.flow):
            return None  # its walk has reached a server, and continues
        sent = transaction.sent_walk(subject, recipient.identity, recipient.steps)
        if sent is not None and sent.response_id != subject.response_id and self.flow.replies_read:
            return None  # replies to another response do not get into this run
        return sent

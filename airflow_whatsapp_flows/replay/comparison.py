"""The comparison of contacts with what was last sent for them, in a replay and in its plan."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.walk.perform import SendAction
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.unchanged import UNCHANGED, Comparison, SentWalk
from airflow_whatsapp_flows.ledger.records import PendingContact
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.sender import RequestSender

UNCHANGED_ROWS = f"{UNCHANGED}: the same requests were sent last, and succeeded"
"""Reason of such contacts in a plan."""


@dataclass(frozen=True, slots=True)
class ContactComparison:
    """Compares contacts of a replay with what was last sent for them.

    Attributes:
        comparison: of their flow; ``None`` if contacts that have not changed are sent too.
    """

    comparison: Comparison | None = None

    def is_unchanged(
        self, contact: PendingContact, response: ContactResponse, sent: SentWalk | None, now: float
    ) -> bool:
        """Whether a contact would send what was last sent. One whose walk has reached a server continues it.

        Args:
            response: of the contact.
            sent: what was last sent for the contact; ``None`` if there is nothing to compare with.
            now: epoch seconds; when the walk starts, unless it has started before.
        """
        record = contact.record
        if self.comparison is None or sent is None or record.has_effect(self.comparison.flow):
            return False
        moment = dt.datetime.fromtimestamp(record.walk_started_at or now, dt.timezone.utc)
        return self.comparison.is_unchanged(response, sent, moment)


def comparison_of(flow: Flow, request_sender: RequestSender, run: RunSettings) -> ContactComparison:
    """Return the comparison of a run; it finds nothing if the run also sends contacts that have not changed."""
    if not flow.sends_only_changes or run.force:
        return ContactComparison()
    connections: dict[str, ActionConnection] = {}

    def complete(effect: SendAction) -> HttpRequest:
        conn_id = effect.request.connection
        if not conn_id:
            return effect.request
        if conn_id not in connections:
            connections[conn_id] = request_sender.find_connection(conn_id)
        return connections[conn_id].absolute(effect.request)

    return ContactComparison(Comparison(flow, complete, run.resend))

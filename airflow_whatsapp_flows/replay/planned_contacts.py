"""Contacts that a run would walk: of a replay that does not exist yet, or page by page of one that does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.records import Page, PendingContact, read_pending_contacts
from airflow_whatsapp_flows.ledger.replays import Replay, find_pending_chunks
from airflow_whatsapp_flows.ledger.retry import SelectedContacts

_SIZE = 500

# Its number is after all others.
NEW_REPLAY = Replay(
    no=2**31 - 1, id="(new)", flow_id="", flow="", source="", source_mark=None, options={}, note=None,
    created_at=0.0, started_at=None, ended_at=None, sealed=False,
)  # fmt: skip
"""A replay that does not exist yet."""


@dataclass(frozen=True, slots=True)
class ContactPages:
    """The pending contacts of a replay, and those that would become pending.

    Attributes:
        steps: the identities of the flow's steps.
        forced: whether the replay resends intentionally.
        selected: contacts that would be walked again.
    """

    ledger: Ledger
    flow: Flow
    replay: Replay
    steps: StepIdentities
    forced: bool
    selected: SelectedContacts | None

    @property
    def chunks(self) -> list[int]:
        """Numbers of their chunks, in order."""
        return sorted(
            {*find_pending_chunks(self.ledger, self.replay.no), *(self.selected.chunks if self.selected else ())}
        )

    def __iter__(self) -> Iterator[list[PendingContact]]:
        """Iterate over pages of contacts."""
        left_out = self.selected.left_out if self.selected else ()
        for chunk in self.chunks:
            after = 0
            while found := self._read(chunk, after):
                yield [contact for contact in found if contact.id not in left_out]
                after = found[-1].id

    def _read(self, chunk: int, after: int) -> list[PendingContact]:
        also = self.selected.where if self.selected else None
        page = Page(
            self.flow.id, self.replay.no, chunk, after, _SIZE, self.forced, self.flow.identity, self.steps, also
        )
        with self.ledger.read() as connection:
            return read_pending_contacts(connection, page)

"""One contact while it is walked: what was sent for it, and what is in flight."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.ledger.records import ResponseRecord
from airflow_whatsapp_flows.ledger.rows import Subject


class ContactRun(Struct):
    """One contact, being walked.

    Attributes:
        subject: flow and response.
        replay_no: number of the replay.
        round: of the contact.
        walk_started_at: when its walk first started, epoch seconds.
        record: all its attempts so far; new ones are added.
        under_way: whether a request may be in flight; if so, it is canceled only if necessary.
        sent_as: what may be done with the request in flight when it is cut off; ``None`` if there is none.
        errors: each step's last error result, with its host; the latest is last.
        reached: when the contact reached its current step, epoch seconds.
        once: marks of the contact to claim with each request, under ``only_once``.
        contact_id: number of its row.
        epoch: of the response's content.
        has_large_reply: whether one of its replies is so large that its walk runs in a thread.
        wait_until: when it may continue, epoch seconds; ``None`` without a delay before its next request.
    """

    subject: Subject
    replay_no: int
    round: int
    walk_started_at: float
    record: ResponseRecord
    reached: float
    contact_id: int = 0
    under_way: bool = False
    sent_as: Delivery | None = None
    errors: dict[str, tuple[str, ActionResult]] = msgspec.field(default_factory=dict)
    has_large_reply: bool = False
    wait_until: float | None = None
    once: tuple[str, ...] = ()
    epoch: int = 1

    def note_error(self, step: str, host: str, result: ActionResult) -> None:
        """Record a step's result; an error becomes the latest."""
        self.errors.pop(step, None)
        self.errors[step] = host, result

    def arrive(self, moment: float) -> None:
        """Record that the contact reached another step: every delay before it is over."""
        self.reached, self.wait_until = moment, None

    def delay(self, now: float) -> float:
        """Return the seconds that the flow waits before its next request."""
        return 0.0 if self.wait_until is None else self.wait_until - now

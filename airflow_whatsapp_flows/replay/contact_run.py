"""One contact while it is walked: what was sent for it, and what is on its way."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.ledger.records import ResponseRecord
from airflow_whatsapp_flows.ledger.rows import Subject


@dataclass(slots=True)
class ContactRun:
    """One contact, being walked.

    Attributes:
        subject: flow and response.
        replay_no: number of the replay.
        round: of the contact.
        walk_started_at: when its walk first began, epoch seconds.
        record: every attempt made for it so far; attempts made now are added.
        under_way: whether a request may be on its way: then it must not be dropped without need.
        sent_as: what may happen to the request on its way when it is cut off; ``None`` while none is on its way.
        errors: the last result of each step that was an error, and the host that it was of; the latest stands last.
        reached: when the contact came to the step that it is at, epoch seconds.
        once: marks of the contact to be claimed with each request, under ``only_once``.
        contact_id: number of its row.
        epoch: of the response's content.
        wait_until: when it may be gone on with, epoch seconds; ``None`` where no delay stands before its next request.
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
    errors: dict[str, tuple[str, ActionResult]] = field(default_factory=dict)
    wait_until: float | None = None
    once: tuple[str, ...] = ()
    epoch: int = 1

    def note_error(self, step: str, host: str, result: ActionResult) -> None:
        """Note what a step ended with; it is the latest error then."""
        self.errors.pop(step, None)
        self.errors[step] = host, result

    def arrive(self, moment: float) -> None:
        """Note when the contact came to another step: every delay before it is over."""
        self.reached, self.wait_until = moment, None

    def delay(self, now: float) -> float:
        """Seconds for which the flow has it wait before its next request."""
        return 0.0 if self.wait_until is None else self.wait_until - now

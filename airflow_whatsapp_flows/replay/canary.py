"""What came of a replay's canary: the contacts that were sent first, before anybody released the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.holds import Hold, count_sendable, hold_of, without_hold
from airflow_whatsapp_flows.ledger.replays import Replay, tally
from airflow_whatsapp_flows.ledger.reply_shapes import ReplyShapes, StepReply, reply_shapes
from airflow_whatsapp_flows.ledger.rows import ContactState

_MOST_ROWS = 30
EXIT_HEAD = ("step", "exit", "visits")
REPLY_HEAD = ("step", "status", "content type", "top-level keys", "replies")


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """What came of a canary.

    Attributes:
        hold: the contacts that were sent first.
        total: number of contacts in the replay.
        pending: number of contacts of the canary that are pending.
        held: number of contacts that are held.
        others: how many of these are sent if the canary is released: a limit may hold some.
        shapes: what servers answered.
    """

    hold: Hold
    total: int
    pending: int
    held: int
    others: int
    shapes: ReplyShapes

    @property
    def headline(self) -> str:
        """The numbers of contacts, one sentence without a full stop."""
        ended = f", {self.pending:,} of them pending" if self.pending else ""
        return f"{self.hold.size:,} contacts{ended}; {self.held:,} of {self.total:,} are held"

    @property
    def exits(self) -> Sequence[tuple[str, str, int]]:
        """Rows for :data:`EXIT_HEAD`."""
        return [(*key, count) for key, count in self.shapes.exits.most_common(_MOST_ROWS)]

    @property
    def replies(self) -> Sequence[tuple[str, str, str, str, int]]:
        """Rows for :data:`REPLY_HEAD`."""
        return [
            (reply.step, _status(reply), reply.shape.media_type, ", ".join(reply.shape.keys), count)
            for reply, count in self.shapes.replies.most_common(_MOST_ROWS)
        ]

    @property
    def remark(self) -> str:
        """What the tables leave out; empty if nothing."""
        ended = self.hold.size - self.pending
        return f"Replies of the first {self.shapes.read:,} contacts" if self.shapes.read < ended else ""


def canary_report(ledger: Ledger, replay: Replay) -> CanaryReport | None:
    """Read what came of the canary of a replay; ``None`` if it has none, or it was released.

    Args:
        replay: as it is in the ledger now.
    """
    hold = hold_of(replay, "canary")
    if hold is None or hold.is_released:
        return None
    counted = tally(ledger, replay.no)
    pending = counted.states[ContactState.PENDING]
    sendable = count_sendable(ledger, replay, pending)
    others = count_sendable(ledger, without_hold(replay, "canary"), pending) - sendable
    return CanaryReport(hold, counted.total, sendable, pending - sendable, others, reply_shapes(ledger, replay, hold))


def canary_value(report: CanaryReport) -> dict[str, Any]:
    """Convert a report to plain data; it contains no personal data."""
    return {
        "size": report.hold.size,
        "pending": report.pending,
        "held": report.held,
        "states": {state.value: count for state, count in report.shapes.states.items()},
        "exits": [{"step": step, "exit": exit_, "visits": count} for step, exit_, count in report.exits],
        "replies": [
            {
                "step": reply.step,
                "status": reply.status,
                "content_type": reply.shape.media_type or None,
                "keys": list(reply.shape.keys),
                "count": count,
            }
            for reply, count in report.shapes.replies.most_common(_MOST_ROWS)
        ],
    }


def _status(reply: StepReply) -> str:
    return "no reply" if reply.status is None else str(reply.status)

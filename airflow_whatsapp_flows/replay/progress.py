"""What one run of a replay has done so far."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.prior_sends import Postponed


@dataclass(slots=True)
class Progress:
    """What one run has done so far.

    Attributes:
        ended: contacts by the state they ended in.
        postponed: contacts that stay pending, by the reason.
        until: those of them that wait for a known moment, by that moment.
        fingerprints: errors by fingerprint.
        stopped: why the run was stopped before its end.
        needs_help: whether it was stopped for a reason that a person has to remove first.
        spent: whether it was stopped since too many contacts failed.
        cut_off: requests that were on their way when it was stopped, by what may happen to them.
    """

    ended: Counter[ContactState] = field(default_factory=Counter)
    postponed: Counter[str] = field(default_factory=Counter)
    until: Counter[dt.datetime] = field(default_factory=Counter)
    fingerprints: Counter[str] = field(default_factory=Counter)
    stopped: str | None = None
    needs_help: bool = False
    spent: bool = False
    cut_off: Counter[Delivery] = field(default_factory=Counter)

    @property
    def ended_count(self) -> int:
        """Contacts that ended."""
        return sum(self.ended.values())

    @property
    def first_until(self) -> dt.datetime | None:
        """When the first contact that was postponed may be walked, as far as that is known."""
        return min(self.until, default=None)

    @property
    def last_until(self) -> dt.datetime | None:
        """When the last one may be."""
        return max(self.until, default=None)

    @property
    def cut_off_told(self) -> str | None:
        """What becomes of the requests that were cut off, one sentence for people; ``None`` when there are none."""
        number, in_doubt = self.cut_off.total(), self.cut_off[Delivery.AT_MOST_ONCE]
        if not number:
            return None
        parts = [f"{in_doubt:,} will be in doubt, because they may have arrived"] if in_doubt else []
        parts += [f"{number - in_doubt:,} will be sent again, as their delivery allows"] if number > in_doubt else []
        return f"{'1 request was' if number == 1 else f'{number:,} requests were'} under way: {', '.join(parts)}"

    def postpone(self, held: Postponed) -> None:
        """Count one more contact that stays pending."""
        self.postponed[held.reason] += 1
        if held.until is not None:
            self.until[held.until] += 1

"""The progress of one run of a replay."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.prior_sends import Postponed


@dataclass(slots=True)
class Progress:
    """The progress of one run.

    Attributes:
        ended: number of contacts by final state.
        postponed: number of contacts that stay pending, by reason.
        until: number of those that wait until a known time, by time.
        stopped: why the run stopped early.
        needs_help: whether a person must fix something before it is resumed.
        spent: whether it stopped because too many contacts failed.
        cut_off: number of requests in flight when it stopped, by delivery.
    """

    ended: Counter[ContactState] = field(default_factory=Counter)
    postponed: Counter[str] = field(default_factory=Counter)
    until: Counter[dt.datetime] = field(default_factory=Counter)
    stopped: str | None = None
    needs_help: bool = False
    spent: bool = False
    cut_off: Counter[Delivery] = field(default_factory=Counter)

    @property
    def ended_count(self) -> int:
        """Number of contacts that ended."""
        return sum(self.ended.values())

    @property
    def first_until(self) -> dt.datetime | None:
        """When the first postponed contact may be walked, if known."""
        return min(self.until, default=None)

    @property
    def last_until(self) -> dt.datetime | None:
        """When the last postponed contact may be walked, if known."""
        return max(self.until, default=None)

    @property
    def cut_off_text(self) -> str | None:
        """What happens to the requests that were cut off, one sentence for people; ``None`` if there are none."""
        number, in_doubt = self.cut_off.total(), self.cut_off[Delivery.AT_MOST_ONCE]
        if not number:
            return None
        parts = [f"{in_doubt:,} will be in doubt, because they may have arrived"] if in_doubt else []
        parts += [f"{number - in_doubt:,} will be sent again, as their delivery allows"] if number > in_doubt else []
        return f"{'1 request was' if number == 1 else f'{number:,} requests were'} under way: {', '.join(parts)}"

    def postpone(self, held: Postponed) -> None:
        """Count a contact that stays pending."""
        self.postponed[held.reason] += 1
        if held.until is not None:
            self.until[held.until] += 1

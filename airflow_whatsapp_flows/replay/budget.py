"""Limits on failed contacts and handled errors, after which a batch stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from airflow_whatsapp_flows.ledger.replays import Tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.option_checks import HandledErrors

_WALKED = (ContactState.PENDING, ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT)


def max_handled(limit: HandledErrors, walked: int) -> int:
    """Return how many contacts may complete through an error exit.

    Args:
        limit: as :func:`~airflow_whatsapp_flows.replay.option_checks.read_handled_errors` returns it.
        walked: contacts of the batch that were neither rejected nor skipped.
    """
    return limit if isinstance(limit, int) else int(walked * float(limit.rstrip("%")) / 100 + 1e-9)


def count_walked(tally: Tally) -> int:
    """Count the contacts of a batch that are walked or pending: neither rejected nor skipped."""
    return sum(tally.states[state] for state in _WALKED)


def too_many_handled(limit: HandledErrors | None, tally: Tally) -> str | None:
    """Return why a finished batch is not a success although its contacts completed; ``None`` if it is.

    Args:
        limit: limit of handled errors; ``None`` for the default: at least one completed contact took no error exit.
        tally: counts of the batch.
    """
    handled, completed = tally.handled, tally.states[ContactState.COMPLETED]
    if limit is None:
        if not handled or handled < completed:
            return None
        who = "the contact" if handled == 1 else f"every one of {handled:,} contacts"
        return f"{who} that completed took an error exit (max_handled_errors sets how many may)"
    allowed = max_handled(limit, count_walked(tally))
    return None if handled <= allowed else _over(handled, limit, allowed)


def _over(handled: int, limit: HandledErrors, allowed: int) -> str:
    contacts = "1 contact" if handled == 1 else f"{handled:,} contacts"
    of_walked = f", {allowed:,} contacts" if isinstance(limit, str) else ""
    return f"{contacts} took an error exit, and max_handled_errors allows {limit}{of_walked}"


class Budget(Protocol):
    """How many contacts may fail or take an error exit."""

    def note_failed(self) -> None:
        """Count a contact that failed."""

    def note_handled(self) -> None:
        """Count a contact that completed through an error exit."""

    @property
    def stop_reason(self) -> str | None:
        """Why the batch must stop, one sentence for people; ``None`` while it may continue."""


@dataclass(slots=True)
class FailureBudget:
    """Counts contacts that failed or took an error exit, and stops the batch if there are too many.

    Attributes:
        max_failures: contacts that may fail; ``None`` for any number.
        failed: contacts that failed, including earlier runs.
        max_handled_errors: contacts that may take an error exit; ``None`` for any number.
        handled: contacts that completed through an error exit, including earlier runs.
        walked: contacts of the batch, the base of a percentage.
    """

    max_failures: int | None = None
    failed: int = 0
    max_handled_errors: HandledErrors | None = None
    handled: int = 0
    walked: int = 0

    def note_failed(self) -> None:
        """Count a contact that failed."""
        self.failed += 1

    def note_handled(self) -> None:
        """Count a contact that completed through an error exit."""
        self.handled += 1

    @property
    def stop_reason(self) -> str | None:
        """Why the batch must stop, one sentence for people; ``None`` while it may continue."""
        if self.max_failures is not None and self.failed > self.max_failures:
            contacts = "1 contact" if self.failed == 1 else f"{self.failed} contacts"
            return (
                f"{contacts} failed, and max_failures allows {self.max_failures}: `replay retry` sends these again; "
                "raise max_failures to allow more"
            )
        if self.max_handled_errors is None:
            return None
        allowed = max_handled(self.max_handled_errors, self.walked)
        if self.handled <= allowed:
            return None
        reason = _over(self.handled, self.max_handled_errors, allowed)
        return f"{reason}: `replay retry --handled` sends these again; raise max_handled_errors to allow more"

"""How many contacts may fail before a batch is not worth going on with."""

from __future__ import annotations


class FailureBudget:
    """Counts the contacts that failed, and says when there are too many.

    Args:
        max_failures: contacts that may fail; ``None`` for any number.
        failed: contacts that failed already, when a batch goes on.
    """

    def __init__(self, max_failures: int | None, *, failed: int = 0) -> None:
        self._max_failures = max_failures
        self._failed = failed

    def note_failed(self) -> None:
        """Count one more contact that ended as failed, or in doubt."""
        self._failed += 1

    @property
    def stop_reason(self) -> str | None:
        """Why the batch is to stop, one sentence for people; ``None`` while it may go on."""
        if self._max_failures is None or self._failed <= self._max_failures:
            return None
        contacts = "1 contact" if self._failed == 1 else f"{self._failed} contacts"
        return (
            f"{contacts} failed, and max_failures allows {self._max_failures}: `replay retry` sends these again, and a "
            "higher max_failures lets more fail"
        )

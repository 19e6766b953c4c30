"""Counts the refusals of all workers until the first success, which shows that a server does not refuse everything."""

from __future__ import annotations

from collections import Counter

from airflow_whatsapp_flows.replay.breaker import BatchStoppedError
from airflow_whatsapp_flows.replay.refusals import CREDENTIALS_IN_A_ROW, STEP_IN_A_ROW, Account, Refusal


class FirstRefusals:
    """Detects that a server refuses the credentials, or every request of a step, from the start.

    Args:
        workers: number of workers.
    """

    def __init__(self, workers: int) -> None:
        # A host that has answered nothing else gets no more from each of them, see Breaker.
        self._credentials_of_each = max(1, CREDENTIALS_IN_A_ROW // workers)
        self._workers = workers
        self._last: dict[Account | str, Refusal] = {}
        self._counts: Counter[Account | str] = Counter()
        self._accepted: set[Account | str] = set()

    @property
    def due(self) -> Refusal | None:
        """The refusal after which the batch must stop, if there is one."""
        return next((one for what, one in self._last.items() if self._counts[what] >= self._limit(one)), None)

    def stop_for(self, refusal: Refusal) -> BatchStoppedError:
        """Return why the batch must stop."""
        return refusal.stop_after(self._counts[_what(refusal)])

    def accept(self, what: Account | str) -> None:
        """Record that the credentials of an account, or a request of a step, were accepted."""
        self._accepted.add(what)
        self._last.pop(what, None)

    def note(self, refusal: Refusal) -> None:
        """Count a refusal."""
        what = _what(refusal)
        if what not in self._accepted:
            self._counts[what] += 1
            self._last[what] = refusal

    def leave(self) -> None:
        """Record that a worker has ended, because there is nothing left for it to do."""
        self._workers -= 1

    def _limit(self, refusal: Refusal) -> int:
        return STEP_IN_A_ROW if refusal.step is not None else max(1, self._workers) * self._credentials_of_each


def _what(refusal: Refusal) -> Account | str:
    return refusal.account if refusal.step is None else refusal.step

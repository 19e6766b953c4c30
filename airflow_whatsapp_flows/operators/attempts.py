"""What earlier tries of a task are known to have sent.

A worker may be killed between sending a request and saying so. Airflow then starts the task again, and only a
note that was written before the first byte tells that something may be under way. Where Airflow keeps state
across tries (3.3), the note is kept there; where it does not, a second try of a request that may not be sent
twice sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.flow.delivery import Delivery, Fate

_KEY = "whatsapp_flows_attempt"
_MAX_RECORD = 65_536


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of the tries before this one.

    Attributes:
        fate: ``None`` when there was none.
        attempts: requests made so far.
        digest: of the last request; see :meth:`HttpRequest.digest`.
        result: of a success, when it was small enough to be kept.
    """

    fate: Fate | None = None
    attempts: int = 0
    digest: str | None = None
    result: Mapping[str, Any] | None = None


class Attempts:
    """The notes of one task instance.

    Args:
        context: Airflow's context of the running task.
        delivery: of its action.
    """

    def __init__(self, context: Mapping[str, Any], delivery: Delivery) -> None:
        self._store = context.get("task_state_store")
        self._try_number = getattr(context.get("ti"), "try_number", 1) or 1
        self._careful = delivery is Delivery.AT_MOST_ONCE

    @property
    def may_retry(self) -> bool:
        """Whether a later try could know what this one did."""
        return not self._careful or self._store is not None

    def earlier(self) -> Earlier:
        """What is known of the tries before this one."""
        if self._store is None:
            return Earlier(Fate.UNKNOWN if self._careful and self._try_number > 1 else None)
        note = self._store.get(_KEY)
        if not isinstance(note, Mapping):
            return Earlier()
        return Earlier(Fate(note["fate"]), int(note["attempts"]), note.get("digest"), note.get("result"))

    def intend(self, attempts: int, digest: str) -> None:
        """Note, before the first byte, that a request is about to be sent."""
        self._write({"fate": Fate.UNKNOWN.value, "attempts": attempts, "digest": digest})

    def conclude(self, fate: Fate, attempts: int, digest: str, result: Mapping[str, Any] | None = None) -> None:
        """Note what came of it."""
        note: dict[str, Any] = {"fate": fate.value, "attempts": attempts, "digest": digest}
        if result is not None and len(json.dumps(result)) <= _MAX_RECORD:
            note["result"] = dict(result)
        self._write(note)

    def _write(self, note: dict[str, Any]) -> None:
        if self._store is not None:
            self._store.set(_KEY, note)

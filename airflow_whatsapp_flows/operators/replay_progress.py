"""The progress of a running replay: in the task's log, in Airflow's task state store, and as metrics."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Context

from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators.metrics import Metrics
from airflow_whatsapp_flows.replay.engine import Engine

PROGRESS = "progress"
"""Key in the task state store."""
REPORT_SECONDS = 10.0
"""Seconds between two reports."""
LAST_SAVE_SECONDS = 1.0
"""Seconds that a task which has ended waits for the store."""


class ProgressReport:
    """Reports the progress of one run.

    Args:
        log: of the task.
        context: Airflow's, of the running task.
        total: number of contacts that are pending at the start.
        metrics: of the task; ``None`` if Airflow sends them nowhere.
    """

    def __init__(self, log: Any, context: Context, total: int, metrics: Metrics | None = None) -> None:
        self._log = log
        self._store: Any = context.get("task_state_store")  # none on Airflow 3.2
        self._total = total
        self._metrics = metrics
        self._begun = time.monotonic()
        self._saving: threading.Thread | None = None

    async def run(self, engine: Engine) -> None:
        """Report at intervals, until cancelled."""
        while True:
            self.save_meanwhile(dict(engine.progress.ended))
            await asyncio.sleep(REPORT_SECONDS)
            self._write_line(engine.progress.ended)
            self.send_metrics(engine.progress.ended)

    def save_meanwhile(self, ended: Mapping[ContactState, int]) -> None:
        """Save the progress in a thread that nobody waits for; nothing while the last save still takes its time."""
        if self._store is not None and (self._saving is None or not self._saving.is_alive()):
            self._saving = threading.Thread(target=self.save, args=(ended,), daemon=True)
            self._saving.start()

    def save_last(self, ended: Mapping[ContactState, int]) -> None:
        """Save the progress at the end, if that takes no longer than :data:`LAST_SAVE_SECONDS`."""
        for _ in range(2):  # the save that is going on, then this one
            self.save_meanwhile(ended)
            if self._saving is not None:
                self._saving.join(LAST_SAVE_SECONDS / 2)

    def send_metrics(self, ended: Mapping[ContactState, int]) -> None:
        """Send the metrics of what happened since the last time.

        Args:
            ended: number of contacts by final state.
        """
        if self._metrics is not None:
            self._metrics.note_contacts(ended)
            self._metrics.send()

    def save(self, ended: Mapping[ContactState, int]) -> None:
        """Save the progress where Airflow's pages show it while the task runs.

        Args:
            ended: number of contacts by final state.
        """
        if self._store is None:
            return
        try:
            self._store.set(PROGRESS, self._value(ended))
        except Exception as error:  # whatever its backend raises
            self._store = None
            self._log.warning("the progress is only logged: the task state store cannot be written: %s", error)

    def _value(self, ended: Mapping[ContactState, int]) -> dict[str, Any]:
        done, rate = sum(ended.values()), self._rate(ended)
        left = self._total - done
        return {
            "done": done,
            "total": self._total,
            **{state.value: count for state, count in ended.items()},
            "per_second": round(rate, 1),
            "seconds_left": round(left / rate) if rate else None,
            "at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        }

    def _rate(self, ended: Mapping[ContactState, int]) -> float:
        return sum(ended.values()) / max(time.monotonic() - self._begun, 0.001)

    def _write_line(self, ended: Mapping[ContactState, int]) -> None:
        states = ", ".join(f"{count:,} {state.value}" for state, count in ended.items())
        done = f"{sum(ended.values()):,}"
        rate = self._rate(ended)
        self._log.info("%s of %s contacts, %.0f/s: %s", done, f"{self._total:,}", rate, states or "none yet")

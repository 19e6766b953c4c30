"""Metrics of requests and contacts, through Airflow's own statistics: StatsD, Datadog, or OpenTelemetry.

Names don't depend on tags: a backend without tags adds up all flows.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from airflow.sdk.configuration import conf
from airflow.sdk.observability.stats import Stats

from airflow_whatsapp_flows.flow.delivery.decision import Attempt
from airflow_whatsapp_flows.flow.delivery.table import UNKNOWN_FATES
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.ledger.rows import ContactState

PREFIX = "whatsapp_flows"
_SWITCHES = ("statsd_on", "statsd_datadog_enabled", "otel_on")
_SAMPLE = 100
"""Durations that are sent of one report; a replay makes thousands of requests in a second."""


class Metrics:
    """Counts requests and contacts of one task until they are sent.

    Args:
        tags: of every metric.
    """

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = dict(tags)
        self._counts: Counter[str] = Counter()
        self._durations: list[int] = []
        self._timed = 0
        self._ended: Counter[ContactState] = Counter()

    @classmethod
    def of(cls, context: Mapping[str, Any], flow_id: str) -> Metrics | None:
        """Return the metrics of a task; ``None`` if Airflow sends them nowhere.

        Args:
            context: Airflow's, of the running task.
            flow_id: id of the flow; of the DAG for an action in a DAG written by hand.
        """
        if not any(conf.getboolean("metrics", switch, fallback=False) for switch in _SWITCHES):
            return None
        ti = context.get("ti")
        return cls({"dag_id": getattr(ti, "dag_id", ""), "task_id": getattr(ti, "task_id", ""), "flow_id": flow_id})

    def note_attempt(self, attempt: Attempt) -> None:
        """Count one request, once its outcome is known."""
        counts, result = self._counts, attempt.result
        counts["requests"] += 1
        counts[f"requests.{_status_class(result)}"] += 1
        if attempt.number > 1:
            counts["requests.retries"] += 1
        if attempt.fate in UNKNOWN_FATES:
            counts["requests.in_doubt"] += 1
        if result is not None:
            self._note_duration(result.elapsed_ms)

    def _note_duration(self, milliseconds: int) -> None:
        # Each has the same chance to be in the sample, whenever it is taken.
        self._timed += 1
        if len(self._durations) < _SAMPLE:
            self._durations.append(milliseconds)
        elif (place := random.randrange(self._timed)) < _SAMPLE:  # noqa: S311  # a sample is no secret
            self._durations[place] = milliseconds

    def note_contacts(self, ended: Mapping[ContactState, int]) -> None:
        """Count the contacts that ended since the last time.

        Args:
            ended: number of contacts by final state since the start.
        """
        for state, number in ended.items():
            self._counts[f"contacts.{state.value}"] += number - self._ended[state]
        self._ended.update(Counter(ended) - self._ended)

    def send(self) -> None:
        """Send what was counted since the last time."""
        for name, number in self._counts.items():
            if number:
                Stats.incr(f"{PREFIX}.{name}", number, tags=self._tags)
        for milliseconds in self._durations:
            Stats.timing(f"{PREFIX}.requests.duration", milliseconds, tags=self._tags)
        self._counts.clear()
        self._durations.clear()
        self._timed = 0


def _status_class(result: ActionResult | None) -> str:
    if result is None or result.status_code is None:
        return "no_reply"
    return f"{result.status_code // 100}xx"

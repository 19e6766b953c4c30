"""Waits in a task: short waits sleep, longer ones are deferred."""

from __future__ import annotations

import datetime as dt
import time

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseOperator

SHORTEST_DEFERRED = 5.0
"""Seconds. Airflow may fail a task whose trigger fires before the scheduler knows that the task is deferred."""


def utc_now() -> dt.datetime:
    """Return the current time."""
    return dt.datetime.now(dt.timezone.utc)


def seconds_until(moment: dt.datetime) -> float:
    """Return the seconds until a time; negative if it has passed.

    Args:
        moment: an aware time.
    """
    return (moment - utc_now()).total_seconds()


def pause_until(task: BaseOperator, moment: dt.datetime) -> None:
    """Wait until a time; if it is far off, defer the task, which resumes in its ``go_on``.

    Args:
        task: the operator.
        moment: an aware time.

    Raises:
        TaskDeferred: Airflow starts the task again at that moment.
    """
    seconds = seconds_until(moment)
    if seconds >= SHORTEST_DEFERRED:
        task.log.info("waiting until %s", moment.isoformat(timespec="seconds"))
        task.defer(trigger=DateTimeTrigger(moment), method_name="go_on")  # dag.test() would lose kwargs
    elif seconds > 0:
        time.sleep(seconds)

"""How a task fails: for good or with a retry, and as one line of its log."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_whatsapp_flows.errors import FlowsError, LedgerError

_WIDTH = 96
"""Characters of a line that a window of 1,400 pixels shows."""
_BETWEEN_PARTS = re.compile(r"; (?![^()]*\))")
_AIRFLOWS_TEXT = "Task failed with exception"


class TaskFailureError(AirflowFailException):
    """Fails a task for good, because a retry would fail the same way. No bug: its message says everything."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        omit_stack_traces()


class TaskRetryError(AirflowException):
    """Fails a try; Airflow may make another one. No bug: its message says everything."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        omit_stack_traces()


@contextmanager
def task_errors(task_id: str) -> Iterator[None]:
    """Turn this package's errors into Airflow's.

    Args:
        task_id: for the message.

    Raises:
        TaskRetryError: the ledger is unavailable, or another worker is sending the same request; nothing was sent.
        TaskFailureError: any other error of this package; a retry would fail the same way.
    """
    try:
        yield
    except LedgerError as error:
        raise TaskRetryError(f"{task_id}: {error}") from None
    except FlowsError as error:
        raise TaskFailureError(f"{task_id}: {error}") from None


def omit_stack_traces() -> None:
    """Log the errors of this module as one line in this process.

    Airflow logs every exception of a task with a stack trace, and its pages cut off the message at the right.
    """
    # Airflow configures the logs of a task in the task's own process: before its code, and after the fork.
    processors = structlog.get_config()["processors"]
    if isinstance(processors, list) and _omit_stack_trace not in processors:
        processors.insert(0, _omit_stack_trace)


def _omit_stack_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = sys.exc_info()[1]
    is_own = event.get("exc_info") is True and event.get("event") == _AIRFLOWS_TEXT  # not a callback's, for example
    if is_own and isinstance(error, (TaskFailureError, TaskRetryError)):
        del event["exc_info"]
        event["event"] = _break_lines(f"Task failed: {error}")
    return event


def _break_lines(text: str) -> str:
    """Break long lines of a message, first between its parts: Airflow's pages cut them off at the right."""
    lines: list[str] = []
    for line in text.split("\n"):
        parts = [line] if len(line) <= _WIDTH else _BETWEEN_PARTS.split(line)
        for part in parts:
            lines += textwrap.wrap(part, _WIDTH, replace_whitespace=False, break_long_words=False) or [part]
    return "\n  ".join(lines)

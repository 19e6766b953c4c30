"""Airflow's retries of an action: when, and after how long."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_whatsapp_flows.flow.format import RetryFormat
from airflow_whatsapp_flows.operators.failures import TaskRetryError

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:  # Airflow 3.2 waits as long as retry_delay says, whatever the server asks for
    RetryDecision = RetryPolicy = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from airflow.sdk import Context


_DEFAULTS = msgspec.structs.asdict(RetryFormat())


class ActionRetryError(TaskRetryError):
    """The request may be sent again, on Airflow's next try.

    Attributes:
        message: what happened.
        wait: seconds until then.
    """

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(f"{message}; retrying in {wait:.1f} s")
        self.message = message
        self.wait = wait

    def __reduce__(self) -> tuple[type[ActionRetryError], tuple[str, float]]:
        """Support pickling."""
        return type(self), (self.message, self.wait)


if RetryPolicy is not None:

    class ActionRetryPolicy(RetryPolicy):
        """Waits as the action's rule and the server's Retry-After require, without occupying a worker slot."""

        def evaluate(
            self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
        ) -> RetryDecision:
            """Use the wait of the exception; other exceptions follow the task's settings."""
            if isinstance(exception, ActionRetryError):
                return RetryDecision.retry(timedelta(seconds=exception.wait), str(exception))
            return RetryDecision.default()

        def serialize(self) -> dict[str, Any]:
            """Serialize; the policy has no settings."""
            return {}

        @classmethod
        def deserialize(cls, data: dict[str, Any]) -> RetryPolicy:
            """Deserialize; the policy has no settings."""
            return cls()


def retry_arguments(retry: Mapping[str, Any] | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for ``BaseOperator``: the given ones, completed from ``retry``.

    Args:
        retry: ``attempts``, ``wait``, ``max_wait``, ``backoff``, as checked; what it leaves out is as in a flow file.
            ``None`` leaves the task's own.
        arguments: given for the task.
    """
    complete = dict(arguments)
    if retry is not None:
        rule = {name: retry.get(name, default) for name, default in _DEFAULTS.items()}
        complete.setdefault("retries", rule["attempts"] - 1)
        complete.setdefault("retry_delay", timedelta(seconds=rule["wait"]))
        complete.setdefault("retry_exponential_backoff", float(rule["backoff"]))
        complete.setdefault("max_retry_delay", timedelta(seconds=rule["max_wait"]))
    if RetryPolicy is not None:
        complete.setdefault("retry_policy", ActionRetryPolicy())
    return complete

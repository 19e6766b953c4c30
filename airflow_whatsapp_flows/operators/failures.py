"""How a task fails: for good if a retry would fail the same way, otherwise with a retry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_whatsapp_flows.errors import FlowsError, LedgerError


@contextmanager
def task_errors(task_id: str) -> Iterator[None]:
    """Turn this package's errors into Airflow's.

    Args:
        task_id: for the message.

    Raises:
        AirflowException: the ledger is unavailable, or another worker is sending the same request; nothing was sent.
        AirflowFailException: any other error of this package; a retry would fail the same way.
    """
    try:
        yield
    except LedgerError as error:
        raise AirflowException(f"{task_id}: {error}") from None
    except FlowsError as error:
        raise AirflowFailException(f"{task_id}: {error}") from None

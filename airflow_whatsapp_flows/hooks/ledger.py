"""The ledger in Airflow's configuration, for tasks and replays."""

from __future__ import annotations

from airflow.sdk.configuration import conf

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.task_store import TaskLedger, open_task_ledger
from airflow_whatsapp_flows.settings import SECTION, Settings

_LOCAL_EXECUTORS = ("LocalExecutor", "SequentialExecutor")


def task_ledger(settings: Settings) -> TaskLedger:
    """The ledger for the rows of one task; opened once per process, because a connection does not survive a fork.

    Args:
        settings: of the provider.

    Raises:
        ConnectionConfigError: it is a file, and tasks may run on other machines.
        LedgerError: it cannot be opened.
    """
    return open_task_ledger(ledger_url(settings))


def airflow_ledger(settings: Settings) -> Ledger:
    """The ledger for a replay; use it as a context manager, or close it.

    Args:
        settings: of the provider.

    Raises:
        ConnectionConfigError: it is a file, and tasks may run on other machines.
        LedgerError: it cannot be opened.
    """
    return Ledger(ledger_url(settings))


def ledger_url(settings: Settings) -> str:
    """The URL of the ledger, after checking that all workers can access it.

    Args:
        settings: of the provider.

    Raises:
        ConnectionConfigError: it is a file, and tasks may run on other machines.
    """
    url = settings.ledger_url
    executors = conf.get("core", "executor", fallback="LocalExecutor") or ""
    if url.startswith("sqlite") and not _are_local(executors) and not _is_test_run():
        raise ConnectionConfigError(
            f"the ledger {url} is a file, and tasks of [core] executor = {executors} may run on machines that cannot "
            f"access it: set AIRFLOW__{SECTION.upper()}__LEDGER to postgresql://user:password@host/database"
        )
    return url


def _are_local(executors: str) -> bool:
    """Whether every executor runs its tasks on the scheduler's machine.

    The setting is a list of class names, paths or ``alias:path``, and those of teams, ``team=…;team=…``.
    """
    named = [part.rpartition("=")[2].rpartition(":")[2].strip() for part in executors.replace(";", ",").split(",")]
    return all(name.rpartition(".")[2] in _LOCAL_EXECUTORS for name in named if name)


def _is_test_run() -> bool:
    """Whether this is ``dag.test()``, which runs every task in its own process, regardless of the executor."""
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return type(comms).__name__ == "InProcessSupervisorComms"

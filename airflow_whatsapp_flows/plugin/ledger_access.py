"""The ledger of a request: opened only to be read, and closed after the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.configuration import conf

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.locks import find_running_replays
from airflow_whatsapp_flows.ledger.reader import LedgerReader
from airflow_whatsapp_flows.settings import SECTION, settings_from


def ledger_url() -> str:
    """Return the URL of the ledger in Airflow's configuration.

    Raises:
        ConnectionConfigError: a setting is invalid.
    """
    return settings_from(lambda option: conf.get(SECTION, option, fallback=None)).ledger_url


def find_running(ledger: Ledger) -> set[str]:
    """Return the names of the replays whose contacts a process sends now."""
    try:
        with ledger.read() as connection:
            return set(find_running_replays(connection, ledger.file))
    except LedgerError:
        return set()  # the lock files cannot be opened by this process; what a run does waits for the others


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """Open the ledger for one page.

    Raises:
        MissingLedgerError: there is none yet.
        LedgerError: it cannot be read.
        ConnectionConfigError: a setting is invalid.
    """
    with LedgerReader(ledger_url()) as ledger:
        yield ledger

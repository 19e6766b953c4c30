"""Opens the ledger of a command, and names the current user."""

from __future__ import annotations

import argparse
import getpass

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.settings import settings_from_environment


def open_ledger(options: argparse.Namespace) -> Ledger:
    """Open the ledger of ``--ledger``, or the one in the settings; the caller closes it.

    Raises:
        LedgerError: it cannot be opened.
        ConnectionConfigError: the settings cannot be read.
    """
    return Ledger(ledger_url(options))


def ledger_url(options: argparse.Namespace) -> str:
    """Return the URL of ``--ledger``, or the one in the settings.

    Raises:
        ConnectionConfigError: the settings cannot be read.
    """
    return options.ledger or settings_from_environment().ledger_url


def user_name() -> str:
    """Return the user name to record with a decision."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"

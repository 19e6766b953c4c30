"""Opens the ledger of a command, finds a replay in it, and names the current user."""

from __future__ import annotations

import argparse
import getpass

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay, find_replay, list_replays
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


def replay_of(ledger: Ledger, replay_id: str) -> Replay:
    """Return the replay with a name.

    Raises:
        ReplayError: it does not exist.
    """
    found = find_replay(ledger, replay_id)
    if found is None:
        hint = did_you_mean(replay_id, [replay.id for replay in list_replays(ledger)])
        raise ReplayError(f"there is no replay {replay_id!r} in the ledger {ledger.display_url}{hint}")
    return found


def user_name() -> str:
    """Return the user name to record with a decision."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"

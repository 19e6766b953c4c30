"""``whatsapp-flows ledger vacuum``: reclaims the space of deleted rows."""

from __future__ import annotations

import argparse

from airflow_whatsapp_flows.cli.ledger_access import open_ledger
from airflow_whatsapp_flows.ledger.vacuum import vacuum as vacuum_ledger


def vacuum(options: argparse.Namespace) -> int:
    """Vacuum the ledger, print how many bytes were freed, and return 0."""
    with open_ledger(options) as ledger:
        print(f"the ledger {ledger.display_url}: {vacuum_ledger(ledger):,} bytes freed")
    return 0

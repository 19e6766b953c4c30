"""``whatsapp-flows ledger``: finding and erasing a person's data, and maintaining the ledger."""

from __future__ import annotations

import argparse

from airflow_whatsapp_flows.cli import command_of


def ledger(options: argparse.Namespace) -> int:
    """Run one of its commands; return the exit status."""
    return command_of("ledger", options.ledger_command)(options)

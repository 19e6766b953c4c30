"""``whatsapp-flows ledger``: what the ledger holds of a person, and upkeep of the ledger itself."""

from __future__ import annotations

import argparse

from airflow_whatsapp_flows.cli.replay_arguments import command_of


def ledger(options: argparse.Namespace) -> int:
    """Run one of its commands; returns the exit status."""
    return command_of("ledger", options.ledger_command)(options)

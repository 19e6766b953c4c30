"""Arguments that several commands have."""

from __future__ import annotations

import argparse


def add_format(command: argparse.ArgumentParser) -> None:
    """Add ``--format text|json``."""
    command.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def add_ledger_url(command: argparse.ArgumentParser) -> None:
    """Add ``--ledger URL``."""
    command.add_argument(
        "--ledger",
        metavar="URL",
        help="SQLAlchemy URL; default: [whatsapp_flows] ledger, or else a file in AIRFLOW_HOME",
    )

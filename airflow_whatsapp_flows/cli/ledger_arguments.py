"""The arguments of the commands of ``whatsapp-flows ledger`` that keep the ledger itself in order."""

from __future__ import annotations

import argparse

_LEDGER = "SQLAlchemy URL; default: [whatsapp_flows] ledger, else a file in AIRFLOW_HOME"


def add_upkeep(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``upgrade``."""
    command = inner.add_parser(
        "upgrade",
        help="upgrade a ledger that an earlier release made",
        description=(
            "Upgrade a ledger that an earlier release made; all that it holds stays. A copy of an SQLite file is made "
            "beside it first. No other process may use the ledger meanwhile. Exit status: 0 upgraded, or nothing to "
            "do; 1 refused, and the ledger is as it was; 2 usage; 3 with --check, an upgrade is needed."
        ),
    )
    command.add_argument("--check", action="store_true", help="print whether an upgrade is needed; change nothing")
    command.add_argument("--ledger", metavar="URL", help=_LEDGER)

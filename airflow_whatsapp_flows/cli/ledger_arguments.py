"""The arguments of the commands of ``whatsapp-flows ledger`` that keep the ledger itself in order."""

from __future__ import annotations

import argparse

_LEDGER = "SQLAlchemy URL; default: [whatsapp_flows] ledger, else a file in AIRFLOW_HOME"


def add_upkeep(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``upgrade``, ``vacuum`` and ``accept``."""
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

    command = inner.add_parser(
        "accept",
        help="go on with an SQLite ledger that was deleted, replaced or restored from an older copy",
        description=(
            "Take the file of an SQLite ledger as it is now for the ledger, after it was deleted, replaced or restored "
            "from an older copy. What it does not know of may be sent again: put the newest copy back first if there "
            "is one. Exit status: 0 accepted, 1 refused, 2 usage."
        ),
    )
    command.add_argument(
        "--lost", metavar="FILE", help="add requests that the file had lost, which the run that stopped wrote there"
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--ledger", metavar="URL", help=_LEDGER)

    command = inner.add_parser(
        "vacuum",
        help="give back the room of rows that are gone",
        description=(
            "Rewrite an SQLite ledger without its unused parts, which needs as much free space as the file has; in "
            "PostgreSQL, VACUUM the ledger's tables. Refused while a replay runs. Exit status: 0 done, 1 refused, 2 "
            "usage."
        ),
    )
    command.add_argument("--ledger", metavar="URL", help=_LEDGER)

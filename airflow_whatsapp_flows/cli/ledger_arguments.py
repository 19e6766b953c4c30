"""Arguments of the maintenance commands of ``whatsapp-flows ledger``."""

from __future__ import annotations

import argparse

_LEDGER = "SQLAlchemy URL; default: [whatsapp_flows] ledger, or else a file in AIRFLOW_HOME"


def add_upkeep(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``upgrade``, ``vacuum`` and ``accept``."""
    command = inner.add_parser(
        "upgrade",
        help="upgrade a ledger from an earlier release",
        description=(
            "Upgrade a ledger from an earlier release, without losing data. An SQLite file is copied first. No other "
            "process may use the ledger during the upgrade. Exit status: 0 upgraded or already up to date; 1 refused, "
            "the ledger is unchanged; 2 usage error; 3 an upgrade is needed (with --check)."
        ),
    )
    command.add_argument("--check", action="store_true", help="only print whether an upgrade is needed")
    command.add_argument("--ledger", metavar="URL", help=_LEDGER)

    command = inner.add_parser(
        "accept",
        help="accept an SQLite ledger that was deleted, replaced, or restored from an older copy",
        description=(
            "Accept the current file of an SQLite ledger after it was deleted, replaced, or restored from an older "
            "copy. Requests that it has no record of may be sent again: if a newer copy exists, restore that one "
            "first. Exit status: 0 accepted, 1 refused, 2 usage error."
        ),
    )
    command.add_argument("--lost", metavar="FILE", help="add lost requests from this file, which the stopped run wrote")
    command.add_argument("--yes", action="store_true", help="don't ask for confirmation")
    command.add_argument("--ledger", metavar="URL", help=_LEDGER)

    command = inner.add_parser(
        "vacuum",
        help="reclaim the space of deleted rows",
        description=(
            "Rewrite an SQLite ledger without unused space, which needs as much free disk space as the file has, or "
            "VACUUM the ledger's tables in PostgreSQL. Refused while a replay is running. Exit status: 0 success, 1 "
            "refused, 2 usage error."
        ),
    )
    command.add_argument("--ledger", metavar="URL", help=_LEDGER)

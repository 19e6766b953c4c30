"""Arguments of ``whatsapp-flows ledger``."""

from __future__ import annotations

import argparse

from airflow_whatsapp_flows.cli.argument_types import moment
from airflow_whatsapp_flows.cli.common_arguments import add_format, add_ledger_url


def add_ledger(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``ledger`` and its commands; ``ledger_command`` is also the name of the module and function that runs it."""
    ledger = commands.add_parser(
        "ledger",
        help="find and erase data about a person; maintain the ledger",
        description="Find and erase what the ledger stores about a person, and maintain the ledger.",
    )
    inner = ledger.add_subparsers(dest="ledger_command", metavar="COMMAND", required=True)

    command = inner.add_parser(
        "find",
        help="show everything that was sent to one person",
        description="Show everything that was sent to one person, across all replays and DAG runs.",
    )
    _add_person(command.add_mutually_exclusive_group(required=True))
    add_format(command)
    add_ledger_url(command)

    command = inner.add_parser(
        "purge",
        help="erase personal data, but keep keys, states, and times",
        description=(
            "Erase personal data: responses, phone numbers and other identifiers, replies, and error messages. Keys, "
            "states, and times are kept, so no response is sent twice afterwards."
        ),
    )
    which = command.add_mutually_exclusive_group(required=True)
    _add_person(which)
    which.add_argument(
        "--before", metavar="DATE", type=moment, help="contacts that ended before this date, such as 2026-11-01"
    )
    which.add_argument("--replay", metavar="ID", help="contacts of one replay")
    command.add_argument("--yes", action="store_true", help="don't ask for confirmation")
    add_ledger_url(command)

    _add_upkeep(inner)


def _add_person(which: argparse._MutuallyExclusiveGroup) -> None:
    which.add_argument("--phone", metavar="P", help="one person, by phone number")
    which.add_argument("--email", metavar="E", help="one person, by e-mail address")
    which.add_argument("--id", metavar="ID", help="one person, by contact.id or an identifier listed in the flow")
    which.add_argument("--user-id", metavar="ID", help="one person, by contact.user_id (assigned by WhatsApp)")


def _add_upkeep(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    add_ledger_url(command)

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
    add_ledger_url(command)

    command = inner.add_parser(
        "vacuum",
        help="reclaim the space of deleted rows",
        description=(
            "Rewrite an SQLite ledger without unused space, which needs as much free disk space as the file has, or "
            "VACUUM the ledger's tables in PostgreSQL. Refused while a replay is running. Exit status: 0 success, 1 "
            "refused, 2 usage error."
        ),
    )
    add_ledger_url(command)

"""``airflow whatsapp-flows``: the commands of the script ``whatsapp-flows``, in Airflow's own command line.

Airflow imports this for each of its commands, so nothing else is imported until Airflow builds its parser.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from airflow.cli.cli_config import ActionCommand, Arg


class _Commands(Arg):
    """Adds the script's commands with their own arguments where Airflow adds an argument."""

    def __init__(self) -> None:
        super().__init__(flags=("command",))  # type: ignore[no-untyped-call]  # Airflow's

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        from airflow_whatsapp_flows.cli import add_commands

        add_commands(parser)


def get_cli_commands() -> list[ActionCommand]:
    """The command, as Airflow's ``cli`` key of a provider expects it."""
    return [
        ActionCommand(
            name="whatsapp-flows",
            help="Validate, render, run, and replay WhatsApp flows",
            description="The commands of `whatsapp-flows`, which start faster without Airflow.",
            func=run_command,
            args=(_Commands(),),
        )
    ]


def run_command(options: argparse.Namespace) -> NoReturn:
    """Run a command, and exit with its status."""
    from airflow_whatsapp_flows.cli import run_parsed

    sys.exit(run_parsed(options))

"""The arguments of ``whatsapp-flows import``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "import",
        help="make a flow file of the step records of Hilos or ActiveCampaign",
        description=(
            "Put a flow together from what the platform records of contacts' ways through it, and tell every guess, "
            "every gap and every secret that was left out. Exit status: 0 imported, 1 refused, or imported with faults "
            "to be mended by hand."
        ),
    )
    command.set_defaults(command="import_flow")  # 'import' cannot be the name of a function
    command.add_argument("platform", choices=("hilos", "activecampaign"), help="the platform that made the records")
    command.add_argument("--records", metavar="FILE", type=Path, help="JSON or JSON Lines of step records; - for stdin")
    command.add_argument("--id", metavar="ID", help="the flow's id; by default made of the name or the file's name")
    command.add_argument("--name", metavar="NAME", help="the flow's name; by default the one in the records")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="the flow file to write; else it is printed")
    command.add_argument("--force", action="store_true", help="write over a file that is there")

"""Arguments of ``whatsapp-flows import``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "import",
        help="create a flow file from step records of Hilos or ActiveCampaign",
        description=(
            "Reconstruct a flow from the step records that the platform keeps of its contacts, and report every "
            "guess, every gap, and every secret that was left out. Exit status: 0 imported, 1 refused, or imported "
            "with errors to fix by hand."
        ),
    )
    command.set_defaults(command="import_flow")  # 'import' cannot be the name of a function
    command.add_argument("platform", choices=("hilos", "activecampaign"), help="platform that the records come from")
    command.add_argument(
        "--records", metavar="FILE", type=Path, help="step records (JSON or JSON Lines), or - for stdin"
    )
    command.add_argument("--id", metavar="ID", help="id of the flow; default: derived from its name or the file name")
    command.add_argument("--name", metavar="NAME", help="name of the flow; default: the name in the records")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="flow file to write; default: stdout")
    command.add_argument("--force", action="store_true", help="overwrite an existing file")

"""Arguments of the commands for flow authors: ``schema``, ``test``, ``init``, ``import``, ``graph``, ``diff``."""

from __future__ import annotations

import argparse
from pathlib import Path

from airflow_whatsapp_flows.cli.common_arguments import add_format


def add_schema(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``schema``."""
    command = commands.add_parser(
        "schema",
        help="print the JSON Schema of flow files, for editors",
        description=(
            "Print the JSON Schema (2020-12) of flow files. Save it next to them and refer to it in their key "
            '"$schema", so that editors complete keys, describe them, and highlight errors.'
        ),
    )
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to this file instead, replacing it")


def add_test(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``test``."""
    command = commands.add_parser(
        "test",
        help="run the tests in flow files, without sending anything",
        description=(
            'Run the tests in the key "tests" of flow files: each has a contact response, canned replies, and the '
            "expected path, requests, and variables. Nothing is sent, and no connection is needed. Exit status: 0 all "
            "tests passed, 1 refused (an invalid flow, no such file or test), 2 usage error, 3 some tests failed."
        ),
    )
    command.add_argument("files", metavar="FILE", nargs="+", type=Path, help="flow file, or folder of flow files")
    command.add_argument(
        "--name", metavar="TEXT", help="run only tests whose name contains this text (case-insensitive)"
    )
    add_format(command)


def add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``init``."""
    command = commands.add_parser(
        "init",
        help="create a working folder with an example flow, its tests, and DAG files",
        description=(
            "Create a working folder: an example flow with its tests, the DAG files that load flows, recorded "
            "responses to try it with, the JSON Schema for editors, and a README.md with the next steps. Existing "
            "files are never overwritten. Exit status: 0 created, 1 refused."
        ),
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="created if it doesn't exist")


def add_graph(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``graph``."""
    command = commands.add_parser(
        "graph",
        help="draw the graph of a flow",
        description=(
            "Draw the graph of a flow: its steps, and every exit with its label. Mermaid is text for Markdown pages. "
            "SVG is a standalone image and requires the extra 'draw': pip install 'airflow-whatsapp-flows[draw]'. Exit "
            "status: 0 success, 1 the flow is invalid or the extra is not installed."
        ),
    )
    command.add_argument("file", metavar="FILE", type=Path, help="flow file")
    command.add_argument("--format", choices=("mermaid", "svg"), default="mermaid", help="default: mermaid")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to this file instead of stdout")


def add_diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``diff``."""
    command = commands.add_parser(
        "diff",
        help="show what differs between two flows",
        description=(
            "Show what differs in meaning between two flows, one difference per line: added, removed, and renamed "
            "steps, changed exits, requests, and texts. Formatting is ignored. Secrets are shown as ***. Exit status: "
            "0 no differences, 1 a flow is invalid, 2 usage error, 3 differences found."
        ),
    )
    command.add_argument("old", metavar="OLD", type=Path, help="flow file")
    command.add_argument("new", metavar="NEW", type=Path, help="flow file")
    add_format(command)


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import``."""
    command = commands.add_parser(
        "import",
        help="create a flow file from step records of Hilos or ActiveCampaign",
        description=(
            "Reconstruct a flow from the step records that the platform keeps of its contacts, and report every "
            "guess, every gap, and every secret that was left out. Exit status: 0 imported, 1 refused, or imported "
            "with errors to fix by hand."
        ),
    )
    command.set_defaults(command="import_flow")  # 'import' cannot be a function name
    command.add_argument("platform", choices=("hilos", "activecampaign"), help="platform that the records come from")
    command.add_argument(
        "--records", metavar="FILE", type=Path, help="step records (JSON or JSON Lines), or - for stdin"
    )
    command.add_argument("--id", metavar="ID", help="id of the flow; default: derived from its name or the file name")
    command.add_argument("--name", metavar="NAME", help="name of the flow; default: the name in the records")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="flow file to write; default: stdout")
    command.add_argument("--force", action="store_true", help="overwrite an existing file")

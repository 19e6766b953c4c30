"""The arguments of the commands for those who write flow files: ``schema``, ``test``, ``init``, ``graph``, ``diff``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_schema(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``schema``."""
    command = commands.add_parser(
        "schema",
        help="print the JSON Schema of flow files, for editors",
        description=(
            "Print the JSON Schema of flow files (2020-12). Written beside them and named in their key "
            '"$schema", it lets an editor complete keys, explain them and mark what is wrong.'
        ),
    )
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it there instead; replaces the file")


def add_test(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``test``."""
    command = commands.add_parser(
        "test",
        help="run the tests that flow files hold; nothing is sent",
        description=(
            'Run the tests that flow files hold in their key "tests": a contact response, canned replies, and the '
            "path, the requests and the variables that must come of them. Nothing is sent, and no connection is "
            "needed. Exit status: 0 all have passed, 3 some have failed, 1 refused (a flow with faults, no such file "
            "or test), 2 usage."
        ),
    )
    command.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a flow file, or a folder of them")
    command.add_argument("--name", metavar="TEXT", help="run only the tests whose name holds this text, in any case")
    command.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``init``."""
    command = commands.add_parser(
        "init",
        help="make a working folder: an example flow with its tests, and the DAG files",
        description=(
            "Make a working folder: an example flow with its tests, the files that make DAGs of flows, recorded "
            "responses to try it with, the JSON Schema for editors, and a README.md with what to do next. Files that "
            "are there already are never overwritten. Exit status: 0 made, 1 refused."
        ),
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="it is made when it is not there")


def add_graph(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``graph``."""
    command = commands.add_parser(
        "graph",
        help="draw a flow",
        description=(
            "Draw a flow: its steps, and every exit with its label. Mermaid is text for Markdown pages; SVG is a "
            "drawing that needs nothing else, made with the extra 'draw': pip install 'airflow-whatsapp-flows[draw]'. "
            "Exit status: 0 drawn, 1 the flow has faults or the extra is not installed."
        ),
    )
    command.add_argument("file", metavar="FILE", type=Path, help="a flow file")
    command.add_argument("--format", choices=("mermaid", "svg"), default="mermaid", help="default: mermaid")
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="written instead of printed")


def add_diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``diff``."""
    command = commands.add_parser(
        "diff",
        help="tell what two flows mean differently",
        description=(
            "Tell what two flows mean differently: steps that came, went or have another name, exits that lead "
            "elsewhere, requests and texts, one line for each. How the files are written does not count. Secrets are "
            "shown as ***. Exit status: 0 they mean the same, 3 they do not, 1 a flow has faults, 2 usage."
        ),
    )
    command.add_argument("old", metavar="OLD", type=Path, help="a flow file")
    command.add_argument("new", metavar="NEW", type=Path, help="a flow file")
    command.add_argument("--format", choices=("text", "json"), default="text", help="default: text")

"""The command ``whatsapp-flows``. It imports no Airflow, so it starts in a fraction of a second."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_whatsapp_flows import __version__
from airflow_whatsapp_flows.cli.authoring_arguments import add_diff, add_graph, add_init, add_schema, add_test
from airflow_whatsapp_flows.cli.import_arguments import add_import
from airflow_whatsapp_flows.cli.replay_arguments import add_ledger, add_replay
from airflow_whatsapp_flows.cli.terminal import harmless_output
from airflow_whatsapp_flows.errors import FlowsError

REFUSED = 1
USAGE = 2
UNFINISHED = 3
"""It went to its end, and a contact has failed, was rejected or is in doubt."""
STOPPED = 4
"""A replay was stopped before its end; the same command goes on."""
INTERRUPTED = 130
"""As shells have it: 128 and the number of SIGINT."""


def parser() -> argparse.ArgumentParser:
    """The arguments of every command; ``command`` is also the name of the module and function that does it."""
    top = argparse.ArgumentParser(
        prog="whatsapp-flows",
        description="Check, render, run and replay WhatsApp flows, without Airflow.",
        epilog=(
            "Exit status: 0 done, 1 refused (a flow with faults, an unusable response), 2 usage, 3 ended with errors "
            "or differences, 4 stopped and to be gone on with, 130 interrupted."
        ),
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    command = commands.add_parser(
        "validate",
        help="report every fault of flow files",
        description=(
            "Report every fault of flow files, each with line and column, and the line itself, its secrets as ***. "
            "Exit status: 0 none, 1 some."
        ),
    )
    command.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a flow file, a folder of them, or -")
    command.add_argument("--format", choices=("text", "json", "github"), default="text", help="default: text")

    command = commands.add_parser(
        "render",
        help="show the request of one step for one contact",
        description=(
            "Show the request of an action for one contact, without sending it. Earlier actions of its way must have "
            'recorded results in the response: "actions": {"Create contact": [{"outcome": "success", …}]}.'
        ),
    )
    _add_flow_and_response(command)
    command.add_argument("--step", metavar="NAME", required=True, help="name of an action step")
    command.add_argument("--format", choices=("http", "curl", "json"), default="http", help="default: http")

    command = commands.add_parser(
        "run",
        help="send one contact through a flow",
        description=(
            "Walk one contact through a flow, and send what its actions say. Connections come from AIRFLOW_CONN_<ID>, "
            "limits from AIRFLOW__WHATSAPP_FLOWS__… or airflow.cfg. Exit status: 0 completed, 3 failed, rejected or "
            "in doubt, 1 refused, 2 usage, 130 interrupted."
        ),
    )
    _add_flow_and_response(command)
    command.add_argument("--format", choices=("text", "json"), default="text", help="default: text")

    add_replay(commands)
    add_ledger(commands)
    add_test(commands)
    add_graph(commands)
    add_diff(commands)
    add_import(commands)
    add_init(commands)
    add_schema(commands)
    return top


def _add_flow_and_response(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", type=Path, help="a flow file")
    command.add_argument("--response", metavar="FILE", type=Path, required=True, help="a contact response; - for stdin")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words behind the program's name; the process's own by default.

    Returns:
        The exit status.
    """
    options = parser().parse_args(arguments)
    _print_anything()
    with harmless_output():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        # Only the command that is asked for is imported: validate needs no HTTP client.
        module = importlib.import_module(f"airflow_whatsapp_flows.cli.{options.command}")
        status = int(getattr(module, options.command)(options))
    except FlowsError as error:
        return refuse(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        return _unreadable(error, REFUSED)
    try:
        sys.stdout.flush()
    except OSError as error:
        return _unreadable(error, status)
    return status


def refuse(*errors: FlowsError) -> int:
    """Print why something is refused, without what a terminal would obey; returns the exit status."""
    from airflow_whatsapp_flows.flow.loading.excerpts import harmless

    for error in errors:
        for line in str(error).split("\n"):
            print(harmless(line), file=sys.stderr)
    return REFUSED


def _unreadable(error: OSError, status: int) -> int:
    """End without the complaint that Python would make when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # the reader, such as head, has what it wanted
        return status
    print(f"the output cannot be written: {error.strerror}", file=sys.stderr)
    return status or REFUSED


def _print_anything() -> None:
    # Half a surrogate pair, and all but ASCII where the locale has no more, would end in a traceback.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # closed with the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

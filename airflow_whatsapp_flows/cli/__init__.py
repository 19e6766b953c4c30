"""The command ``whatsapp-flows``. It doesn't import Airflow, so it starts in a fraction of a second.

``airflow whatsapp-flows`` has the same commands, see :mod:`~airflow_whatsapp_flows.airflow_command`.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from airflow_whatsapp_flows import __version__
from airflow_whatsapp_flows.cli.authoring_arguments import (
    add_diff,
    add_graph,
    add_import,
    add_init,
    add_schema,
    add_test,
)
from airflow_whatsapp_flows.cli.common_arguments import add_format
from airflow_whatsapp_flows.cli.ledger_arguments import add_ledger
from airflow_whatsapp_flows.cli.replay_arguments import add_replay
from airflow_whatsapp_flows.cli.terminal import harmless_output
from airflow_whatsapp_flows.errors import FlowsError

REFUSED = 1
USAGE = 2
UNFINISHED = 3
"""Finished, but some contacts failed, were rejected, or are in doubt."""
STOPPED = 4
"""A replay stopped early; the same command resumes it."""
INTERRUPTED = 130
"""As in shells: 128 plus the number of SIGINT."""


EXIT_STATUS = (
    "Exit status: 0 success, 1 refused (an invalid flow or response), 2 usage error, 3 finished with errors or "
    "differences, 4 stopped early (rerun the same command to resume), 130 interrupted."
)


def parser() -> argparse.ArgumentParser:
    """Create the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="whatsapp-flows",
        description="Validate, render, run, and replay WhatsApp flows, without Airflow.",
        epilog=EXIT_STATUS,
    )
    add_commands(top)
    return top


def add_commands(top: argparse.ArgumentParser) -> None:
    """Add all commands; ``command`` is also the name of the module and function that runs it."""
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=argparse.ArgumentParser
    )

    command = commands.add_parser(
        "validate",
        help="report every error in flow files",
        description=(
            "Report every error in flow files, each with its line and column and the text of the line. Secrets are "
            "shown as ***. Exit status: 0 no errors, 1 errors found, 2 usage error."
        ),
    )
    command.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="flow file, folder of flow files, or - for stdin"
    )
    command.add_argument("--format", choices=("text", "json", "github"), default="text", help="default: text")

    command = commands.add_parser(
        "render",
        help="show the request of one action for one contact",
        description=(
            "Show the request of an action for one contact, without sending it. The response must contain recorded "
            'results of earlier actions on the path: "actions": {"Create contact": [{"outcome": "success", …}]}.'
        ),
    )
    _add_flow_and_response(command)
    command.add_argument("--step", metavar="NAME", required=True, help="name of the action step")
    command.add_argument("--format", choices=("http", "curl", "json"), default="http", help="default: http")

    command = commands.add_parser(
        "run",
        help="run a flow for one contact",
        description=(
            "Walk one contact through a flow and send the requests of its actions. Connections come from "
            "AIRFLOW_CONN_<ID>, limits from AIRFLOW__WHATSAPP_FLOWS__… or airflow.cfg. Exit status: 0 completed, "
            "1 refused, 2 usage error, 3 failed, rejected, or in doubt, 130 interrupted."
        ),
    )
    _add_flow_and_response(command)
    add_format(command)

    add_replay(commands)
    add_ledger(commands)
    add_test(commands)
    add_graph(commands)
    add_diff(commands)
    add_import(commands)
    add_init(commands)
    add_schema(commands)


def _add_flow_and_response(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", type=Path, help="flow file")
    command.add_argument(
        "--response", metavar="FILE", type=Path, required=True, help="contact response, or - for stdin"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program name; default: ``sys.argv[1:]``.

    Returns:
        The exit status.
    """
    return run_parsed(parser().parse_args(arguments))


def run_parsed(options: argparse.Namespace) -> int:
    """Run the command of parsed arguments, and return the exit status."""
    _print_anything()
    with harmless_output():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        status = command_of(options.command)(options)
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


def command_of(*names: str) -> Callable[[argparse.Namespace], int]:
    """Return the function of a command, such as ``replay`` ``run``; import only its module.

    ``validate`` needs no HTTP client.
    """
    module = importlib.import_module(".".join(("airflow_whatsapp_flows.cli", *names)))
    command: Callable[[argparse.Namespace], int] = getattr(module, names[-1])
    return command


def refuse(*errors: FlowsError) -> int:
    """Print errors without terminal control characters and return the exit status."""
    from airflow_whatsapp_flows.flow.reply.excerpt import escape_unprintable

    for error in errors:
        for line in str(error).split("\n"):
            print(escape_unprintable(line), file=sys.stderr)
    return REFUSED


def _unreadable(error: OSError, status: int) -> int:
    """Prevent the error that Python would print when flushing at exit, and return the status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # the reader, such as head, has exited
        return status
    print(f"cannot write the output: {error.strerror}", file=sys.stderr)
    return status or REFUSED


def _print_anything() -> None:
    # A lone surrogate, or non-ASCII text in an ASCII locale, would end in a traceback.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # closed with the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

"""The arguments of ``whatsapp-flows replay`` and ``whatsapp-flows ledger``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

from airflow_whatsapp_flows.cli.argument_types import (
    concurrency,
    handled_errors,
    moment,
    pair,
    rate,
    renamed,
    whole,
)
from airflow_whatsapp_flows.cli.ledger_arguments import add_upkeep

_STATES = ("pending", "completed", "failed", "rejected", "in_doubt", "skipped")
_STATUS = (
    "Exit status: 0 every contact completed or skipped; 3 finished with some failed, rejected or in doubt, or with too "
    "many, or all, that took an error exit; "
    "4 stopped early, and the same command goes on; 1 refused (flow, source, ledger); 2 usage."
)


def add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``replay`` and its commands; ``replay_command`` is also the name of the module and function that does it."""
    replay = commands.add_parser(
        "replay",
        help="send batches of recorded responses through a flow",
        description=(
            "Send a batch of recorded contact responses through a flow. What was sent, and what came of it, is in the "
            "ledger: run the same command again, and it goes on where it stopped."
        ),
    )
    inner = replay.add_subparsers(dest="replay_command", metavar="COMMAND", required=True)
    _add_plan_and_run(inner)
    _add_list_and_status(inner)
    _add_results(inner)
    _add_retry(inner)
    _add_resolve(inner)


def add_ledger(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``ledger`` and its commands; ``ledger_command`` is also the name of the module and function that does it."""
    ledger = commands.add_parser(
        "ledger",
        help="what the ledger holds of a person, and upkeep of the ledger itself",
        description="Find, and erase, what the ledger holds of a person; upgrade the ledger.",
    )
    inner = ledger.add_subparsers(dest="ledger_command", metavar="COMMAND", required=True)

    command = inner.add_parser(
        "find",
        help="everything that was sent to one person",
        description="Everything that was sent to one person, over all replays and DAG runs.",
    )
    _add_person(command.add_mutually_exclusive_group(required=True))
    _add_format(command)
    _add_ledger_url(command)

    command = inner.add_parser(
        "purge",
        help="erase personal data; keys, states and times stay",
        description=(
            "Erase personal data: responses, phone numbers and other identifiers, replies and texts of errors. Keys, "
            "states and times stay, so no response is sent twice afterwards."
        ),
    )
    which = command.add_mutually_exclusive_group(required=True)
    _add_person(which)
    which.add_argument("--before", metavar="DATE", type=moment, help="of contacts that ended before, 2026-11-01")
    which.add_argument("--replay", metavar="ID", help="of one replay")
    command.add_argument("--yes", action="store_true", help="do not ask")
    _add_ledger_url(command)

    add_upkeep(inner)


def _add_person(which: argparse._MutuallyExclusiveGroup) -> None:
    which.add_argument("--phone", metavar="P", help="one person, by phone number")
    which.add_argument("--email", metavar="E", help="one person, by e-mail address")
    which.add_argument("--id", metavar="ID", help="one person, by contact.id or an identifier that the flow lists")
    which.add_argument("--user-id", metavar="ID", help="one person, by WhatsApp's contact.user_id")


def _add_plan_and_run(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    plan = "Show what a replay would send; sends nothing, and writes nothing. Exit status: 0 shown, 1 refused, 2 usage."
    run = f"Send a batch of responses, or go on with one that was stopped. {_STATUS}"
    for name, short, long in (
        ("plan", "show what a replay would send, and send nothing", plan),
        ("run", "send a batch, or go on with it", run),
    ):
        command = inner.add_parser(name, help=short, description=long)
        command.add_argument("flow", metavar="FLOW", type=Path, help="a flow file")
        _add_source(command)
        command.add_argument("--replay-id", metavar="ID", help="name of the replay; default: found or made")
        _add_sending(command)
        command.add_argument("--limit", metavar="N", type=whole, help="take this many rows at most")
        command.add_argument(
            "--send",
            choices=("failed", "all"),
            help="where a response has recorded results: send what failed or never ran, or all again; default: failed",
        )
        command.add_argument(
            "--on-changed",
            choices=("reject", "update"),
            help="a response whose id was sent with other content: reject it, or send it under new keys once the fate "
            "of what was sent before is known; default: the flow's replay.on_changed, else reject",
        )
        command.add_argument(
            "--force", action="store_true", help="send again on purpose what was sent before, under new keys"
        )
        command.add_argument(
            "--accept-changed-flow", action="store_true", help="go on although the flow has changed since it began"
        )
        _add_renamed(command)
        command.add_argument("--note", metavar="TEXT", help="why; kept in the ledger")
        _add_format(command)
        _add_ledger_url(command)


def _add_source(command: argparse.ArgumentParser) -> None:
    source = command.add_argument_group("responses")
    source.add_argument(
        "--responses",
        metavar="SRC",
        required=True,
        help="a file (JSON Lines, CSV, Parquet; .gz), a glob, - for standard input, s3://…, or a database URL",
    )
    source.add_argument("--query", metavar="SQL", help="the rows of a database URL")
    source.add_argument("--id", metavar="COLUMN", help="column of the response's id; default: id")
    source.add_argument(
        "--column",
        metavar="KEY=COLUMN",
        type=pair,
        action="append",
        default=[],
        help="column of a key of the response, such as contact.phone=Teléfono",
    )
    source.add_argument(
        "--responses-format", choices=("jsonl", "csv", "parquet"), help="default: what the file's name ends in"
    )


def _add_sending(command: argparse.ArgumentParser) -> None:
    sending = command.add_argument_group("sending")
    sending.add_argument(
        "--concurrency", metavar="N", type=concurrency, help="requests under way at once, for each host; default: 64"
    )
    sending.add_argument(
        "--rate",
        metavar="N | HOST=N",
        type=rate,
        action="append",
        default=[],
        help="requests a second at most, for each host or for one",
    )
    sending.add_argument(
        "--allow-host",
        metavar="HOST",
        action="append",
        default=[],
        help="a private host, host:port or range that may be reached",
    )
    sending.add_argument(
        "--connection",
        metavar="ID=URL",
        type=pair,
        action="append",
        default=[],
        help="a connection, in place of AIRFLOW_CONN_<ID>: https://user:secret@crm.example",
    )

    sending.add_argument(
        "--max-handled-errors",
        metavar="N|N%",
        type=handled_errors,
        help="contacts that may take an error exit before the replay stops: a number, or a share; default: any number "
        "while it runs, and not all of them at its end",
    )
    sending.add_argument(
        "--stop-when-refused",
        action=argparse.BooleanOptionalAction,
        help="stop when a server refuses the credentials 20 times in a row, or the first 50 requests of a step; "
        "default: yes",
    )


def _add_list_and_status(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser("list", help="every replay", description="Every replay of the ledger, newest first.")
    _add_format(command)
    _add_ledger_url(command)

    command = inner.add_parser(
        "status",
        help="how far a replay has come",
        description="How far a replay has come, what went wrong, and what to do next.",
    )
    command.add_argument("id", metavar="ID", help="a replay")
    _add_format(command)
    _add_ledger_url(command)


def _add_results(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser(
        "results",
        help="what became of each contact",
        description="What became of each contact, in the order of the source: printed, or put into a table of yours.",
    )
    command.add_argument("id", metavar="ID", help="a replay")
    _add_states(command, "these contacts alone; may be repeated")
    command.add_argument(
        "--handled", action="store_true", help="contacts alone with an error that an error exit handled"
    )
    command.add_argument(
        "--as-responses", action="store_true", help="the responses as they were recorded, one JSON object per line"
    )
    command.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="default: jsonl")
    command.add_argument("--to", metavar="URL", help="write a table of this database, an SQLAlchemy URL")
    command.add_argument("--table", metavar="NAME", help="name of that table; made when it is not there")
    _add_ledger_url(command)


def _add_retry(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser(
        "retry",
        help="walk chosen contacts again from where they failed",
        description=(
            "Walk chosen contacts again from where they failed; what succeeded, or may have been applied, is not sent "
            "again. "
            f"Conditions are ANDed. {_STATUS}"
        ),
    )
    command.add_argument("id", metavar="ID", help="a replay")
    _add_states(command, "contacts in this state; may be repeated; default: failed")
    command.add_argument("--step", metavar="NAME", help="contacts whose last attempt of this action was an error")
    command.add_argument("--outcome", choices=("error",), help="with --step")
    command.add_argument(
        "--handled",
        action="store_true",
        help="contacts with an error that an error exit handled",
    )
    command.add_argument("--fingerprint", metavar="F", help="contacts with this error, as `replay status` shows it")
    command.add_argument("--since", metavar="T", type=moment, help="contacts that ended at or after; UTC by default")
    command.add_argument("--until", metavar="T", type=moment, help="contacts that ended before; UTC by default")
    command.add_argument("--flow", metavar="FILE", type=Path, help="go on with a mended flow")
    command.add_argument(
        "--accept-duplicates",
        action="store_true",
        help="send again also what the server may have applied; it may be applied twice",
    )
    _add_renamed(command)
    _add_sending(command)
    _add_format(command)
    _add_ledger_url(command)


def _add_resolve(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser(
        "resolve",
        help="say what came of requests that are in doubt",
        description="Say what came of requests that are in doubt, or with --handled of server errors that an error "
        "exit took, as you found it in the CRM. Their contacts become pending.",
    )
    command.add_argument("id", metavar="ID", help="a replay")
    command.add_argument("response", metavar="RESPONSE", nargs="?", help="id of one response")
    command.add_argument("--step", metavar="NAME", help="attempts of this action")
    command.add_argument("--visit", metavar="N", type=whole, help="attempts of this visit of the step, from 1")
    command.add_argument("--fingerprint", metavar="F", help="contacts with this error")
    command.add_argument(
        "--handled",
        action="store_true",
        help="errors that an error exit took although the server may have applied the request, such as a 504",
    )
    command.add_argument(
        "--as",
        dest="as_",
        choices=("sent", "not_sent"),
        required=True,
        help="sent: the CRM has it, and the walk goes on behind it; not_sent: it has not, and it may be sent again",
    )
    command.add_argument("--reply", metavar="FILE", type=Path, help="with --as sent: the reply, for later steps")
    _add_format(command)
    _add_ledger_url(command)


def _add_renamed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--renamed",
        metavar="OLD=NEW",
        type=renamed,
        action="append",
        default=[],
        help="the step NEW was called OLD when it was sent; OLD= says that it was removed; may be repeated",
    )


def _add_states(command: argparse.ArgumentParser, help_: str) -> None:
    command.add_argument("--state", metavar="S", choices=_STATES, action="append", default=[], help=help_)


def _add_format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def _add_ledger_url(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ledger", metavar="URL", help="SQLAlchemy URL; default: [whatsapp_flows] ledger, else a file in AIRFLOW_HOME"
    )


def command_of(group: str, name: str) -> Callable[[argparse.Namespace], int]:
    """The function of a command of a group, such as ``run`` of ``replay``; only its own module is imported."""
    module = importlib.import_module(f"airflow_whatsapp_flows.cli.{group}.{name}")
    command: Callable[[argparse.Namespace], int] = getattr(module, name)
    return command

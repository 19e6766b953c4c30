"""Arguments of ``whatsapp-flows replay``."""

from __future__ import annotations

import argparse
from pathlib import Path

from airflow_whatsapp_flows.cli.argument_types import (
    concurrency,
    handled_errors,
    moment,
    pair,
    rate,
    rename,
    whole,
    workers,
)
from airflow_whatsapp_flows.cli.common_arguments import add_format, add_ledger_url
from airflow_whatsapp_flows.cli.cursor_arguments import add_cursor, add_cursor_options

_STATES = ("pending", "completed", "failed", "rejected", "in_doubt", "skipped")
_STATUS = (
    "Exit status: 0 every contact is completed or skipped; 1 refused (flow, source, or ledger); 2 usage error; "
    "3 finished, but some contacts are failed, rejected, or in doubt, or too many (or all) took an error exit; "
    "4 stopped early (rerun the same command to resume)."
)


def add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``replay`` and its commands; ``replay_command`` is also the name of the module and function that runs it."""
    replay = commands.add_parser(
        "replay",
        help="replay batches of recorded responses through a flow",
        description=(
            "Replay a batch of recorded contact responses through a flow. The ledger records every request and its "
            "outcome: rerun the same command to resume where it stopped."
        ),
    )
    inner = replay.add_subparsers(dest="replay_command", metavar="COMMAND", required=True)
    _add_plan_and_run(inner)
    _add_list_and_status(inner)
    _add_results(inner)
    _add_retry(inner)
    _add_resolve(inner)
    add_cursor(inner)


def _add_plan_and_run(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    plan = (
        "Show what a replay would send, without sending or writing anything. "
        "Exit status: 0 success, 1 refused, 2 usage error."
    )
    run = f"Send a batch of responses, or resume one that stopped. {_STATUS}"
    for name, short, long in (
        ("plan", "show what a replay would send, without sending anything", plan),
        ("run", "send a batch, or resume it", run),
    ):
        command = inner.add_parser(name, help=short, description=long)
        command.add_argument("flow", metavar="FLOW", type=Path, help="flow file")
        _add_source(command)
        command.add_argument(
            "--replay-id",
            metavar="ID",
            help="name of the replay; default: the existing replay of this batch, or a new name",
        )
        _add_sending(command)
        command.add_argument("--limit", metavar="N", type=whole, help="read at most this many rows")
        command.add_argument(
            "--send",
            choices=("failed", "all"),
            help="for responses with recorded results: send only what failed or never ran, or send all again; "
            "default: failed",
        )
        command.add_argument(
            "--on-changed",
            choices=("reject", "update"),
            help="a response whose id was already sent with different content: reject it, or send it under new keys "
            "once the outcome of earlier requests is known; default: replay.on_changed of the flow, or else reject",
        )
        command.add_argument(
            "--force", action="store_true", help="send everything again, under new keys, even if it was already sent"
        )
        command.add_argument(
            "--accept-changed-flow",
            action="store_true",
            help="resume even though the flow has changed since the replay started",
        )
        _add_renamed(command)
        command.add_argument("--note", metavar="TEXT", help="reason for the replay, stored in the ledger")
        if name == "run":
            _add_canary(command)
        add_format(command)
        add_ledger_url(command)


def _add_canary(command: argparse.ArgumentParser) -> None:
    canary = command.add_mutually_exclusive_group()
    canary.add_argument(
        "--canary",
        metavar="N",
        type=whole,
        help="send only the first N pending contacts, report what the servers answered, and hold the others; on a "
        "terminal, ask whether to send them too. The same command again sends none of the others",
    )
    canary.add_argument("--release", action="store_true", help="send the contacts that --canary has held")


def _add_source(command: argparse.ArgumentParser) -> None:
    source = command.add_argument_group("responses")
    source.add_argument(
        "--responses",
        metavar="SRC",
        required=True,
        help="file (JSON Lines, CSV, Parquet; .gz), glob, - for stdin, s3://…, or database URL",
    )
    source.add_argument("--query", metavar="SQL", help="query to run if the source is a database URL")
    for which in ("start", "end"):
        source.add_argument(
            f"--interval-{which}",
            metavar="T",
            type=moment,
            help=f"{which} of the interval to read, which in Airflow comes from the run: :data_interval_{which} in the "
            f"query, {{{{ run.data_interval_{which} }}}} in --responses; default time zone: UTC",
        )
    add_cursor_options(source)
    source.add_argument("--id", metavar="COLUMN", help="column with the response id; default: id")
    source.add_argument(
        "--column",
        metavar="KEY=COLUMN",
        type=pair,
        action="append",
        default=[],
        help="column to read a key of the response from, such as contact.phone=Teléfono",
    )
    source.add_argument(
        "--responses-format", choices=("jsonl", "csv", "parquet"), help="default: by the file extension"
    )


def _add_sending(command: argparse.ArgumentParser) -> None:
    sending = command.add_argument_group("sending")
    sending.add_argument(
        "--concurrency", metavar="N", type=concurrency, help="concurrent requests per host; default: 64"
    )
    sending.add_argument(
        "--workers",
        metavar="N|auto",
        type=workers,
        help="processes that send, which divide the concurrency among them; default: auto, one for each processor, "
        "but only one for fewer than 2,000 contacts",
    )
    sending.add_argument(
        "--rate",
        metavar="N | HOST=N",
        type=rate,
        action="append",
        default=[],
        help="maximum requests per second, for every host or for one",
    )
    sending.add_argument(
        "--allow-host",
        metavar="HOST",
        action="append",
        default=[],
        help="private host, host:port, or range to allow",
    )
    sending.add_argument(
        "--connection",
        metavar="ID=URL",
        type=pair,
        action="append",
        default=[],
        help="connection to use instead of AIRFLOW_CONN_<ID>: https://user:secret@crm.example",
    )
    sending.add_argument(
        "--max-handled-errors",
        metavar="N|N%",
        type=handled_errors,
        help="number or percentage of contacts that may take an error exit before the replay stops; default: no "
        "limit, but the replay doesn't succeed if all of them do",
    )
    sending.add_argument(
        "--stop-when-refused",
        action=argparse.BooleanOptionalAction,
        help="stop if a server rejects the credentials 20 times in a row, or rejects the first 50 requests of a step; "
        "default: yes",
    )


def _add_list_and_status(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser(
        "list", help="list all replays", description="List all replays in the ledger, newest first."
    )
    add_format(command)
    add_ledger_url(command)

    command = inner.add_parser(
        "status",
        help="show the progress of a replay",
        description="Show the progress of a replay, its errors, and what to do next.",
    )
    command.add_argument("id", metavar="ID", help="id of the replay")
    add_format(command)
    add_ledger_url(command)


def _add_results(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser(
        "results",
        help="show the result of each contact",
        description="Show the result of each contact, in source order, or write the results to tables or files.",
    )
    command.add_argument("id", metavar="ID", help="id of the replay")
    _add_states(command, "only contacts in this state; may be repeated")
    command.add_argument(
        "--handled", action="store_true", help="only contacts with an error that an error exit handled"
    )
    command.add_argument(
        "--as-responses", action="store_true", help="print the responses as recorded, one JSON object per line"
    )
    command.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="default: jsonl")
    command.add_argument(
        "--to",
        metavar="URL",
        help="write to a table in this database (SQLAlchemy URL), or to a .jsonl, .csv, or .parquet file",
    )
    command.add_argument("--table", metavar="NAME", help="name of the table; created if it doesn't exist")
    add_ledger_url(command)


def _add_retry(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser(
        "retry",
        help="resume selected contacts where they failed",
        description=(
            "Resume selected contacts where they failed. Requests that succeeded, or may have been applied, are not "
            f"sent again. Conditions are combined with AND. {_STATUS}"
        ),
    )
    command.add_argument("id", metavar="ID", help="id of the replay")
    _add_states(command, "only contacts in this state; may be repeated; default: failed")
    command.add_argument(
        "--step",
        metavar="NAME",
        action="append",
        default=[],
        help="only contacts whose last attempt of this action was an error; may be repeated",
    )
    command.add_argument("--outcome", choices=("error",), help="how the last attempt ended; with --step")
    command.add_argument(
        "--handled",
        action="store_true",
        help="only contacts with an error that an error exit handled",
    )
    command.add_argument(
        "--fingerprint", metavar="F", help="only contacts with this error, as shown by `replay status`"
    )
    command.add_argument(
        "--response",
        metavar="RESPONSE",
        action="append",
        default=[],
        help="only contacts with this response id; may be repeated",
    )
    command.add_argument(
        "--since",
        metavar="T",
        type=moment,
        help="only contacts that ended at or after this time; default time zone: UTC",
    )
    command.add_argument(
        "--until", metavar="T", type=moment, help="only contacts that ended before this time; default time zone: UTC"
    )
    command.add_argument("--flow", metavar="FILE", type=Path, help="continue with this corrected flow")
    command.add_argument(
        "--accept-duplicates",
        action="store_true",
        help="also resend requests that the server may have applied; they may be applied twice",
    )
    _add_renamed(command)
    _add_sending(command)
    add_format(command)
    add_ledger_url(command)


def _add_resolve(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = inner.add_parser(
        "resolve",
        help="record the outcome of requests that are in doubt",
        description="Record what you found in the CRM about requests that are in doubt or, with --handled, about "
        "server errors that an error exit handled. Their contacts become pending.",
    )
    command.add_argument("id", metavar="ID", help="id of the replay")
    command.add_argument("response", metavar="RESPONSE", nargs="?", help="id of the response")
    command.add_argument("--step", metavar="NAME", help="only attempts of this action")
    command.add_argument(
        "--visit", metavar="N", type=whole, help="only attempts of this visit of the step, starting at 1"
    )
    command.add_argument("--fingerprint", metavar="F", help="only contacts with this error")
    command.add_argument(
        "--handled",
        action="store_true",
        help="errors that an error exit handled although the server may have applied the request, such as a 504",
    )
    command.add_argument(
        "--as",
        dest="as_",
        choices=("sent", "not_sent"),
        required=True,
        help="sent: the CRM has it, and the walk continues after it; not_sent: the CRM doesn't have it, and it may be "
        "sent again",
    )
    command.add_argument("--reply", metavar="FILE", type=Path, help="the reply, for later steps; with --as sent")
    add_format(command)
    add_ledger_url(command)


def _add_renamed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--renamed",
        metavar="OLD=NEW",
        type=rename,
        action="append",
        default=[],
        help="step NEW was called OLD when its requests were sent; OLD= if it was removed; may be repeated",
    )


def _add_states(command: argparse.ArgumentParser, help_: str) -> None:
    command.add_argument("--state", metavar="S", choices=_STATES, action="append", default=[], help=help_)

"""Arguments of ``whatsapp-flows replay`` about cursors."""

from __future__ import annotations

import argparse

from airflow_whatsapp_flows.cli.argument_types import overlap
from airflow_whatsapp_flows.cli.common_arguments import add_format, add_ledger_url


def add_cursor_options(source: argparse._ArgumentGroup) -> None:
    """Add the options that read only new rows."""
    source.add_argument(
        "--cursor",
        metavar="COLUMN",
        help="read only rows after those of earlier replays, by this column (or file_modified); the query may use "
        ":watermark, and --responses {{ run.watermark }}",
    )
    source.add_argument(
        "--cursor-overlap",
        metavar="N",
        type=overlap,
        help="with --cursor: seconds before the watermark that are read again, for late rows, or of a column with "
        "numbers how much lower; default: 300 for a time, or else 0",
    )


def add_cursor(inner: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``replay cursor``."""
    command = inner.add_parser(
        "cursor",
        help="show or move the watermark of a flow's source",
        description="Show up to where the replays of a flow have read its sources, or set that watermark: the next "
        "replay reads on from there. Exit status: 0 success, 1 refused, 2 usage error.",
    )
    command.add_argument("flow", metavar="FLOW", help="flow file, or id of a flow")
    command.add_argument(
        "--source",
        metavar="S",
        help="only this source, as the flow or --responses names it; default: all, or the only one to move",
    )
    command.add_argument(
        "--column", metavar="COLUMN", help="only this cursor column; default: all, or the only one to move"
    )
    move = command.add_mutually_exclusive_group()
    move.add_argument(
        "--set", metavar="VALUE", help="have the next replay read from this value, such as 2026-11-22T16:04:00Z"
    )
    move.add_argument("--clear", action="store_true", help="have the next replay read everything")
    command.add_argument("--yes", action="store_true", help="move it backward without asking")
    add_format(command)
    add_ledger_url(command)

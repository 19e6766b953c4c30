"""``whatsapp-flows replay results``: the result of each contact."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from airflow_whatsapp_flows.cli import USAGE
from airflow_whatsapp_flows.cli.ledger_access import open_ledger
from airflow_whatsapp_flows.flow.format.replay import RESULT_FILES
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.results import ContactResult, contact_results, iter_responses
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.result_rows import csv_head, csv_line, json_line
from airflow_whatsapp_flows.replay.status import get_replay


def results(options: argparse.Namespace) -> int:
    """Print the results, or write them to a table; return 0."""
    problem = _usage_error(options)
    if problem:
        print(problem, file=sys.stderr)
        return USAGE
    with open_ledger(options) as ledger:
        replay = get_replay(ledger, options.id)
        if options.as_responses:
            _print_responses(ledger, replay, options.state)
            return 0
        found = contact_results(ledger, replay, options.state, handled=options.handled)
        if options.to:
            _export(options, replay, found)
        elif options.format == "csv":
            sys.stdout.write(csv_head())
            sys.stdout.writelines(map(csv_line, found))
        else:
            sys.stdout.writelines(map(json_line, found))
    return 0


def _usage_error(options: argparse.Namespace) -> str | None:
    if options.table and not options.to:
        return "--table NAME requires --to URL"
    if options.to and not options.table and not options.to.endswith(RESULT_FILES):
        return f"--to is a database, which requires --table NAME, or a file that ends with {' or '.join(RESULT_FILES)}"
    if options.to and options.as_responses:
        return "--to writes results, but --as-responses prints responses: use one of them"
    if options.handled and options.as_responses:
        return "--handled selects results, but --as-responses prints responses: use one of them"
    if options.as_responses and options.format == "csv":
        return "responses are printed only as JSON Lines: remove --format csv"
    return None


def _print_responses(ledger: Ledger, replay: Replay, states: list[str]) -> None:
    without = 0
    for response in iter_responses(ledger, replay, states):
        if response is None:
            without += 1
        else:
            print(response)
    if without:
        rows = plural(without, "row")
        print(f"{rows} left out: rejected and purged rows have no response here", file=sys.stderr)


def _export(options: argparse.Namespace, replay: Replay, found: Iterator[ContactResult]) -> None:
    from airflow_whatsapp_flows.replay.export import WrittenBy, file_at_url, table_at_url

    target = table_at_url(options.to, options.table) if options.table else file_at_url(options.to)
    written = target.write(replay, found, WrittenBy())
    place = f"the table {options.table}" if options.table else target.name
    print(f"{plural(written.actions, 'row')} of the replay {replay.id} in {place}")

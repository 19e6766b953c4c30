"""``whatsapp-flows replay results``: the result of each contact."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from airflow_whatsapp_flows.cli import USAGE
from airflow_whatsapp_flows.cli.ledger_access import open_ledger
from airflow_whatsapp_flows.cli.tables import plural
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.later_results import LaterResult
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.results import ActionRecord, ContactResult, contact_results, iter_responses
from airflow_whatsapp_flows.replay.status import get_replay

_COLUMNS = ("id", "state", "reason", "handled_errors", "path", "error", "actions", "later")
# A spreadsheet interprets text that starts with these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?")


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
            _print_csv(found)
        else:
            for result in found:
                print(_dump(as_json(result)))
    return 0


def _usage_error(options: argparse.Namespace) -> str | None:
    if bool(options.to) != bool(options.table):
        return "--to URL and --table NAME require each other"
    if options.to and options.as_responses:
        return "--to writes results, but --as-responses prints responses: use one of them"
    if options.handled and options.as_responses:
        return "--handled selects results, but --as-responses prints responses: use one of them"
    if options.as_responses and options.format == "csv":
        return "responses are printed only as JSON Lines: remove --format csv"
    return None


def as_json(result: ContactResult) -> dict[str, Any]:
    """Convert a contact to JSON: an object with the keys in ``_COLUMNS``."""
    return {
        "id": result.id,
        "state": result.state.value,
        "reason": result.reason,
        "handled_errors": result.handled_errors,
        "path": result.path,
        "error": result.error,
        "actions": [_action(action) for action in result.actions],
        "later": None if result.later is None else _later(result.later),
    }


def _later(later: LaterResult) -> dict[str, Any]:
    return {
        "where": later.where,
        "came": later.came,
        "text": later.text,
        "actions": [_action(action) for action in later.actions],
    }


def _action(action: ActionRecord) -> dict[str, Any]:
    return {
        "step": action.step,
        "visit": action.visit,
        "attempts": action.attempts,
        "status_code": action.status_code,
        "outcome": action.outcome,
        "idempotency_key": action.idempotency_key,
        **({} if action.reply is None else {"reply": action.reply}),
    }


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
    from airflow_whatsapp_flows.replay.export import export_results

    written = export_results(options.to, options.table, replay, found)
    print(f"{plural(written, 'row')} of the replay {replay.id} in the table {options.table}")


def _print_csv(found: Iterator[ContactResult]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for result in found:
        value = as_json(result)
        value["path"] = " → ".join(result.path)
        value["error"] = _error(result.error)
        value["actions"] = _dump(value["actions"])
        value["later"] = result.later and result.later.text
        writer.writerow([_cell(value[column]) for column in _COLUMNS])


def _error(error: dict[str, Any] | None) -> str | None:
    if error is None:
        return None
    status = f" {error['status_code']}" if error.get("status_code") else ""
    reply = f"; reply: {error['reply']}" if error.get("reply") else ""
    return f"{error.get('step')}: {error.get('kind')}{status}: {error.get('message')}{reply}"


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NEGATIVE.fullmatch(value):
        return f"'{value}"
    return value


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

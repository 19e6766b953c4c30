"""Results of contacts as rows of JSON Lines and CSV: for the command and for a page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from airflow_whatsapp_flows.ledger.later_results import LaterResult
from airflow_whatsapp_flows.ledger.results import ActionRecord, ContactResult

COLUMNS = ("id", "state", "reason", "handled_errors", "path", "error", "actions", "later")
# A spreadsheet interprets text that starts with these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?")
# Not only a line feed ends a line: csv.writer leaves the others unquoted.
_LINE_END = re.compile("(\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029])")
_SPECIAL = re.compile('[",\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]')


def json_line(result: ContactResult) -> str:
    """Return a contact as a line of JSON, with its end: an object with the keys in :data:`COLUMNS`."""
    return f"{_dump(_as_json(result))}\n"


def csv_line(result: ContactResult) -> str:
    """Return a contact as a line of CSV, with its end, that is safe to open in a spreadsheet."""
    value = _as_json(result)
    value["path"] = " → ".join(result.path)
    value["error"] = _error(result.error)
    value["actions"] = _dump(value["actions"])
    value["later"] = result.later and result.later.text
    return csv_cells([value[column] for column in COLUMNS])


def csv_head() -> str:
    """Return the first line of the CSV, with its end."""
    return _line(COLUMNS)


def csv_cells(values: Sequence[object]) -> str:
    """Return a line of CSV, with its end, that is safe to open in a spreadsheet."""
    return _line([_cell(value) for value in values])


def _line(cells: Any) -> str:
    return ",".join(map(_quote_cell, cells)) + "\n"


def _quote_cell(value: object) -> str:
    text = "" if value is None else str(value)
    if not _SPECIAL.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _as_json(result: ContactResult) -> dict[str, Any]:
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


def _error(error: dict[str, Any] | None) -> str | None:
    if error is None:
        return None
    status = f" {error['status_code']}" if error.get("status_code") else ""
    reply = f"; reply: {error['reply']}" if error.get("reply") else ""
    return f"{error.get('step')}: {error.get('kind')}{status}: {error.get('message')}{reply}"


def _cell(value: object) -> object:
    """Return a value whose every line is text for a spreadsheet, also for one that takes each line for a row."""
    if not isinstance(value, str):
        return value
    if value.startswith(_FORMULA) and not _NEGATIVE.fullmatch(value):
        value = f"'{value}"
    first, *others = _LINE_END.split(value)  # lines and, between them, their ends
    return first + "".join(
        f"'{part}" if part.startswith(_FORMULA) and not _LINE_END.fullmatch(part) else part for part in others
    )


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Results of contacts as rows of two tables: visits of actions, and contacts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.results import ActionRecord, ContactResult
from airflow_whatsapp_flows.ledger.rows import ContactState

_MOST_CONTACTS, _MOST_ROWS = 200, 1000
"""Of one batch."""

Kind = Literal["name", "text", "number", "id", "time"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: its name, which never changes.
        kind: of its values.
        size: maximum characters of a name.
        required: whether every row has a value.
    """

    name: str
    kind: Kind = "text"
    size: int = 0
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBy:
    """The task that writes results; ``None`` where there is none.

    Attributes:
        dag_id: of its DAG.
        run_id: of its run.
        task_id: of the task.
        data_interval_start: start of the interval of the run.
        data_interval_end: its end.
    """

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    data_interval_start: dt.datetime | None = None
    data_interval_end: dt.datetime | None = None


RUN_COLUMNS = tuple(field.name for field in fields(WrittenBy))
"""Names of the columns that say which run wrote a row."""
_RUN = (
    Column("dag_id", "name", 250),
    Column("run_id", "name", 250),
    Column("task_id", "name", 250),
    Column("data_interval_start", "time"),
    Column("data_interval_end", "time"),
    Column("written_at", "time"),
)
ACTION_COLUMNS = (
    Column("replay_id", "name", 500, required=True),
    Column("flow_id", "name", 100, required=True),
    Column("response_id", "name", 500),
    Column("state", "name", 20, required=True),
    Column("reason"),
    Column("step", "name", 100),
    Column("visit", "number"),
    Column("method", "name", 10),
    Column("attempts", "number"),
    Column("status_code", "number"),
    Column("outcome", "name", 20),
    Column("error_kind", "name", 50),
    Column("error_reason"),
    Column("reply"),
    Column("later"),
    Column("idempotency_key", "name", 200),
    Column("sent_at", "time"),
    Column("row_key", "name", 160),
    Column("contact_no", "id"),
    Column("exit", "name", 20),
    Column("fingerprint", "name", 20),
    Column("answered_at", "time"),
    *_RUN,
)
"""Columns of the table with one row for each visit of an action, and one for each contact without any."""
FIRST_COLUMNS = frozenset(column.name for column in ACTION_COLUMNS[:13]) | {"idempotency_key", "sent_at"}
"""Columns that every version of that table has."""
CONTACT_COLUMNS = (
    Column("replay_id", "name", 500, required=True),
    Column("contact_no", "id", required=True),
    Column("flow_id", "name", 100, required=True),
    Column("response_id", "name", 500),
    Column("place"),
    Column("state", "name", 20, required=True),
    Column("reason"),
    Column("path"),
    Column("handled_errors", "number"),
    Column("requests", "number"),
    Column("error_step", "name", 100),
    Column("error_kind", "name", 50),
    Column("status_code", "number"),
    Column("error_reason"),
    Column("fingerprint", "name", 20),
    Column("reply"),
    Column("later"),
    Column("first_sent_at", "time"),
    Column("ended_at", "time"),
    *_RUN,
)
"""Columns of the table with one row for each contact."""
ACTION_KEY = ("replay_id", "row_key")
CONTACT_KEY = ("replay_id", "contact_no")
Row = dict[str, Any]


@dataclass(slots=True)
class Written:
    """How many rows were written.

    Attributes:
        actions: of visits of actions, and contacts without any.
        contacts: of contacts.
    """

    actions: int = 0
    contacts: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a few contacts.

    Attributes:
        actions: of the visits of their actions.
        contacts: one of each.
    """

    actions: list[Row]
    contacts: list[Row]


def batches(replay: Replay, results: Iterable[ContactResult], written_by: WrittenBy) -> Iterator[Batch]:
    """Iterate over the rows of contacts, in batches that use little memory."""
    run = {name: getattr(written_by, name) for name in RUN_COLUMNS}
    run["written_at"] = dt.datetime.now(dt.timezone.utc)
    actions: list[Row] = []
    found: list[Row] = []
    for result in results:
        actions += _action_rows(replay, result, run)
        found.append(_contact_row(replay, result, run))
        if len(found) >= _MOST_CONTACTS or len(actions) >= _MOST_ROWS:
            yield Batch(actions, found)
            actions, found = [], []
    if found:
        yield Batch(actions, found)


def _contact_row(replay: Replay, result: ContactResult, run: Mapping[str, Any]) -> Row:
    error = result.error or {}
    sent = [action.sent_at for action in result.actions]
    return {
        "replay_id": replay.id,
        "contact_no": result.number,
        "flow_id": replay.flow_id,
        "response_id": result.id,
        "place": result.place,
        "state": result.state.value,
        "reason": result.reason,
        "path": " → ".join(result.path),
        "handled_errors": result.handled_errors,
        "requests": sum(action.attempts for action in result.actions),
        "error_step": error.get("step"),
        "error_kind": error.get("kind"),
        "status_code": error.get("status_code"),
        "error_reason": error.get("message"),
        "fingerprint": result.fingerprint,
        "reply": error.get("reply"),
        "later": result.later and result.later.text,
        "first_sent_at": _time(min(sent, default=None)),
        "ended_at": _time(result.ended_at),
        **run,
    }


def _action_rows(replay: Replay, result: ContactResult, run: Mapping[str, Any]) -> Iterator[Row]:
    contact = {
        "replay_id": replay.id,
        "flow_id": replay.flow_id,
        "response_id": result.id,
        "state": result.state.value,
        "reason": result.reason,
        "later": result.later and result.later.text,
        "contact_no": result.number,
        **run,
    }
    if not result.actions:
        yield {**_NO_ACTION, **contact, "row_key": str(result.number), "fingerprint": result.fingerprint}
    for action in result.actions:
        failed = result.error if result.error and result.error.get("step") == action.step else {}
        yield {
            **contact,
            "row_key": f"{result.number}:{action.visit}:{action.step}",
            "step": action.step,
            "visit": action.visit,
            "method": action.method,
            "attempts": action.attempts,
            "status_code": action.status_code,
            "outcome": action.outcome,
            "exit": _exit(result, action),
            "error_kind": action.error_kind,
            "error_reason": failed.get("message") if action.error_kind else None,
            "fingerprint": result.fingerprint if action.error_kind and failed else None,
            "reply": action.reply,
            "idempotency_key": action.idempotency_key,
            "sent_at": _time(action.sent_at),
            "answered_at": _time(action.answered_at),
        }


def _exit(result: ContactResult, action: ActionRecord) -> str | None:
    """Return the exit by which the walk left a visit of an action; ``None`` if it ended there, or is unknown."""
    if action.outcome == "success":
        return "success"
    visits = [index for index, step in enumerate(result.path) if step == action.step]
    if len(visits) < action.visit:
        return None
    left = visits[action.visit - 1] < len(result.path) - 1 or result.state is ContactState.COMPLETED
    return "error" if left else None


def _time(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


_NO_ACTION: Row = dict.fromkeys(column.name for column in ACTION_COLUMNS)

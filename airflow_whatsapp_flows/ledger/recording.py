"""Writing intents and what came of them, many in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, null, update

from airflow_whatsapp_flows.ledger.rows import Again, AttemptEnd, ContactEnd, ContactState, Entry, Intent
from airflow_whatsapp_flows.ledger.schema import attempts, contacts

AGAIN: dict[str, Any] = {
    "state": ContactState.PENDING.value,
    "round": contacts.c.round + 1,
    "reason": null(),
    "path": null(),
    "error": null(),
    "fingerprint": null(),
    "handled_errors": 0,
    "unanswered": False,
    "ended_at": null(),
}
"""What a contact is set to that is to be walked again; what was tried for it stays among the attempts."""
_NOT_IN_DOUBT = (ContactState.PENDING.value, ContactState.COMPLETED.value, ContactState.FAILED.value)

Columns = dict[str, str]
"""Names of columns and their types in PostgreSQL, in the order of a row's values."""

_TEXT, _WHOLE, _NUMBER = "text", "integer", "double precision"
_WHICH_ATTEMPT: Columns = {
    "flow_id": _TEXT, "response_id": _TEXT, "step": _TEXT, "visit": _WHOLE, "key": _TEXT, "number": _WHOLE,
}  # fmt: skip
_INTENT: Columns = {
    **_WHICH_ATTEMPT, "digest": _TEXT, "method": _TEXT, "host": _TEXT, "moment": _NUMBER, "begun_at": _NUMBER,
    "replay_no": _WHOLE, "round": _WHOLE, "phone": _TEXT, "origin": _TEXT, "step_id": _TEXT,
}  # fmt: skip
_ATTEMPT_END: Columns = {
    "fate": _TEXT, "status_code": _WHOLE, "error_kind": _TEXT, "result": _TEXT, "ended_at": _NUMBER,
}  # fmt: skip
_CONTACT_END: Columns = {
    "state": _TEXT, "reason": _TEXT, "ended_at": _NUMBER, "path": _TEXT, "error": _TEXT, "fingerprint": _TEXT,
    "handled_errors": _WHOLE, "unanswered": "boolean",
}  # fmt: skip


class Statement:
    """One statement for many rows, in the form that each database runs fastest.

    SQLite takes the rows one by one within one call; PostgreSQL takes them as one JSON parameter, in one round trip.

    Args:
        for_each: for SQLite, with a ``?`` for every value.
        for_all: for PostgreSQL, over the rows ``r`` of ``{rows}``.
    """

    def __init__(self, for_each: str, for_all: str) -> None:
        self._for_each = for_each
        self._for_all = for_all.format(rows="json_array_elements(CAST(%s AS json)) AS r")

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run it.

        Args:
            connection: in a transaction.
            rows: values in the order of the columns.
        """
        if not rows:
            return
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(self._for_each, list(rows))
        else:
            connection.exec_driver_sql(self._for_all, (msgspec.json.encode(rows).decode(),))


def inserting(table: str, columns: Columns, *, or_nothing: bool = False) -> Statement:
    """A statement that adds rows.

    Args:
        table: its name.
        columns: of a row.
        or_nothing: whether a row that is there already is left as it is.
    """
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    end = " ON CONFLICT DO NOTHING" if or_nothing else ""
    return Statement(
        f"INSERT INTO {table} ({names}) VALUES ({marks}){end}",  # noqa: S608  # the table's own names
        f"INSERT INTO {table} ({names}) SELECT {', '.join(_values(columns))} FROM {{rows}}{end}",  # noqa: S608
    )


def updating(table: str, changed: Columns, which: Columns) -> Statement:
    """A statement that changes rows: values of the changed columns first, then of those that say which."""
    each = ", ".join(f"{name} = ?" for name in changed)
    this_one = " AND ".join(f"{name} = ?" for name in which)
    values = dict(zip((*changed, *which), _values({**changed, **which}), strict=True))
    every = ", ".join(f"{name} = {values[name]}" for name in changed)
    these = " AND ".join(f"{table}.{name} = {values[name]}" for name in which)
    return Statement(
        f"UPDATE {table} SET {each} WHERE {this_one}",  # noqa: S608
        f"UPDATE {table} SET {every} FROM {{rows}} WHERE {these}",  # noqa: S608
    )


def _values(columns: Columns) -> list[str]:
    return [f"CAST(r->>{position} AS {kind})" for position, kind in enumerate(columns.values())]


_INTEND = inserting(attempts.name, _INTENT)
_END_ATTEMPTS = updating(attempts.name, _ATTEMPT_END, _WHICH_ATTEMPT)
_END_CONTACTS = updating(contacts.name, _CONTACT_END, {"id": "bigint"})


def write_entries(connection: Connection, entries: Iterable[Entry]) -> None:
    """Write entries within a transaction; the order among different contacts does not matter.

    Args:
        connection: in a transaction.
        entries: of one contact in their order; an attempt's end is not among the entries of its own intent.

    Raises:
        sqlalchemy.exc.IntegrityError: an intent is already there.
    """
    intents: list[tuple[Any, ...]] = []
    attempt_ends: list[tuple[Any, ...]] = []
    contact_ends: list[tuple[Any, ...]] = []
    again: list[int] = []
    for entry in entries:
        if isinstance(entry, Intent):
            intents.append((*entry.subject, *entry[1 : len(_INTENT) - 1]))
        elif isinstance(entry, AttemptEnd):
            attempt_ends.append((*entry[1:], *entry.intent.subject, *entry.intent[1:5]))
        elif isinstance(entry, ContactEnd):
            contact_ends.append((*entry[1:], entry.contact_id))
        elif isinstance(entry, Again):
            again.append(entry.contact_id)
    _END_ATTEMPTS.run(connection, attempt_ends)
    _INTEND.run(connection, intents)
    _END_CONTACTS.run(connection, contact_ends)
    if again:
        these = contacts.c.id.in_(again) & contacts.c.state.in_(_NOT_IN_DOUBT)
        connection.execute(update(contacts).where(these).values(AGAIN))

"""Writing intents and what came of them, many in one statement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, null, select, update

from airflow_whatsapp_flows.ledger.once import MAY_BE_RELEASED, claim_once, release_once
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, ContactEnd, ContactState, Entry, Intent, NextRound
from airflow_whatsapp_flows.ledger.schema import attempts, contacts
from airflow_whatsapp_flows.ledger.statements import Columns, insert_statement, update_statement

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

_TEXT, _WHOLE, _NUMBER = "text", "integer", "double precision"
_WHICH_ATTEMPT: Columns = {
    "flow_id": _TEXT, "response_id": _TEXT, "step": _TEXT, "visit": _WHOLE, "key": _TEXT, "number": _WHOLE,
}  # fmt: skip
_INTENT: Columns = {
    **_WHICH_ATTEMPT, "digest": _TEXT, "method": _TEXT, "host": _TEXT, "moment": _NUMBER, "begun_at": _NUMBER,
    "replay_no": _WHOLE, "round": _WHOLE, "phone": _TEXT, "origin": _TEXT, "step_id": _TEXT,
    "epoch": _WHOLE, "content": _TEXT,
}  # fmt: skip
_ATTEMPT_END: Columns = {
    "fate": _TEXT, "status_code": _WHOLE, "error_kind": _TEXT, "result": _TEXT, "ended_at": _NUMBER,
}  # fmt: skip
_CONTACT_END: Columns = {
    "state": _TEXT, "reason": _TEXT, "ended_at": _NUMBER, "path": _TEXT, "error": _TEXT, "fingerprint": _TEXT,
    "handled_errors": _WHOLE, "unanswered": "boolean",
}  # fmt: skip
_INTEND = insert_statement(attempts.name, _INTENT)
# The moment tells an intent that was refused, and then withdrawn, from the one of another worker that stands there.
_END_ATTEMPTS = update_statement(attempts.name, _ATTEMPT_END, {**_WHICH_ATTEMPT, "begun_at": _NUMBER})
_END_CONTACTS = update_statement(contacts.name, _CONTACT_END, {"id": "bigint"})


def write_entries(connection: Connection, entries: Iterable[Entry]) -> set[int]:
    """Write entries within a transaction; the order among different contacts does not matter.

    Args:
        connection: in a transaction.
        entries: of one contact in their order; an attempt's end is not among the entries of its own intent.

    Returns:
        The ``id()`` of intents that ``only_once`` refuses; these are not written, and all the others are.

    Raises:
        sqlalchemy.exc.IntegrityError: an intent is already there.
    """
    intents: list[Intent] = []
    attempt_ends: list[tuple[Any, ...]] = []
    contact_ends: list[tuple[Any, ...]] = []
    released: list[Intent] = []
    again: list[int] = []
    for entry in entries:
        if isinstance(entry, Intent):
            intents.append(entry)
        elif isinstance(entry, AttemptEnd):
            attempt_ends.append((*entry[1:], *entry.intent.subject, *entry.intent[1:5], entry.intent.begun_at))
            if entry.intent.once and entry.fate in MAY_BE_RELEASED:
                released.append(entry.intent)
        elif isinstance(entry, ContactEnd):
            contact_ends.append((*entry[1:], entry.contact_id))
        elif isinstance(entry, NextRound):
            again.append(entry.contact_id)
    _END_ATTEMPTS.run(connection, attempt_ends)
    if released:
        release_once(connection, released)
    claiming = [intent for intent in intents if intent.once]
    refused = claim_once(connection, claiming) if claiming else set()
    _INTEND.run(connection, [(*one.subject, *one[1:_NOT_COLUMNS]) for one in intents if id(one) not in refused])
    _END_CONTACTS.run(connection, contact_ends)
    if again:
        these = contacts.c.id.in_(again) & contacts.c.state.in_(_NOT_IN_DOUBT)
        connection.execute(update(contacts).where(these).values(AGAIN))
    return refused


def find_committed(connection: Connection, entries: Iterable[Entry]) -> set[int]:
    """The ``id()`` of intents that are in the ledger already, after a commit whose acknowledgement was lost.

    An intent of another worker, with the same key, was begun at another moment. Everything else that is written may be
    written twice.
    """
    intents = {_marks_of(one): id(one) for one in entries if isinstance(one, Intent)}
    if not intents:
        return set()
    columns = (*(attempts.c[name] for name in _WHICH_ATTEMPT), attempts.c.begun_at, attempts.c.replay_no)
    query = select(*columns).where(attempts.c.key.in_({marks[4] for marks in intents}))
    return {intents[tuple(row)] for row in connection.execute(query) if tuple(row) in intents}


def _marks_of(one: Intent) -> tuple[Any, ...]:
    return (*one.subject, one.step, one.visit, one.key, one.number, one.begun_at, one.replay_no)


_NOT_COLUMNS = -2  # the last two fields of an intent are of tables of their own

"""The only writer of the attempts table (intents and their outcomes, in bulk) and of the outcomes of contacts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Iterable, Mapping
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, UniqueConstraint, case, func, null, select, update

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger.counts import refresh_counts_of
from airflow_whatsapp_flows.ledger.once import MAY_BE_RELEASED, claim_once, release_once
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, ContactEnd, ContactState, Entry, Intent, NextRound, Subject
from airflow_whatsapp_flows.ledger.schema import attempts, contacts
from airflow_whatsapp_flows.ledger.statements import insert_statement, run_together, update_statement

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
"""Column values that reset a contact for another walk; its earlier attempts are kept."""
_NOT_IN_DOUBT = (ContactState.PENDING.value, ContactState.COMPLETED.value, ContactState.FAILED.value)

_UNIQUE = next(one for one in attempts.constraints if isinstance(one, UniqueConstraint)).columns
ATTEMPT_KEY = (*Subject._fields, *(name for name in Intent.__struct_fields__ if name in _UNIQUE))
"""Columns that identify an attempt."""
ATTEMPT_OUTCOME = AttemptEnd.__struct_fields__[1:]
"""Columns of an attempt's outcome."""
INTENT_FIELDS = tuple(name for name in Intent.__struct_fields__ if name in attempts.c)
"""Fields of an intent with columns of their own, after the subject's two columns; the rest is in other tables."""
_CONTACT_OUTCOME = ContactEnd.__struct_fields__[1:]

ADD_INTENTS = insert_statement(attempts, (*Subject._fields, *INTENT_FIELDS))
"""Inserts the rows of :func:`intent_row`."""
# The time distinguishes an intent that was refused and withdrawn from the existing one of another worker.
END_ATTEMPTS = update_statement(attempts, ATTEMPT_OUTCOME, (*ATTEMPT_KEY, "begun_at"))
"""Updates attempts with the rows of :func:`outcome_row`."""
_END_CONTACTS = update_statement(contacts, _CONTACT_OUTCOME, ("id",))
EntriesByType = dict[type, list[Any]]
"""Entries of each type, from :func:`group_by_type`."""

_SUBJECT = tuple(f"subject.{name}" for name in Subject._fields)
_KEY = (*_SUBJECT, *ATTEMPT_KEY[len(Subject._fields) :])
# Getters, because they need no step in Python for each field.
intent_row: Callable[[Intent], tuple[Any, ...]] = attrgetter(*_SUBJECT, *INTENT_FIELDS)
"""Returns the row of an attempt about to be made."""
outcome_row: Callable[[AttemptEnd], tuple[Any, ...]] = attrgetter(
    *ATTEMPT_OUTCOME, *(f"intent.{name}" for name in (*_KEY, "begun_at"))
)
"""Returns the outcome of an attempt, followed by the columns that identify it."""
_end_row: Callable[[ContactEnd], tuple[Any, ...]] = attrgetter(*_CONTACT_OUTCOME, "contact_id")
key_of: Callable[[Intent], tuple[Any, ...]] = attrgetter(*_KEY)
"""Returns the columns that identify an attempt."""
_marks_of: Callable[[Intent], tuple[Any, ...]] = attrgetter(*_KEY, "begun_at", "replay_no")


def write_entries(connection: Connection, entries: EntriesByType) -> set[int]:
    """Write entries within a transaction; entries of different contacts may be in any order.

    Args:
        connection: in a transaction.
        entries: in order for each contact; an attempt's end never comes in the same call as its intent.

    Returns:
        The ``id()`` of intents that ``only_once`` refuses; these are not written, all other entries are.

    Raises:
        sqlalchemy.exc.IntegrityError: an intent already exists.
    """
    intents, ends = entries[Intent], entries[AttemptEnd]
    outcomes = list(map(outcome_row, ends))
    claiming = [intent for intent in intents if intent.once]
    released = [end.intent for end in ends if end.intent.once and end.fate in MAY_BE_RELEASED]
    refused: set[int] = set()
    if released or claiming:  # the claims depend on what the attempts came to
        END_ATTEMPTS.run(connection, outcomes)
        outcomes = []
        release_once(connection, released)
        refused = claim_once(connection, claiming)
        intents = [one for one in intents if id(one) not in refused]
    contact_ends = list(map(_end_row, entries[ContactEnd]))
    intended = list(map(intent_row, intents))
    run_together(connection, [(END_ATTEMPTS, outcomes), (ADD_INTENTS, intended), (_END_CONTACTS, contact_ends)])
    again = [entry.contact_id for entry in entries[NextRound]]
    if again:
        these = contacts.c.id.in_(again) & contacts.c.state.in_(_NOT_IN_DOUBT)
        connection.execute(update(contacts).where(these).values(AGAIN))
        # A run puts contacts back after it has released their chunks.
        places = connection.execute(select(contacts.c.replay_no, contacts.c.chunk).where(contacts.c.id.in_(again)))
        refresh_counts_of(connection, [(replay_no, chunk) for replay_no, chunk in places])
    return refused


def group_by_type(entries: Iterable[Entry]) -> EntriesByType:
    """Sort entries by their type; those of one type keep their order."""
    found: EntriesByType = {Intent: [], AttemptEnd: [], ContactEnd: [], NextRound: []}
    for entry in entries:
        found[type(entry)].append(entry)
    return found


def find_committed(connection: Connection, entries: Iterable[Entry]) -> set[int]:
    """Return the ``id()`` of intents already in the ledger, after a commit whose acknowledgement was lost.

    An intent of another worker with the same key has a different start time. All other entries may safely be written
    twice.
    """
    intents = {_marks_of(one): id(one) for one in entries if isinstance(one, Intent)}
    if not intents:
        return set()
    columns = (*(attempts.c[name] for name in ATTEMPT_KEY), attempts.c.begun_at, attempts.c.replay_no)
    query = select(*columns).where(attempts.c.key.in_({marks[ATTEMPT_KEY.index("key")] for marks in intents}))
    return {intents[tuple(row)] for row in connection.execute(query) if tuple(row) in intents}


def insert_attempt(names: Container[str]) -> str:
    """Return a statement for SQLite's driver that adds an attempt, or its outcome if the ledger lacks it.

    Args:
        names: available columns.
    """
    own = [column.name for column in attempts.columns if column.name != "id" and column.name in names]
    return (
        f"INSERT INTO {attempts.name} ({', '.join(own)}) VALUES ({', '.join(f':{name}' for name in own)}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(ATTEMPT_KEY)}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in ATTEMPT_OUTCOME)} "
        f"WHERE {attempts.name}.fate IS NULL AND excluded.fate IS NOT NULL"
    )


def overrule_attempt(
    connection: Connection, row: Row[Any], fate: Fate, origin: str, *, status_code: int | None, result: str | None
) -> None:
    """Replace the outcome of an attempt with a person's decision.

    Args:
        connection: in a transaction.
        row: the attempt's current row.
        fate: the new fate.
        origin: the new origin, with the decision and the previous outcome.
        status_code: the new status code.
        result: the new result, JSON.
    """
    values = {
        "fate": fate.value, "status_code": status_code, "error_kind": None, "result": result,
        "origin": origin, "ended_at": row.ended_at or time.time(),
    }  # fmt: skip
    connection.execute(update(attempts).where(attempts.c.id == row.id).values(values))


def erase_personal_data(connection: Connection, these: ColumnElement[bool], by: str) -> None:
    """Erase the personal data of attempts; the record of which requests were sent remains, and says who erased.

    Args:
        connection: in a transaction.
        these: condition that selects them.
        by: who erases.
    """
    origin = _origin_with({"erased": {"by": by, "at": time.time()}})
    connection.execute(update(attempts).where(these).values(phone=null(), result=null(), origin=origin))


OVERTAKEN = '"overtaken":'
"""Text that is in an attempt's ``origin`` if and only if requests to the same person under another id were erased."""


def note_overtaken(connection: Connection, these: ColumnElement[bool]) -> None:
    """Note that more may have been sent to the person of some attempts than the ledger will be able to tell.

    Args:
        connection: in a transaction.
        these: condition that selects them.
    """
    is_new = ~func.coalesce(attempts.c.origin, "").contains(OVERTAKEN)
    connection.execute(update(attempts).where(these, is_new).values(origin=_origin_with({"overtaken": True})))


def _origin_with(note: Mapping[str, Any]) -> ColumnElement[str]:
    """Return the expression for an attempt's origin with one more key."""
    text = json.dumps(note, ensure_ascii=False)
    # It is an object, if there is one: this becomes its last key.
    opened = func.substr(attempts.c.origin, 1, func.length(attempts.c.origin) - 1)
    return case((func.length(attempts.c.origin) > len("{}"), opened.concat(f", {text[1:]}")), else_=text)

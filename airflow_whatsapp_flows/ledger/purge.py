"""Erases personal data; keys, states and times remain, so that nothing is sent twice afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, null, or_, select, update

from airflow_whatsapp_flows.ledger.attempts import erase_personal_data
from airflow_whatsapp_flows.ledger.counts import refresh_counts_of
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.identifiers import forget_purged
from airflow_whatsapp_flows.ledger.person_history import Person
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, replays

PURGED = "purged"
"""The reason of a contact whose own reason was erased, because it may have contained an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSelection:
    """Whose data to erase; exactly one attribute is set.

    Attributes:
        person: of one person, see :func:`~airflow_whatsapp_flows.ledger.person_history.find_person`.
        before: epoch seconds; of contacts that ended before, and of DAG run requests started before.
        replay_no: number of a replay; of all its contacts.
    """

    person: Person | None = None
    before: float | None = None
    replay_no: int | None = None


@dataclass(frozen=True, slots=True)
class StoredData:
    """How much of the selected data the ledger holds.

    Attributes:
        contacts: number of contacts with personal data that can be purged.
        attempts: number of attempts whose replies and phone numbers can be erased.
        pending: number of contacts that keep their data because a response still to be walked needs it.
        replays: names of the first replays in which these are pending.
    """

    contacts: int
    attempts: int
    pending: int
    replays: tuple[str, ...]


def find_data(ledger: Ledger, data: DataSelection) -> StoredData:
    """Count what :func:`purge` would erase.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        return _count_data(connection, data)


def purge(ledger: Ledger, data: DataSelection) -> tuple[StoredData, bool]:
    """Erase personal data.

    Erases responses, phone numbers and other identifiers, ids of rejected rows, replies, error texts, and the claims of
    ``only_once``, which contain identifiers. What remains is pseudonymous: the response's id and digest, keys, states,
    times, step names, status codes.

    Args:
        data: whose data to erase.

    Returns:
        What was erased, and whether the bytes are also gone from an SQLite ledger's write-ahead log: they are
        not while another process reads an older state.

    Raises:
        LedgerError: the ledger cannot be written; nothing was erased.
    """
    with ledger.read() as connection:
        if ledger.is_sqlite:
            connection.exec_driver_sql("PRAGMA secure_delete=ON").close()
            connection.rollback()
        with ledger.write(connection):
            holding = _count_data(connection, data)
            erase_personal_data(connection, _attempts(data))
            in_chunks = select(contacts.c.replay_no, contacts.c.chunk).where(_contacts(data)).distinct()
            changed = connection.execute(in_chunks).all()
            connection.execute(update(contacts).where(_contacts(data)).values(_ERASED))
            # The reasons of rejected rows are counted.
            refresh_counts_of(connection, [(replay_no, chunk) for replay_no, chunk in changed])
            forget_purged(connection)
        if not ledger.is_sqlite:
            return holding, True
        busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        connection.exec_driver_sql("PRAGMA secure_delete=OFF").close()
        connection.rollback()
        return holding, not busy


# A contact that a walk has rejected may have attempts, which have the same id.
_NEVER_WALKED = and_(contacts.c.state == ContactState.REJECTED.value, contacts.c.ended_at.is_(None))
_ERASED: dict[str, Any] = {
    "response": null(),
    "phone": null(),
    "error": null(),
    # The reason for skipping a row contains only text of this program.
    "reason": case(
        (contacts.c.state == ContactState.SKIPPED.value, contacts.c.reason),
        (contacts.c.reason.is_(None), null()),
        else_=PURGED,
    ),
    "response_id": case((_NEVER_WALKED, null()), else_=contacts.c.response_id),
}


def _count_data(connection: Connection, data: DataSelection) -> StoredData:
    count = select(func.count())
    waiting = and_(_of(data), _holds_data(), _is_needed(contacts.c.response_id))
    pending = connection.execute(count.where(waiting)).scalar_one()
    names: Sequence[str] = ()
    if pending:
        other = contacts.alias()
        ids = select(contacts.c.response_id).where(waiting)
        query = (
            select(replays.c.id)
            .join(other, other.c.replay_no == replays.c.no)
            .where(other.c.state == ContactState.PENDING.value)
            .where(other.c.response_id.in_(ids), other.c.digest.is_not(None))
            .distinct()
            .limit(5)
        )
        names = connection.execute(query).scalars().all()
    return StoredData(
        contacts=connection.execute(count.where(_contacts(data))).scalar_one(),
        attempts=connection.execute(count.where(_attempts(data))).scalar_one(),
        pending=pending,
        replays=tuple(names),
    )


def _contacts(data: DataSelection) -> ColumnElement[bool]:
    return and_(_of(data), _holds_data(), ~_is_needed(contacts.c.response_id))


def _holds_data() -> ColumnElement[bool]:
    rejected = and_(_NEVER_WALKED, contacts.c.response_id.is_not(None))
    unsaid = and_(contacts.c.state != ContactState.SKIPPED.value, contacts.c.reason != PURGED)
    return or_(
        contacts.c.response.is_not(None), contacts.c.phone.is_not(None), contacts.c.error.is_not(None), rejected, unsaid
    )


def _of(data: DataSelection) -> ColumnElement[bool]:
    if data.person is not None:
        rows = data.person.responses(
            contacts.c.response_id,
            lambda flow: contacts.c.replay_no.in_(select(replays.c.no).where(replays.c.flow_id == flow)),
        )
        return or_(
            contacts.c.phone.in_(data.person.phones), and_(rows, contacts.c.state != ContactState.REJECTED.value)
        )
    if data.replay_no is not None:
        return contacts.c.replay_no == data.replay_no
    taken = select(replays.c.created_at).where(replays.c.no == contacts.c.replay_no).correlate(contacts)
    return func.coalesce(contacts.c.ended_at, taken.scalar_subquery()) < data.before


def _attempts(data: DataSelection) -> ColumnElement[bool]:
    holds = or_(attempts.c.phone.is_not(None), attempts.c.result.is_not(None))
    own = attempts.alias()
    same = and_(own.c.response_id == contacts.c.response_id, own.c.replay_no == contacts.c.replay_no)
    of_contacts = select(own.c.id).select_from(contacts).join(own, same)
    # A rejected row may have the id of another person's response.
    of_contacts = of_contacts.where(_of(data), contacts.c.state != ContactState.REJECTED.value)
    chosen: ColumnElement[bool] = attempts.c.id.in_(of_contacts)
    if data.person is not None:
        runs = data.person.responses(attempts.c.response_id, lambda flow: attempts.c.flow_id == flow)
        chosen = or_(chosen, attempts.c.phone.in_(data.person.phones), runs)
    elif data.before is not None:
        chosen = or_(chosen, and_(attempts.c.replay_no.is_(None), attempts.c.begun_at < data.before))
    return and_(holds, chosen, ~_is_needed(attempts.c.response_id))


def _is_needed(response_id: Any) -> ColumnElement[bool]:
    """Return the condition that a response, with its data and replies, is needed by a pending contact of a replay."""
    other = contacts.alias()
    own = (other.c.response_id == response_id, other.c.digest.is_not(None))
    query = select(other.c.id).where(*own, other.c.state == ContactState.PENDING.value)
    return query.correlate(response_id.table).exists()

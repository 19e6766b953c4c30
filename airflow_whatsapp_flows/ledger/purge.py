"""Erases personal data; keys, states and times remain, so that nothing is sent twice afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, null, or_, select, tuple_, union, update

from airflow_whatsapp_flows.ledger.attempts import erase_personal_data, note_overtaken
from airflow_whatsapp_flows.ledger.counts import refresh_counts_of
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.identifiers import forget_purged
from airflow_whatsapp_flows.ledger.person_history import Person, contact_queries_of, queries_of, select_responses_of
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, identifiers, replays, stands_for_its_person

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


def find_flows_of(ledger: Ledger, person: Person) -> set[str]:
    """Find the flows, or DAGs, whose data :func:`purge` would erase, or has to keep, for one person.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    data = DataSelection(person=person)
    of_replays = select(contacts.c.replay_no).where(_of(data), _holds_data()).distinct()
    sent = select(attempts.c.flow_id).where(_of_attempts(data), _HAS_DATA).distinct()
    with ledger.read() as connection:
        numbers = connection.execute(of_replays).scalars().all()
        replayed = select(replays.c.flow_id).where(replays.c.no.in_(numbers)).distinct()
        return {*connection.execute(sent).scalars(), *connection.execute(replayed).scalars()}


def find_pending_replays(ledger: Ledger, person: Person) -> set[str]:
    """Find the names of the replays in which contacts of a person are pending, so keep their data.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        return set(connection.execute(_pending_replays(DataSelection(person=person))).scalars())


def find_remains(ledger: Ledger, person: Person) -> list[str]:
    """Find the ids of a person's responses, which remain, of the contacts and requests that :func:`purge` would erase.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        return sorted(_responses(connection, DataSelection(person=person)))


def purge(ledger: Ledger, data: DataSelection, by: str) -> tuple[StoredData, bool]:
    """Erase personal data.

    Erases responses, phone numbers and other identifiers, ids of rejected rows, replies, error texts, and the claims of
    ``only_once``, which contain identifiers. What remains is pseudonymous: the response's id and digest, keys, states,
    times, step names, status codes, and of each erased request who erased it and when.

    Args:
        data: whose data to erase.
        by: who erases it.

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
            responses = None if data.person is None else _responses(connection, data)
            note_overtaken(connection, _is_of_the_same_people(data))
            # The contacts are found by what is erased of them, so the attempts come first.
            erase_personal_data(connection, _attempts(data), by)
            in_chunks = select(contacts.c.replay_no, contacts.c.chunk).where(_contacts(data)).distinct()
            changed = connection.execute(in_chunks).all()
            connection.execute(update(contacts).where(_contacts(data)).values(_ERASED))
            # The reasons of rejected rows are counted.
            refresh_counts_of(connection, [(replay_no, chunk) for replay_no, chunk in changed])
            forget_purged(connection, responses)
        if not ledger.is_sqlite:
            return holding, True
        busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        connection.exec_driver_sql("PRAGMA secure_delete=OFF").close()
        connection.rollback()
        return holding, not busy


_HAS_DATA = or_(attempts.c.phone.is_not(None), attempts.c.result.is_not(None))
# A contact that a walk has rejected may have attempts, which have the same id.
_NEVER_WALKED = ~stands_for_its_person()
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
    pending = connection.execute(count.where(_waits(data))).scalar_one()
    names: Sequence[str] = ()
    if pending:
        names = connection.execute(_pending_replays(data).limit(5)).scalars().all()
    return StoredData(
        contacts=connection.execute(count.where(_contacts(data))).scalar_one(),
        attempts=connection.execute(count.where(_attempts(data))).scalar_one(),
        pending=pending,
        replays=tuple(names),
    )


def _waits(data: DataSelection) -> ColumnElement[bool]:
    return and_(_of(data), _holds_data(), _is_needed(contacts.c.response_id))


def _pending_replays(data: DataSelection) -> Select[Any]:
    """Return the query for the names of the replays for which contacts keep their data."""
    other = contacts.alias()
    ids = select(contacts.c.response_id).where(_waits(data))
    return (
        select(replays.c.id)
        .join(other, other.c.replay_no == replays.c.no)
        .where(other.c.state == ContactState.PENDING.value)
        .where(other.c.response_id.in_(ids), other.c.digest.is_not(None))
        .distinct()
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
        return contacts.c.id.in_(union(*contact_queries_of(data.person)))
    if data.replay_no is not None:
        return contacts.c.replay_no == data.replay_no
    taken = select(replays.c.created_at).where(replays.c.no == contacts.c.replay_no).correlate(contacts)
    return func.coalesce(contacts.c.ended_at, taken.scalar_subquery()) < data.before


def _responses(connection: Connection, data: DataSelection) -> list[str]:
    """Return the ids of the responses whose data is erased, or which still have identifiers of the person."""
    of_contacts = select(contacts.c.response_id).where(_contacts(data), contacts.c.response_id.is_not(None))
    of_attempts = select(attempts.c.response_id).where(_attempts(data))
    known = [] if data.person is None else [select_responses_of(data.person)]
    return list(connection.execute(union(of_contacts, of_attempts, *known)).scalars())


def _is_of_the_same_people(data: DataSelection) -> ColumnElement[bool]:
    """Return the condition that an attempt keeps its data, while that of a later one to the same person is erased."""
    of_contacts = select(contacts.c.response_id).where(_contacts(data))
    of_attempts = select(attempts.c.response_id).where(_attempts(data))
    phones = union(
        select(contacts.c.phone).where(_contacts(data), contacts.c.phone.is_not(None)),
        select(attempts.c.phone).where(_attempts(data), attempts.c.phone.is_not(None)),
    )
    known = (identifiers.c.value, identifiers.c.kind, identifiers.c.flow_id)
    erased = select(*known).where(
        or_(identifiers.c.response_id.in_(of_contacts), identifiers.c.response_id.in_(of_attempts))
    )
    same_people = union(
        select(contacts.c.response_id).where(contacts.c.phone.in_(phones)),
        select(attempts.c.response_id).where(attempts.c.phone.in_(phones)),
        select(identifiers.c.response_id).where(tuple_(*known).in_(erased)),
    )
    flows = union(
        select(replays.c.flow_id).join(contacts, contacts.c.replay_no == replays.c.no).where(_contacts(data)),
        select(attempts.c.flow_id).where(_attempts(data)),
    )
    kept, last = attempts.alias(), select(func.max(attempts.c.id)).where(_attempts(data)).scalar_subquery()
    found = select(kept.c.id).where(kept.c.response_id.in_(same_people), kept.c.flow_id.in_(flows), kept.c.id < last)
    return and_(attempts.c.id.in_(found), ~_attempts(data))


def _attempts(data: DataSelection) -> ColumnElement[bool]:
    return and_(_HAS_DATA, _of_attempts(data), ~_is_needed(attempts.c.response_id))


def _of_attempts(data: DataSelection) -> ColumnElement[bool]:
    if data.person is not None:
        return attempts.c.id.in_(union(*queries_of(data.person)))
    own = attempts.alias()
    same = and_(own.c.response_id == contacts.c.response_id, own.c.replay_no == contacts.c.replay_no)
    of_contacts = select(own.c.id).select_from(contacts).join(own, same)
    # A rejected row may have the id of another person's response.
    of_contacts = of_contacts.where(_of(data), contacts.c.state != ContactState.REJECTED.value)
    chosen: ColumnElement[bool] = attempts.c.id.in_(of_contacts)
    if data.before is not None:
        chosen = or_(chosen, and_(attempts.c.replay_no.is_(None), attempts.c.begun_at < data.before))
    return chosen


def _is_needed(response_id: Any) -> ColumnElement[bool]:
    """Return the condition that a response, with its data and replies, is needed by a pending contact of a replay."""
    other = contacts.alias()
    own = (other.c.response_id == response_id, other.c.digest.is_not(None))
    query = select(other.c.id).where(*own, other.c.state == ContactState.PENDING.value)
    return query.correlate(response_id.table).exists()

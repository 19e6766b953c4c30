"""What was sent to one person, by replays and DAG runs alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    Select,
    and_,
    case,
    false,
    null,
    or_,
    select,
    union,
)

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.identity import EMAIL, PHONE, email_key
from airflow_whatsapp_flows.flow.phones import has_several_phones, looks_like_phone, phone_key, plain_spellings
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.pages import size_of
from airflow_whatsapp_flows.ledger.replies import Replies, refused_result
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, has_replay, identifiers, is_unusual_phone, replays

ROWS_AT_ONCE = 8
"""Rows in memory: each may have megabytes."""
_LATEST = 2000  # attempts


@dataclass(frozen=True, slots=True)
class SentAttempt:
    """One attempt to send something to a person.

    Attributes:
        begun_at: epoch seconds.
        flow_id: id of the flow, or of the DAG.
        replay_id: name of the replay; ``None`` in a DAG run.
        origin: dag, run, task, map index and try; who resolved it; may be empty.
        response_id: identity of the response, or run id and map index.
        step: name of the action.
        visit: number of the visit of the step, from 1.
        number: number of the attempt under its key, from 1.
        method: HTTP method of the request.
        host: host and port.
        status_code: of the reply, if there was one.
        fate: what is known about it; ``None`` if nothing.
        key: idempotency key.
        reply: the server's reply if it refused the request, masked and shortened.
    """

    begun_at: float
    flow_id: str
    replay_id: str | None
    origin: dict[str, Any]
    response_id: str
    step: str
    visit: int
    number: int
    method: str
    host: str
    status_code: int | None
    fate: str | None
    key: str
    reply: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """The identifiers of a person in the ledger.

    Attributes:
        phones: spellings of a phone number.
        identifiers: kind, value and flow of other identifiers.
    """

    phones: Sequence[str] = ()
    identifiers: Sequence[tuple[str, str, str]] = ()

    def __bool__(self) -> bool:
        return bool(self.phones or self.identifiers)


def find_person(connection: Connection, kind: str, value: str) -> Person:
    """Find a person by one identifier.

    Args:
        kind: ``phone``, ``email``, ``user_id``, or ``id`` for the contact's id and the ids that a flow lists.
        value: as entered by a person.
    """
    phones = spellings(connection, value) if kind == PHONE else ()
    known = {PHONE: phone_key, EMAIL: email_key}.get(kind, str.strip)(value)
    which = identifiers.c.kind.not_in((PHONE, EMAIL, "user_id")) if kind == "id" else identifiers.c.kind == kind
    query = (
        select(identifiers.c.kind, identifiers.c.value, identifiers.c.flow_id)
        .where(identifiers.c.value == known, which)
        .distinct()
    )
    rows = connection.execute(query).all() if known else []
    return Person(phones, [(row.kind, row.value, row.flow_id) for row in rows])


def get_person(ledger: Ledger, kind: str, value: str) -> Person:
    """Find a person by one identifier that a user entered; see :func:`find_person`.

    Raises:
        ReplayError: the value is not a phone number or e-mail address.
        LedgerError: the ledger cannot be read.
    """
    if kind == PHONE and (has_several_phones(value) or not looks_like_phone(value)):
        raise ReplayError(f"{value!r} is not a phone number: write it with its country code, such as +525512345678")
    if kind == EMAIL and email_key(value) is None:
        raise ReplayError(f"{value!r} is not an e-mail address")
    with ledger.read() as connection:
        return find_person(connection, kind, value)


def find_sent(ledger: Ledger, person: Person) -> Iterator[SentAttempt]:
    """Find everything that was sent to one person, oldest first.

    Args:
        person: see :func:`find_person`.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    query = select_sent(union(*queries_of(person))).order_by(attempts.c.begun_at, attempts.c.id)
    with ledger.read() as connection:
        yield from read_sent(connection, connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}))


def read_sent(connection: Connection, rows: Iterable[Row[Any]]) -> Iterator[SentAttempt]:
    """Read the rows of :func:`select_sent`."""
    replies: dict[tuple[str, int | None], Replies] = {}
    for row in rows:
        of = (row.flow_id, row.replay_no)
        if of not in replies:
            replies[of] = Replies(connection.execute(_flow(*of)).scalar())
        yield _attempt(row, replies[of])


def spellings(connection: Connection, phone: str) -> list[str]:
    """Return all spellings of a phone number in the ledger.

    Earlier releases spelled some numbers differently.

    Args:
        phone: as entered by a person.

    Returns:
        Texts as stored in the ledger; empty if the person is not in it.
    """
    text, key = phone.strip(), phone_key(phone)
    if key is None:
        # It equals only the identical text.
        return sorted(_phones_of(connection, lambda column: column == text))
    spelled = plain_spellings(key)
    known = _phones_of(connection, lambda column: column.in_(spelled)) | _phones_of(connection, is_unusual_phone)
    return sorted(found for found in known if phone_key(found) == key)


def recent_latencies(connection: Connection, hosts: Collection[str]) -> dict[str, float]:
    """Return the median latency of each host's latest replies, in seconds; hosts without replies are left out."""
    newest = (
        select(attempts.c.host, attempts.c.ended_at - attempts.c.begun_at)
        .where(attempts.c.status_code.is_not(None))
        .order_by(attempts.c.id.desc())
        .limit(_LATEST)
    )
    found: dict[str, list[float]] = {}
    for host, seconds in connection.execute(newest):
        if host in hosts and seconds is not None and seconds >= 0:
            found.setdefault(host, []).append(seconds)
    return {host: median(seconds) for host, seconds in found.items()}


def _phones_of(connection: Connection, chosen: Callable[[Column[Any]], ColumnElement[bool]]) -> set[str]:
    found: set[str] = set()
    for column in (contacts.c.phone, attempts.c.phone):
        # With a condition for NULL, SQLite may prefer the index of all phones to that of the unusual ones.
        query = select(column).where(chosen(column)).distinct()
        found.update(connection.execute(query).scalars())
    return found


def queries_of(person: Person) -> list[Select[tuple[int]]]:
    """Return queries for the numbers of the attempts that sent something to a person, one for each kind of identifier.

    One query each, because a database scans the table for a choice of them.
    """
    # A rejected row may have the id of another person's response.
    own = (
        select(contacts.c.replay_no, contacts.c.response_id)
        .where(contacts.c.phone.in_(person.phones), contacts.c.state != ContactState.REJECTED.value)
        .distinct()
        .subquery()
    )
    in_replays = select(attempts.c.id).join(
        own, and_(attempts.c.response_id == own.c.response_id, attempts.c.replay_no == own.c.replay_no)
    )
    in_runs = select(attempts.c.id).where(attempts.c.phone.in_(person.phones))
    # Without identifiers, the query would read them all.
    return [in_replays, in_runs, *([_by_identifiers(person.identifiers)] if person.identifiers else [])]


def contact_queries_of(person: Person) -> list[Select[tuple[int]]]:
    """Return queries for the numbers of the contacts of a person, as :func:`queries_of` for their attempts."""
    by_phone = select(contacts.c.id).where(contacts.c.phone.in_(person.phones))
    if not person.identifiers:
        return [by_phone]
    own = and_(contacts.c.response_id == identifiers.c.response_id, contacts.c.digest.is_not(None))
    of_flow = and_(replays.c.no == contacts.c.replay_no, replays.c.flow_id == identifiers.c.flow_id)
    # A rejected row may have the id of another person's response.
    by_others = (
        select(contacts.c.id)
        .join(identifiers, own)
        .join(replays, of_flow)
        .where(contacts.c.state != ContactState.REJECTED.value, _has_one_of(person.identifiers))
    )
    return [by_phone, by_others]


def _by_identifiers(known: Sequence[tuple[str, str, str]]) -> Select[tuple[int]]:
    own = and_(attempts.c.response_id == identifiers.c.response_id, attempts.c.flow_id == identifiers.c.flow_id)
    return select(attempts.c.id).join(identifiers, own).where(_has_one_of(known))


def select_responses_of(person: Person) -> Select[tuple[str]]:
    """Return the query for the ids of the responses that have identifiers of a person."""
    return select(identifiers.c.response_id).where(_has_one_of(person.identifiers))


def _has_one_of(known: Sequence[tuple[str, str, str]]) -> ColumnElement[bool]:
    # One join, however many flows know the person: a compound query of SQLite has at most 500 parts.
    kinds: dict[str, set[str]] = {}
    for kind, value, _ in known:
        kinds.setdefault(value, set()).add(kind)
    chosen = [
        and_(identifiers.c.value == value, identifiers.c.kind.in_(sorted(found))) for value, found in kinds.items()
    ]
    return and_(or_(false(), *chosen), identifiers.c.flow_id.in_(sorted({flow for _, _, flow in known})))


def select_sent(numbers: CompoundSelect[Any], most_bytes: int | None = None) -> Select[Any]:
    """Return the query for attempts, as :func:`read_sent` reads them.

    Args:
        numbers: query for their numbers.
        most_bytes: longer replies and responses are not read; ``None`` reads all.
    """
    response = (
        select(contacts.c.response)
        .where(contacts.c.response_id == attempts.c.response_id, contacts.c.digest.is_not(None))
        .where(has_replay(attempts.c.replay_no))
        .order_by(contacts.c.response.is_(None))
        .limit(1)
    )
    result: ColumnElement[Any] = refused_result
    if most_bytes is not None:
        response = response.with_only_columns(_if_short(contacts.c.response, most_bytes))
        result = case((attempts.c.fate == Fate.SUCCEEDED.value, null()), else_=_if_short(attempts.c.result, most_bytes))
    return (
        select(
            *(column for column in attempts.c if column.name != "result"),
            result.label("refused_result"),
            response.scalar_subquery().label("response"),
            replays.c.id.label("replay_id"),
        )
        .outerjoin(replays, replays.c.no == attempts.c.replay_no)
        .where(attempts.c.id.in_(numbers))
    )


def _if_short(column: Column[Any], most_bytes: int) -> ColumnElement[Any]:
    return case((size_of(column) <= most_bytes, column), else_=null())


def _flow(flow_id: str, replay_no: int | None) -> Select[Any]:
    """Return the query for a replay's flow; for a DAG run, the flow replayed last under its id."""
    query = select(replays.c.flow).order_by(replays.c.no.desc()).limit(1)
    return query.where(replays.c.flow_id == flow_id if replay_no is None else replays.c.no == replay_no)


def _attempt(row: Row[Any], replies: Replies) -> SentAttempt:
    return SentAttempt(
        begun_at=row.begun_at,
        flow_id=row.flow_id,
        replay_id=row.replay_id,
        origin=json.loads(row.origin) if row.origin else {},
        response_id=row.response_id,
        step=row.step,
        visit=row.visit,
        number=row.number,
        method=row.method,
        host=row.host,
        status_code=row.status_code,
        fate=row.fate,
        key=row.key,
        reply=replies.excerpt(row.step, row.refused_result, row.response),
    )

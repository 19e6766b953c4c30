"""Pages of what was sent to one person by all flows, replays, and DAG runs, newest first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CompoundSelect, Row, select, tuple_, union

from airflow_whatsapp_flows.flow.identity import EMAIL, PHONE
from airflow_whatsapp_flows.ledger.contact_walk import MOST_BYTES
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.person_history import (
    ROWS_AT_ONCE,
    Person,
    SentAttempt,
    find_person,
    queries_of,
    read_sent,
    select_sent,
)
from airflow_whatsapp_flows.ledger.schema import attempts

_KINDS = (PHONE, EMAIL, "user_id", "id")


@dataclass(frozen=True, slots=True)
class SentTo:
    """Whose requests to look for.

    Attributes:
        person: the person who has the identifier.
        response_ids: ids of responses: the identifier, if it is one.
    """

    person: Person
    response_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SentPage:
    """A page of requests.

    Attributes:
        sent: newest first.
        next: start and number of the last attempt, after which the next page starts; ``None`` at the end.
    """

    sent: Sequence[SentAttempt]
    next: tuple[float, int] | None


def find_recipient(ledger: Ledger, text: str) -> SentTo:
    """Find whom or what an identifier names: a phone number, e-mail address, other identifier, or a response.

    Args:
        text: as entered by a person.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        found = [find_person(connection, kind, text) for kind in _KINDS]
    phones = [phone for person in found for phone in person.phones]
    return SentTo(Person(phones, [one for person in found for one in person.identifiers]), [text])


def find_sending_flows(ledger: Ledger, to: SentTo) -> set[str]:
    """Find the flows, or DAGs, that sent something.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    query = select(attempts.c.flow_id).where(attempts.c.id.in_(_ids(to))).distinct()
    with ledger.read() as connection:
        return set(connection.scalars(query))


def find_sent_page(
    ledger: Ledger, to: SentTo, flow_ids: Collection[str], before: tuple[float, int] | None = None, limit: int = 50
) -> SentPage:
    """Find what was sent by some flows.

    Args:
        to: see :func:`find_recipient`.
        flow_ids: the flows, or DAGs.
        before: ``next`` of the page before.
        limit: maximum number of attempts.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    place = (attempts.c.begun_at, attempts.c.id)
    query = select_sent(_ids(to), MOST_BYTES).where(attempts.c.flow_id.in_(list(flow_ids)))
    if before is not None:
        query = query.where(tuple_(*place) < before)
    query = query.order_by(*(column.desc() for column in place)).limit(limit + 1)
    with ledger.read() as connection:
        rows = connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE})
        places: list[tuple[float, int]] = []
        sent = list(read_sent(connection, _note_places(rows, places)))
    return SentPage(sent[:limit], places[limit - 1] if len(places) > limit else None)


def _note_places(rows: Iterable[Row[Any]], places: list[tuple[float, int]]) -> Iterator[Row[Any]]:
    for row in rows:
        places.append((row.begun_at, row.id))
        yield row


def _ids(to: SentTo) -> CompoundSelect[int]:
    of_response = select(attempts.c.id).where(attempts.c.response_id.in_(to.response_ids))
    return union(*queries_of(to.person), of_response)

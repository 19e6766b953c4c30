"""The ledger's data for the checker, read from its tables without the code under test."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from sqlalchemy import Row, create_engine, select

from airflow_whatsapp_flows.ledger.known_rows import full_reason
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, replays
from tests.replay.checker import Action, Attempt, Contact


def read_contacts(url: str, replay_id: str) -> list[Contact]:
    """The contacts of a replay."""
    by_response = defaultdict(list)
    for row in _rows(url, select(attempts).order_by(attempts.c.id)):
        by_response[row.response_id].append(row)
    query = (
        select(contacts)
        .join(replays, replays.c.no == contacts.c.replay_no)
        .where(replays.c.id == replay_id)
        .order_by(contacts.c.id)
    )
    # A row that the ledger already held has its phone in its first row.
    phones = {row.response_id: row.phone for row in _rows(url, select(contacts)) if row.phone}
    return [
        Contact(
            id=_identity(row),
            phone=row.phone or phones.get(row.response_id),
            state=row.state,
            handled_errors=row.handled_errors,
            actions=_actions(by_response.get(_identity(row), [])),
        )
        for row in _rows(url, query)
    ]


def read_attempts(url: str) -> list[Attempt]:
    """Every attempt in the ledger."""
    return [
        Attempt(
            key=row.key,
            number=row.number,
            response_id=row.response_id,
            step=row.step,
            visit=row.visit,
            digest=row.digest,
            fate=row.fate,
            begun_at=row.begun_at,
            epoch=row.epoch,
        )
        for row in _rows(url, select(attempts).order_by(attempts.c.id))
    ]


def read_states(url: str, replay_id: str) -> Counter[str]:
    """How many contacts of a replay are in each state."""
    return Counter(contact["state"] for contact in read_contacts(url, replay_id))


def read_reasons(url: str, replay_id: str) -> dict[int, str]:
    """The reason of each contact, by the number of its row in the source."""
    query = select(contacts).join(replays, replays.c.no == contacts.c.replay_no).where(replays.c.id == replay_id)
    names = {row.no: row.id for row in _rows(url, select(replays))}
    return {int(row.place.rpartition(":")[2]): full_reason(row.reason, names) or "" for row in _rows(url, query)}


def _identity(row: Row[Any]) -> str:
    """A row that only repeats another is no second contact."""
    repeats = row.state == "skipped" and row.reason == "duplicate"
    return str(row.place if repeats or row.response_id is None else row.response_id)


def _actions(rows: list[Row[Any]]) -> list[Action]:
    visits: dict[tuple[str, int], Action] = {}
    for row in rows:
        before = visits.get((row.step, row.visit))
        visits[row.step, row.visit] = Action(
            step=row.step,
            visit=row.visit,
            attempts=1 + (before["attempts"] if before else 0),
            status_code=row.status_code,
            outcome=None if row.fate is None else "success" if row.fate == "succeeded" else "error",
            idempotency_key=row.key,
            fate=row.fate,
        )
    return list(visits.values())


def _rows(url: str, query: Any) -> list[Row[Any]]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(query))
    finally:
        engine.dispose()

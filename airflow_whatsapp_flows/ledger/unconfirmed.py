"""Ended contacts whose requests may have been applied: which of them nothing may be sent for any more."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, true

from airflow_whatsapp_flows.flow.delivery.decision import forbids_another, may_have_been_applied
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.model import Action, End, Flow
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.applied import is_suspect_answer
from airflow_whatsapp_flows.ledger.attempts import overrule_attempt
from airflow_whatsapp_flows.ledger.pages import batches, size_of, size_of_attempts
from airflow_whatsapp_flows.ledger.records import attempt_of
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.resolutions import LONGEST_EXCHANGE, resolution
from airflow_whatsapp_flows.ledger.schema import attempts, contacts

T = TypeVar("T")

_PAGE = 200
_Visit = tuple[str, int]


class StuckContact(NamedTuple):
    """A contact of which nothing may be sent any more.

    Attributes:
        id: number of its row.
        requests: the action and what came of its request, for each that may have been applied.
        attempts: numbers of the attempts that may have been applied.
    """

    id: int
    requests: tuple[tuple[str, str], ...]
    attempts: tuple[int, ...]


def may_be_unconfirmed(replay: Replay) -> ColumnElement[bool]:
    """Whether a contact has an attempt that may have been applied without a success; true of some that have none."""
    own = and_(attempts.c.response_id == contacts.c.response_id, attempts.c.epoch == contacts.c.epoch)
    return select(attempts.c.id).where(own, *_suspect(replay)).exists()


def find_stuck_contacts(
    connection: Connection, replay: Replay, where: ColumnElement[bool], flow: Flow, steps: StepIdentities
) -> tuple[list[int], list[StuckContact]]:
    """Contacts for which :func:`may_be_unconfirmed` holds: their numbers, and those of them that are stuck.

    Args:
        connection: of the ledger.
        replay: whose contacts they are.
        where: which of them.
        flow: by which they are walked.
        steps: its steps, by what they are known by.
    """
    size = size_of(contacts.c.path) + size_of_attempts(replay.flow_id, attempts.c.result)
    chosen = select(contacts.c.id, size).where(where, may_be_unconfirmed(replay)).order_by(contacts.c.id)
    sizes = connection.execute(chosen).all()
    query = select(contacts.c.id, contacts.c.response_id, contacts.c.path, contacts.c.epoch).order_by(contacts.c.id)
    now = time.time()
    stuck = []
    for numbers in batches(sizes, _PAGE, lambda row: row[1]):
        page = connection.execute(query.where(contacts.c.id.in_([row[0] for row in numbers]))).all()
        tried = _visits(connection, replay, [row.response_id for row in page], steps)
        for row in page:
            found = _find_stuck(row, tried[row.response_id, row.epoch], flow, now)
            if found is not None:
                stuck.append(found)
    return [row[0] for row in sizes], stuck


def accept_duplicates(connection: Connection, replay: Replay, stuck: Iterable[StuckContact], by: str) -> list[int]:
    """Let the requests of contacts be sent again, though they may have been applied.

    Their attempts count as not sent from now on, on every road; what was known of them stays in their ``origin``.

    Args:
        connection: in a transaction.
        replay: whose contacts they are.
        stuck: the contacts.
        by: who accepts that.

    Returns:
        Numbers of the contacts with a request that may still be under way on another road: these were left alone.
    """
    under_way = []
    over_since = time.time() - LONGEST_EXCHANGE
    columns = ("id", "fate", "status_code", "error_kind", "origin", "replay_no", "begun_at", "ended_at")
    query = select(*(attempts.c[name] for name in columns))
    for page in _pages(list(stuck)):
        numbers = [number for contact in page for number in contact.attempts]
        rows = {row.id: row for row in connection.execute(query.where(attempts.c.id.in_(numbers)))}
        for contact in page:
            own = [rows[number] for number in contact.attempts]
            if any(row.fate is None and row.replay_no != replay.no and row.begun_at >= over_since for row in own):
                under_way.append(contact.id)
                continue
            for row in own:
                origin = resolution(row, "duplicate_accepted", by)
                overrule_attempt(connection, row, Fate.NOT_SENT, origin, status_code=None, result=None)
    return under_way


def _suspect(replay: Replay) -> list[ColumnElement[bool]]:
    return [
        *_of_replay(replay),
        or_(attempts.c.fate.is_(None), attempts.c.fate == Fate.UNKNOWN.value, is_suspect_answer()),
        attempts.c.method.not_in(SAFE_METHODS),
    ]


def _of_replay(replay: Replay) -> list[ColumnElement[bool]]:
    """What was sent again on purpose has nothing to do with what was sent before."""
    alone = attempts.c.replay_no == replay.no if replay.options.get("force") else true()
    return [attempts.c.flow_id == replay.flow_id, alone]


def _visits(
    connection: Connection, replay: Replay, response_ids: Sequence[str], steps: StepIdentities
) -> Mapping[tuple[str, int], dict[_Visit, list[Row[Any]]]]:
    """Attempts at each visit, by response and epoch of its content."""
    query = (
        select(attempts).where(attempts.c.response_id.in_(response_ids), *_of_replay(replay)).order_by(attempts.c.id)
    )
    found: dict[tuple[str, int], dict[_Visit, list[Row[Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in connection.execute(query):
        step = steps.owner(row.step, row.step_id) or row.step
        found[row.response_id, row.epoch][step, row.visit].append(row)
    return found


def _find_stuck(contact: Any, visits: Mapping[_Visit, list[Row[Any]]], flow: Flow, now: float) -> StuckContact | None:
    """The contact, if what may have been applied is all that a walk could send again."""
    blocked: dict[_Visit, tuple[Row[Any], ...]] = {}
    for visit, rows in visits.items():
        step = flow.steps.get(visit[0])
        made = [attempt_of(row, current=False) for row in rows]
        if not isinstance(step, Action) or any(one.fate in (Fate.SUCCEEDED, Fate.APPLIED) for one in made):
            continue
        if not forbids_another(step.retry, made, now):
            return None
        applied = zip(rows, made, strict=True)
        blocked[visit] = tuple(row for row, one in applied if may_have_been_applied(step.retry, one))
    if not blocked or _ended_elsewhere(contact, visits, flow):
        return None
    requests = tuple((visit[0], _describe_reply(rows[-1])) for visit, rows in blocked.items())
    return StuckContact(contact.id, requests, tuple(row.id for rows in blocked.values() for row in rows))


def _ended_elsewhere(contact: Any, visits: Mapping[_Visit, list[Row[Any]]], flow: Flow) -> bool:
    """Whether its walk ended at something that another walk may come past: a text, an answer, a file."""
    path: list[str] = msgspec.json.decode(contact.path) if contact.path else []
    last = flow.steps.get(path[-1]) if path else None
    if last is None or isinstance(last, End):
        return False
    return (last.name, path.count(last.name)) not in visits


def _describe_reply(row: Row[Any]) -> str:
    return "no reply" if row.status_code is None else f"answered {row.status_code}"


def _pages(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + _PAGE] for start in range(0, len(rows), _PAGE))

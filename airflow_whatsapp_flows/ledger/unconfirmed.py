"""Finds ended contacts for which nothing more may be sent, because their requests may have been applied."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from airflow_whatsapp_flows.flow.delivery.decision import forbids_another, may_have_been_applied
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import CARRIED_OUT_FATES, Fate
from airflow_whatsapp_flows.flow.model import Action, End, Flow
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.applied import counts_for, is_suspect_answer, is_unknown
from airflow_whatsapp_flows.ledger.attempts import overrule_attempt
from airflow_whatsapp_flows.ledger.pages import batches, size_of, size_of_attempts, slices
from airflow_whatsapp_flows.ledger.records import attempt_of
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.resolutions import LONGEST_EXCHANGE, origin_with_decision
from airflow_whatsapp_flows.ledger.schema import attempts, contacts

T = TypeVar("T")

_PAGE = 200
_Visit = tuple[str, int]


class StuckContact(NamedTuple):
    """A contact for which nothing more may be sent.

    Attributes:
        id: number of its row.
        requests: action and outcome of each request that may have been applied.
        attempts: numbers of the attempts that may have been applied.
    """

    id: int
    requests: tuple[tuple[str, str], ...]
    attempts: tuple[int, ...]


def may_be_unconfirmed(replay: Replay) -> ColumnElement[bool]:
    """Return the condition that a contact may have an unsuccessful attempt that was applied; a superset."""
    own = and_(attempts.c.response_id == contacts.c.response_id, attempts.c.epoch == contacts.c.epoch)
    return select(attempts.c.id).where(own, *_suspect(replay)).exists()


def find_stuck_contacts(
    connection: Connection, replay: Replay, where: ColumnElement[bool], flow: Flow, steps: StepIdentities
) -> tuple[list[int], list[StuckContact]]:
    """Return the numbers of contacts for which :func:`may_be_unconfirmed` holds, and those of them that are stuck.

    Args:
        replay: replay of the contacts.
        where: condition that selects contacts.
        flow: flow to walk them with.
        steps: the identities of its steps.
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
    """Allow the requests of contacts to be resent, although they may have been applied.

    From now on their attempts count as not sent, in replays and DAG runs; the previous outcome remains in their
    ``origin``.

    Args:
        replay: replay of the contacts.
        stuck: the contacts.
        by: who accepts duplicates.

    Returns:
        Numbers of the contacts left unchanged because a request may still be in progress elsewhere.
    """
    under_way = []
    over_since = time.time() - LONGEST_EXCHANGE
    columns = ("id", "fate", "status_code", "error_kind", "origin", "replay_no", "begun_at", "ended_at")
    query = select(*(attempts.c[name] for name in columns))
    for page in slices(list(stuck), _PAGE):
        numbers = [number for contact in page for number in contact.attempts]
        rows = {row.id: row for row in connection.execute(query.where(attempts.c.id.in_(numbers)))}
        for contact in page:
            own = [rows[number] for number in contact.attempts]
            if any(row.fate is None and row.replay_no != replay.no and row.begun_at >= over_since for row in own):
                under_way.append(contact.id)
                continue
            for row in own:
                origin = origin_with_decision(row, "duplicate_accepted", by)
                overrule_attempt(connection, row, Fate.NOT_SENT, origin, status_code=None, result=None)
    return under_way


def _suspect(replay: Replay) -> list[ColumnElement[bool]]:
    return [
        *_of_replay(replay),
        or_(is_unknown(), is_suspect_answer()),
        attempts.c.method.not_in(SAFE_METHODS),
    ]


def _of_replay(replay: Replay) -> list[ColumnElement[bool]]:
    return [attempts.c.flow_id == replay.flow_id, counts_for(replay)]


def _visits(
    connection: Connection, replay: Replay, response_ids: Sequence[str], steps: StepIdentities
) -> Mapping[tuple[str, int], dict[_Visit, list[Row[Any]]]]:
    """Find the attempts of each visit, by response and epoch of its content."""
    query = (
        select(attempts).where(attempts.c.response_id.in_(response_ids), *_of_replay(replay)).order_by(attempts.c.id)
    )
    found: dict[tuple[str, int], dict[_Visit, list[Row[Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in connection.execute(query):
        step = steps.owner(row.step, row.step_id) or row.step
        found[row.response_id, row.epoch][step, row.visit].append(row)
    return found


def _find_stuck(contact: Any, visits: Mapping[_Visit, list[Row[Any]]], flow: Flow, now: float) -> StuckContact | None:
    """Return the contact if another walk could only resend requests that may have been applied."""
    blocked: dict[_Visit, tuple[Row[Any], ...]] = {}
    for visit, rows in visits.items():
        step = flow.steps.get(visit[0])
        made = [attempt_of(row, current=False) for row in rows]
        if not isinstance(step, Action) or any(one.fate in CARRIED_OUT_FATES for one in made):
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
    """Whether its walk ended at an obstacle that another walk may pass: a text, an answer, a file."""
    path: list[str] = msgspec.json.decode(contact.path) if contact.path else []
    last = flow.steps.get(path[-1]) if path else None
    if last is None or isinstance(last, End):
        return False
    return (last.name, path.count(last.name)) not in visits


def _describe_reply(row: Row[Any]) -> str:
    return "no reply" if row.status_code is None else f"answered {row.status_code}"

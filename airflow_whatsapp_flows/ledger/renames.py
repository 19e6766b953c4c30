"""Steps of a flow that were sent under another name: confirmed and unconfirmed renames."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import ColumnElement, Connection, delete, distinct, func, insert, select

from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.applied import counts_for, may_have_been_applied
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, renames, replays

_VERSIONS = 20
"""Number of recent replays of a flow that are searched for a step."""


@dataclass(frozen=True, slots=True)
class SentStep:
    """What was sent for a replay's responses under one step name.

    Attributes:
        step: the step's name.
        step_id: the step's identity; ``None`` if that was its name.
        responses: number of responses for which it may have been applied.
    """

    step: str
    step_id: str | None
    responses: int

    @property
    def identity(self) -> str:
        """The identity under which it is recorded."""
        return self.step_id or self.step


def renames_of(connection: Connection, flow_id: str) -> dict[str, str | None]:
    """Return the confirmed renames of a flow's steps; ``None`` for removed steps."""
    rows = connection.execute(select(renames.c.old, renames.c.new).where(renames.c.flow_id == flow_id))
    return {row.old: row.new for row in rows}


def step_identities(
    connection: Connection, flow: Flow, renamed: Mapping[str, str | None] = MappingProxyType({})
) -> StepIdentities:
    """Return the current and former identities of a flow's steps.

    Args:
        flow: the current flow.
        renamed: renames not in the ledger, in the form returned by :func:`renames_of`.
    """
    return StepIdentities.of(flow, {**renames_of(connection, flow.id), **renamed})


def confirm_renames(connection: Connection, flow_id: str, confirmed: Mapping[str, str | None], by: str) -> None:
    """Store confirmed renames; from now on they apply to replays and DAG runs.

    Args:
        confirmed: maps recorded identities to current ones; ``None`` for a removed step.
        by: who confirmed them.
    """
    for old, new in confirmed.items():
        connection.execute(delete(renames).where(renames.c.flow_id == flow_id, renames.c.old == old))
        connection.execute(insert(renames).values(flow_id=flow_id, old=old, new=new, at=time.time(), by=by))


def find_sent_steps(
    connection: Connection, replay: Replay, states: Collection[ContactState], chunks: Sequence[int] | None = None
) -> list[SentStep]:
    """Find the step names under which a request may have been applied for the responses of a replay.

    Args:
        replay: a replay whose contacts are in the ledger.
        states: states of the contacts to include.
        chunks: chunks to include; by default all.
    """
    query = (
        select(attempts.c.step, attempts.c.step_id, func.count(distinct(attempts.c.response_id)))
        .join(contacts, attempts.c.response_id == contacts.c.response_id)
        .where(*_may_be_sent(replay, states, chunks))
        .group_by(attempts.c.step, attempts.c.step_id)
        .order_by(attempts.c.step)
    )
    return [SentStep(*row) for row in connection.execute(query)]


def flows_sent_with(
    connection: Connection, replay: Replay, states: Collection[ContactState], chunks: Sequence[int] | None = None
) -> list[str | None]:
    """Find the flow versions that sent the steps of :func:`find_sent_steps`, as JSON; ``None`` for DAG runs."""
    numbers = (
        select(attempts.c.replay_no)
        .join(contacts, attempts.c.response_id == contacts.c.response_id)
        .where(*_may_be_sent(replay, states, chunks))
        .distinct()
    )
    return versions_of(connection, connection.execute(numbers).scalars().all())


def versions_of(connection: Connection, numbers: Collection[int | None]) -> list[str | None]:
    """Return the flow versions of some replays as JSON, latest first; ``None`` last, for DAG runs."""
    query = select(replays.c.flow).where(replays.c.no.in_([number for number in numbers if number is not None]))
    versions = list(connection.execute(query.order_by(replays.c.no.desc())).scalars())
    return list(dict.fromkeys([*versions, *([None] if None in numbers else [])]))


class SentNames:
    """Collects the step names under which requests may have been applied for responses not yet in any replay."""

    def __init__(self, flow_id: str) -> None:
        self.replays: set[int | None] = set()
        self._flow_id = flow_id
        self._responses: Counter[tuple[str, str | None]] = Counter()

    @property
    def steps(self) -> list[SentStep]:
        """The names, in the form returned by :func:`find_sent_steps`."""
        return [SentStep(*name, self._responses[name]) for name in sorted(self._responses, key=str)]

    def add(self, connection: Connection, response_ids: Sequence[str]) -> None:
        """Add what was sent for responses, each counted once."""
        query = (
            select(attempts.c.step, attempts.c.step_id, attempts.c.response_id, attempts.c.replay_no)
            .where(attempts.c.response_id.in_(response_ids), *_maybe_applied(self._flow_id))
            .distinct()
        )
        rows = connection.execute(query).all()
        self.replays.update(row.replay_no for row in rows)
        self._responses.update((step, step_id) for step, step_id, _ in {row[:3] for row in map(tuple, rows)})


def _may_be_sent(
    replay: Replay, states: Collection[ContactState], chunks: Sequence[int] | None
) -> list[ColumnElement[bool]]:
    """Return the conditions that a request may have been applied for a response of a replay."""
    conditions = [contacts.c.replay_no == replay.no, counts_for(replay), *_maybe_applied(replay.flow_id)]
    if states:
        conditions.append(contacts.c.state.in_([state.value for state in states]))
    if chunks is not None:
        conditions.append(contacts.c.chunk.in_(chunks))
    return conditions


def _maybe_applied(flow_id: str) -> list[ColumnElement[bool]]:
    return [attempts.c.flow_id == flow_id, may_have_been_applied(), attempts.c.method.not_in(SAFE_METHODS)]


def earlier_flows(connection: Connection, flow_id: str) -> list[str]:
    """Return the flow versions of a flow's latest replays as JSON, latest first."""
    query = select(replays.c.flow).where(replays.c.flow_id == flow_id).order_by(replays.c.no.desc()).limit(_VERSIONS)
    return list(dict.fromkeys(connection.execute(query).scalars()))

"""Steps of a flow that were sent under another name: what somebody has confirmed, and what nobody has."""

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
from airflow_whatsapp_flows.ledger.applied import may_have_been_applied
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, renames, replays

_VERSIONS = 20
"""Number of recent replays of a flow that are searched for a step."""


@dataclass(frozen=True, slots=True)
class SentStep:
    """What the responses of a replay were sent under one name.

    Attributes:
        step: the name.
        step_id: what the step was known by; ``None`` where that was its name.
        responses: for how many it may have been applied.
    """

    step: str
    step_id: str | None
    responses: int

    @property
    def identity(self) -> str:
        """What it is recorded under."""
        return self.step_id or self.step


def renames_of(connection: Connection, flow_id: str) -> dict[str, str | None]:
    """What steps of a flow were renamed to, as somebody has confirmed; ``None`` for those that were removed."""
    rows = connection.execute(select(renames.c.old, renames.c.new).where(renames.c.flow_id == flow_id))
    return {row.old: row.new for row in rows}


def step_identities(
    connection: Connection, flow: Flow, renamed: Mapping[str, str | None] = MappingProxyType({})
) -> StepIdentities:
    """The steps of a flow by what they are, and were, known by.

    Args:
        connection: of the ledger.
        flow: as it is now.
        renamed: renames that the ledger does not have, as :func:`renames_of` returns them.
    """
    return StepIdentities.of(flow, {**renames_of(connection, flow.id), **renamed})


def confirm_renames(connection: Connection, flow_id: str, confirmed: Mapping[str, str | None], by: str) -> None:
    """Keep what steps were renamed to; it holds on every road from now on.

    Args:
        connection: in a transaction.
        flow_id: id of the flow.
        confirmed: what steps were recorded under to what they are known by now; ``None`` for a step that was removed.
        by: who says so.
    """
    for old, new in confirmed.items():
        connection.execute(delete(renames).where(renames.c.flow_id == flow_id, renames.c.old == old))
        connection.execute(insert(renames).values(flow_id=flow_id, old=old, new=new, at=time.time(), by=by))


def find_sent_steps(
    connection: Connection, replay: Replay, states: Collection[ContactState], chunks: Sequence[int] | None = None
) -> list[SentStep]:
    """The names under which something may have been applied for the responses of a replay, on any road.

    Args:
        connection: of the ledger.
        replay: with its contacts in the ledger.
        states: of contacts in these states.
        chunks: of these chunks alone; of all by default.
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
    """The flow versions that sent the steps of :func:`find_sent_steps`, as JSON; ``None`` for a DAG run's."""
    numbers = (
        select(attempts.c.replay_no)
        .join(contacts, attempts.c.response_id == contacts.c.response_id)
        .where(*_may_be_sent(replay, states, chunks))
        .distinct()
    )
    return versions_of(connection, connection.execute(numbers).scalars().all())


def versions_of(connection: Connection, numbers: Collection[int | None]) -> list[str | None]:
    """Return the versions of the flow of some replays, JSON, the latest first; ``None`` last, for a DAG run's."""
    query = select(replays.c.flow).where(replays.c.no.in_([number for number in numbers if number is not None]))
    versions = list(connection.execute(query.order_by(replays.c.no.desc())).scalars())
    return list(dict.fromkeys([*versions, *([None] if None in numbers else [])]))


class SentNames:
    """Collects the names under which something may have been applied for responses that no replay holds yet.

    Args:
        flow_id: id of their flow.
    """

    def __init__(self, flow_id: str) -> None:
        self.replays: set[int | None] = set()
        self._flow_id = flow_id
        self._responses: Counter[tuple[str, str | None]] = Counter()

    @property
    def steps(self) -> list[SentStep]:
        """The names, as :func:`find_sent_steps` returns them."""
        return [SentStep(*name, self._responses[name]) for name in sorted(self._responses, key=str)]

    def add(self, connection: Connection, response_ids: Sequence[str]) -> None:
        """Add what was sent for responses that were not added before."""
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
    """Conditions on attempts and contacts: something may have been applied for a response of a replay."""
    conditions = [contacts.c.replay_no == replay.no, *_maybe_applied(replay.flow_id)]
    if states:
        conditions.append(contacts.c.state.in_([state.value for state in states]))
    if chunks is not None:
        conditions.append(contacts.c.chunk.in_(chunks))
    if replay.options.get("force"):  # what was sent again on purpose has nothing to do with what was sent before
        conditions.append(attempts.c.replay_no == replay.no)
    return conditions


def _maybe_applied(flow_id: str) -> list[ColumnElement[bool]]:
    return [attempts.c.flow_id == flow_id, may_have_been_applied(), attempts.c.method.not_in(SAFE_METHODS)]


def earlier_flows(connection: Connection, flow_id: str) -> list[str]:
    """The versions of a flow that its latest replays were sent with, JSON, the latest first."""
    query = select(replays.c.flow).where(replays.c.flow_id == flow_id).order_by(replays.c.no.desc()).limit(_VERSIONS)
    return list(dict.fromkeys(connection.execute(query).scalars()))

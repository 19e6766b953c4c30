"""The attempts of one task in Airflow, and what rendering the requests of a response again needs."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, func, null, or_, select

from airflow_whatsapp_flows.flow.inspect.rebuild import RecordedAttempt
from airflow_whatsapp_flows.ledger.contact_walk import MOST_BYTES, AttemptDetail, details_of
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.pages import size_of
from airflow_whatsapp_flows.ledger.renames import renames_of
from airflow_whatsapp_flows.ledger.replies import Replies
from airflow_whatsapp_flows.ledger.schema import attempts, replays

MOST_RECORDED = 200
"""Attempts of one response that its requests are rendered again from."""


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """A task instance in Airflow.

    Attributes:
        dag_id: of its DAG, and of the flow.
        run_id: of its run.
        task_id: of the task.
        map_index: from 0; -1 if it is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def response_ids(self) -> tuple[str, ...]:
        """Under which responses it may have sent: the id of the run, and that with the map index."""
        return (self.run_id,) if self.map_index < 0 else (self.run_id, f"{self.run_id}[{self.map_index}]")

    @property
    def origins(self) -> frozenset[str]:
        """How the origin of its attempts begins; a person's decision changes how other letters are written."""
        place = {
            "dag_id": self.dag_id, "run_id": self.run_id, "task_id": self.task_id, "map_index": self.map_index,
        }  # fmt: skip
        return frozenset(json.dumps(place, ensure_ascii=ascii_)[:-1] + "," for ascii_ in (True, False))


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """The flow of the newest replay of a flow.

    Attributes:
        replay_id: name of the replay.
        flow: the flow file at the time, JSON, with digests in the places of its secrets.
    """

    replay_id: str
    flow: str


@dataclass(frozen=True, slots=True)
class TaskStep:
    """What a task sends.

    Attributes:
        task: the task instance.
        response_id: id of the response of its run; ``None`` if unknown.
        step: name of its step; ``None`` if unknown, then only its own attempts are found.
    """

    task: TaskPlace
    response_id: str | None = None
    step: str | None = None

    @property
    def _conditions(self) -> list[ColumnElement[bool]]:
        # Exactly, where LIKE would not distinguish letters by their case.
        wanted = [func.substr(attempts.c.origin, 1, len(one)) == one for one in sorted(self.task.origins)]
        if self.step is not None:
            wanted += [attempts.c.step == self.step, attempts.c.step_id == self.step]
        responses = {*self.task.response_ids, *([] if self.response_id is None else [self.response_id])}
        return [
            attempts.c.response_id.in_(sorted(responses)), attempts.c.flow_id == self.task.dag_id, or_(*wanted),
        ]  # fmt: skip


def read_task_attempts(
    ledger: Ledger, sends: TaskStep, replies: Replies, response: str | None, after: int = 0, limit: int = 50
) -> tuple[list[AttemptDetail], int | None]:
    """Read the attempts of a task, oldest first, and those of the same step for the same response by anybody else.

    Args:
        sends: what it sends.
        replies: makes excerpts of replies.
        response: the response, JSON; ``None`` if unknown.
        after: row number of an attempt; only later ones.
        limit: maximum number of attempts.

    Returns:
        As :func:`~airflow_whatsapp_flows.ledger.contact_walk.read_attempts`.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        return details_of(connection, sends._conditions, replies, response, after, limit)


class RunAttempt(NamedTuple):
    """One attempt for the response of a DAG run, without what came back.

    Attributes:
        step: name of the action.
        visit: number of the visit of the step, from 1.
        number: number of the attempt under its key, from 1.
        fate: what is known about it; ``None`` if nothing.
        status_code: of the reply, if there was one.
        begun_at: epoch seconds.
        ended_at: epoch seconds.
        replay_no: number of the replay that sent it; ``None`` if a task did.
    """

    step: str
    visit: int
    number: int
    fate: str | None
    status_code: int | None
    begun_at: float
    ended_at: float | None
    replay_no: int | None


def read_run_attempts(ledger: Ledger, flow_id: str, response_ids: Collection[str]) -> list[RunAttempt]:
    """Read the first attempts for the response of a DAG run, oldest first.

    Args:
        ledger: the ledger.
        flow_id: id of the flow.
        response_ids: ids that the response may have.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    query = (
        select(*(attempts.c[name] for name in RunAttempt._fields))
        .where(attempts.c.response_id.in_(sorted(response_ids)), attempts.c.flow_id == flow_id)
        .order_by(attempts.c.id)
        .limit(MOST_RECORDED)
    )
    with ledger.read() as connection:
        return [RunAttempt(*row) for row in connection.execute(query)]


def read_recorded_attempts(ledger: Ledger, flow_id: str, response_id: str) -> list[RecordedAttempt]:
    """Read what is recorded of the first attempts for a response, of all steps.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    size = size_of(attempts.c.result)
    result = case((size <= MOST_BYTES, attempts.c.result), else_=null())
    query = (
        select(
            attempts.c.id, attempts.c.step, attempts.c.step_id, attempts.c.visit, attempts.c.key, attempts.c.digest,
            attempts.c.host, attempts.c.moment, attempts.c.epoch, result.label("result"), size.label("size"),
        )
        .where(attempts.c.response_id == response_id, attempts.c.flow_id == flow_id)
        .order_by(attempts.c.id)
        .limit(MOST_RECORDED)
    )  # fmt: skip
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return [
        RecordedAttempt(
            row.id, row.step, row.step_id, row.visit, row.key, row.digest, row.host, row.moment, row.epoch, row.result,
            row.size > MOST_BYTES,
        )
        for row in rows
    ]  # fmt: skip


def read_renames(ledger: Ledger, flow_id: str) -> dict[str, str | None]:
    """Read the confirmed renames of a flow's steps.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        return renames_of(connection, flow_id)


def newest_flow(ledger: Ledger, flow_id: str) -> StoredFlow | None:
    """Find the flow of the newest replay of a flow.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    query = select(replays.c.id, replays.c.flow).where(replays.c.flow_id == flow_id).order_by(replays.c.no.desc())
    with ledger.read() as connection:
        row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else StoredFlow(row.id, row.flow)
